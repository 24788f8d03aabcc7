"""Tickets: addresses of streams for pages that have no session."""

from __future__ import annotations

import logging
import math
import time
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import flask
import pytest
from flask import Flask, render_template_string, request
from gunicorn.glogging import SafeAtoms  # type: ignore[import-untyped]
from itsdangerous import URLSafeSerializer
from tests.support.access import Serve, ended, opened
from tests.support.local import LocalServer
from tests.support.processes import wait_until
from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import AccessFormatter

from flask_sse import InvalidSettingError, ServerSentEventsBlueprint, UsageError
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


@pytest.mark.parametrize(
    "seconds", [0, -1, 86_401, math.nan, True, "3600", None, timedelta(hours=1), 10**5000], ids=lambda _: ""
)
def test_a_ticket_lives_a_day_at_most(blueprint: Blueprint, start: Serve, seconds: object) -> None:
    with pytest.raises(UsageError, match=r"expires_in = .* cannot be used: .* at most 86400, in seconds"):
        url(start(), blueprint, expires_in=seconds)


def test_t6_41_a_stream_ends_with_its_ticket_and_is_not_opened_again(
    blueprint: Blueprint, start: Serve
) -> None:
    server = start()
    began = time.monotonic()
    address = url(server, blueprint, expires_in=1)
    with opened(server, address) as stream, opened(server, url(server, blueprint)) as other:
        event = ended(stream)
        assert time.monotonic() - began > 0.5
        assert event.data == '{"reason": "expired"}'
        assert server.get(address, {"Last-Event-ID": event.last_event_id}).status == 204
        # The stream may end a moment too early.
        wait_until(lambda: server.get(address).status == 204, what="the end of the ticket")
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
        # The server logs a request when it has answered it.
        wait_until(lambda: "/stream?channel=a&ticket=..." in caplog.text, what="the log of the stream")
    assert not any(text in record.getMessage() for record in caplog.records)


def _format(formatter: logging.Formatter, name: str, text: str, args: Any) -> str:
    record = logging.LogRecord(name, logging.INFO, "", 0, text, args, None)
    for each in logging.getLogger(name).filters:
        assert isinstance(each, logging.Filter)
        assert each.filter(record)
    return formatter.format(record)


def test_the_lines_of_web_servers_stay_whole_without_their_tickets(
    blueprint: Blueprint, start: Serve
) -> None:
    """Their formatters look at the arguments of a record themselves (14.42)."""
    start()
    path = "/stream?channel=a&ticket=geheim.x"
    # Of uvicorn/protocols/http.
    args = ("127.0.0.1:5", "GET", path, "1.1", 200)
    formatter = AccessFormatter(LOGGING_CONFIG["formatters"]["access"]["fmt"], use_colors=False)
    line = _format(formatter, "uvicorn.access", '%s - "%s %s HTTP/%s" %d', args)
    assert '127.0.0.1:5 - "GET /stream?channel=a&ticket=... HTTP/1.1" 200 OK' in line
    # Of gunicorn/glogging.
    atoms = SafeAtoms({"r": f'GET {path} "HTTP/1.1', "s": "200", "{referer}i": f"https://x{path}"})
    line = _format(logging.Formatter(), "gunicorn.access", "%(r)s %(s)s %({Referer}i)s %(none)s", atoms)
    assert line == (
        'GET /stream?channel=a&ticket=... \\"HTTP/1.1 200 https://x/stream?channel=a&ticket=... -'
    )
    assert "geheim" in atoms["r"]


class _Path:
    def __str__(self) -> str:
        return "/stream?ticket=geheim"


def test_what_becomes_a_ticket_only_in_the_line_is_left_out_too(blueprint: Blueprint, start: Serve) -> None:
    start()
    assert _format(logging.Formatter(), "werkzeug", "100%% %s", (_Path(),)) == "100% /stream?ticket=..."


# -- the address under other names -----------------------------------------------------------------


def test_the_address_is_that_of_the_name_under_which_the_blueprint_is_registered(
    blueprint: Blueprint,
) -> None:
    """(14.42)"""
    app = Flask(__name__)
    app.config.from_mapping(SSE_BROKER_URL="memory://names", SECRET_KEY="not a secret")
    app.register_blueprint(blueprint, url_prefix="/live", name="live")
    with app.test_request_context("/"):
        assert urlsplit(blueprint.url("a")).path == "/live"
    nested = Flask(__name__)
    nested.config.from_mapping(app.config)
    parent = flask.Blueprint("api", __name__, url_prefix="/api")
    parent.register_blueprint(blueprint, url_prefix="/live", name="live")
    nested.register_blueprint(parent)
    with nested.test_request_context("/"):
        assert urlsplit(blueprint.url("a")).path == "/api/live"


def test_a_blueprint_with_two_names_gives_the_address_of_the_request_s_or_of_its_own(
    blueprint: Blueprint,
) -> None:
    app = Flask(__name__)
    app.config.from_mapping(SSE_BROKER_URL="memory://names", SECRET_KEY="not a secret")
    app.register_blueprint(blueprint, url_prefix="/second", name="second")
    app.register_blueprint(blueprint, url_prefix="/first")
    other = ServerSentEventsBlueprint("others", __name__)
    other.add_url_rule("", "listen", other.stream)
    app.register_blueprint(other, url_prefix="/others")
    with app.test_request_context("/"):
        assert urlsplit(blueprint.url("a")).path == "/first"
        assert urlsplit(other.url("a")).path == "/others"
    with app.test_request_context("/second"):
        assert urlsplit(blueprint.url("a")).path == "/second"


def test_an_address_that_is_not_there_is_an_error_that_says_how_to_make_it(blueprint: Blueprint) -> None:
    app = Flask(__name__)
    app.config.from_mapping(SSE_BROKER_URL="memory://names", SECRET_KEY="not a secret")
    with app.test_request_context("/"), pytest.raises(UsageError, match=r"'events'.*register_blueprint"):
        blueprint.url("a")


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
