"""Tickets: addresses of streams for pages that have no session."""

from __future__ import annotations

import logging
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import render_template_string, request
from itsdangerous import URLSafeSerializer
from tests.support.access import Serve, ended, opened
from tests.support.local import LocalServer

from flask_sse import InvalidSettingError, ServerSentEventsBlueprint
from flask_sse.tickets import SALT, Ticket, read, sign

Blueprint = ServerSentEventsBlueprint


def url(server: LocalServer, blueprint: Blueprint, *channels: str, **arguments: object) -> str:
    """Return an address as a view makes it."""
    with server.app.test_request_context("/"):
        return blueprint.url(*channels, **arguments)  # type: ignore[arg-type]


def test_a_ticket_allows_what_it_names_without_asking_the_rules(blueprint: Blueprint, start: Serve) -> None:
    blueprint.authorize(lambda channel: False)
    server = start(SSE_REQUIRE_TICKET=True)
    address = url(server, blueprint, "a", "b")
    with opened(server, address), opened(server, address.replace("channel=b", "channel=a")):
        pass
    assert server.get(address.replace("channel=b", "channel=c")).status == 403
    assert server.get("/stream?channel=a").status == 403


@pytest.mark.parametrize("change", ["nonsense", "", "e30.x", "\0", "x" * 10_000])
def test_what_was_not_signed_here_is_refused(blueprint: Blueprint, start: Serve, change: str) -> None:
    server = start()
    with server.app.test_client() as client:
        assert client.get("/stream", query_string={"ticket": change}).status_code == 403


def test_t5_what_was_signed_for_something_else_is_no_ticket(blueprint: Blueprint, start: Serve) -> None:
    server = start()
    fields = {"channels": ["sse"], "subject": None, "issued_at": 0, "expires_at": 9e9}
    for salt, status in (("session", 403), (SALT, 200)):
        text = URLSafeSerializer(b"not a secret", salt=salt).dumps(fields)
        with server.stream(f"/stream?ticket={text}") as stream:
            assert stream.status == status


def test_keys_are_rotated(blueprint: Blueprint, start: Serve) -> None:
    old = url(start(SECRET_KEY="old"), blueprint)
    assert start(SECRET_KEY="new").get(old).status == 403
    new = start(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["older", "old"])
    with opened(new, old), opened(new, url(new, blueprint)):
        pass


def test_without_a_key_there_are_no_tickets(blueprint: Blueprint, start: Serve) -> None:
    server = start(SECRET_KEY=None)
    with pytest.raises(InvalidSettingError, match="SECRET_KEY"):
        url(server, blueprint)
    assert server.get("/stream?ticket=x").status == 403


@pytest.mark.parametrize("seconds", [0, -1, 86_401])
def test_a_ticket_lives_a_day_at_most(blueprint: Blueprint, start: Serve, seconds: float) -> None:
    with pytest.raises(ValueError, match="expires_in"):
        url(start(), blueprint, expires_in=seconds)


def test_t6_41_a_stream_ends_with_its_ticket_and_is_not_opened_again(
    blueprint: Blueprint, start: Serve
) -> None:
    server = start()
    began = time.monotonic()
    address = url(server, blueprint, expires_in=1)
    with opened(server, address) as stream, opened(server, url(server, blueprint)) as other:
        event = ended(stream)
        assert 0.5 < time.monotonic() - began < 10
        assert event.data == '{"reason": "expired"}'
        assert server.get(address, {"Last-Event-ID": event.last_event_id}).status == 204
        while (answer := server.get(address)).status != 204:  # the stream may end a moment too early
            assert time.monotonic() - began < 10, answer
        with server.app.app_context():
            blueprint.publish("goes on")
        assert other.next_event().data == "goes on"


def test_t6_41_a_revoked_ticket_is_worth_nothing(blueprint: Blueprint, start: Serve) -> None:
    server = start()
    address = url(server, blueprint, "a", subject="ada")
    with opened(server, address) as stream:
        with server.app.app_context():
            blueprint.disconnect(subject="ada", reason="logged out")
        assert ended(stream).data == '{"reason": "logged out"}'
    with server.stream(address) as again:
        assert ended(again).data == '{"reason": "logged out"}'
    with (
        opened(server, url(server, blueprint, "a", subject="ada")),
        opened(server, url(server, blueprint, "a")),
    ):
        pass


def test_a_ticket_is_the_visitors_own_unless_it_names_another(blueprint: Blueprint, start: Serve) -> None:
    server = start()
    blueprint.identify(lambda: "who asks")
    for arguments, subject in (({}, "who asks"), ({"subject": "ada"}, "ada")):
        (text,) = parse_qs(urlsplit(url(server, blueprint, **arguments)).query)["ticket"]
        ticket = read(text, [b"not a secret"])
        assert ticket is not None
        assert ticket.subject == subject


def test_a_template_carries_the_position_before_it_was_rendered(blueprint: Blueprint, start: Serve) -> None:
    server = start()

    @server.app.get("/page")
    def page() -> str:
        address = render_template_string('{{ events.url("a", "b", cursor=True, external=True)|safe }}')
        blueprint.publish("meanwhile", channel="b")
        return address

    parts = urlsplit(server.get("/page").body.decode())
    assert parts.netloc == "127.0.0.1"
    with server.stream(f"{parts.path}?{parts.query}") as stream:
        assert stream.next_event().data == "meanwhile"


def test_t4_tickets_reach_no_log(
    blueprint: Blueprint, start: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = start()
    address = url(server, blueprint, "a")
    (text,) = parse_qs(urlsplit(address).query)["ticket"]
    with caplog.at_level(logging.DEBUG):
        with opened(server, address):
            pass
        server.get(address.replace("channel=a", "channel=b"))
    logged = [record.getMessage() for record in caplog.records if record.name == "werkzeug"]
    assert any("/stream?channel=a&ticket=..." in line for line in logged)
    assert not any(text in record.getMessage() for record in caplog.records)


def test_a_guard_is_asked_also_where_there_is_a_ticket(blueprint: Blueprint, start: Serve) -> None:
    blueprint.before_request(lambda: ("no", 418) if "X-Blocked" in request.headers else None)
    server = start()
    address = url(server, blueprint)
    assert server.get(address, {"X-Blocked": "1"}).status == 418
    with opened(server, address):
        pass


def test_what_is_signed_can_be_read_with_any_of_the_keys() -> None:
    ticket = Ticket(("a",), None, 1.0, 2.0)
    assert read(sign(ticket, [b"old"]), [b"old", b"new"]) == ticket
    assert read(sign(ticket, [b"old", b"new"]), [b"new"]) == ticket
    assert read(sign(ticket, [b"old"]), [b"new"]) is None
