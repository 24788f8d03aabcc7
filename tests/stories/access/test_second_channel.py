"""A second ``?channel=``: only where something decides on each channel (13.8)."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import abort, request
from tests.support.access import Serve, opened
from tests.support.client import Answer
from tests.support.local import serve
from werkzeug.wrappers import Response

from flask_sse import ServerSentEventsBlueprint, access

Blueprint = ServerSentEventsBlueprint

BOTH = "?channel=public&channel=secret"
TEN = "&".join(f"channel=c{number}" for number in range(10))


def guard() -> None:
    """Guard as 1.0's documentation does: 1.0 looked at the first channel, and there was no other."""
    if request.args.get("channel") == "secret":
        abort(403)


def check_rejected(answer: Answer, limit: str) -> None:
    assert answer.status == 200
    assert answer.body.startswith(b":at most %s on one stream (SSE_MAX_CHANNELS_PER_STREAM)" % limit.encode())
    assert 30_000 <= int(answer.body.rpartition(b"retry:")[2]) <= 90_000


def test_a_guard_of_the_whole_application_is_not_bypassed(blueprint: Blueprint, start: Serve) -> None:
    server = start()
    server.app.before_request(guard)
    assert server.get("/stream?channel=secret").status == 403
    check_rejected(server.get(f"/stream{BOTH}"), "1 channel")
    assert server.status()["channels"] == 0
    with opened(server, "/stream?channel=public"):
        pass


def test_a_wrapped_view_is_not_bypassed(blueprint: Blueprint, start: Serve) -> None:
    def guarded(view: Callable[[], Response]) -> Callable[[], Response]:
        @wraps(view)
        def wrapped() -> Response:
            guard()
            return view()

        return wrapped

    server = start()
    server.app.add_url_rule("/mine", view_func=guarded(blueprint.stream))
    assert server.get("/mine?channel=secret").status == 403
    check_rejected(server.get(f"/mine{BOTH}"), "1 channel")


def test_a_public_stream_has_one_channel_too(start: Serve) -> None:
    server = start()
    check_rejected(server.get(f"/stream{BOTH}"), "1 channel")
    # The same one twice is one.
    with opened(server, "/stream?channel=public&channel=public"):
        pass


def test_ten_where_a_rule_decides(blueprint: Blueprint, start: Serve) -> None:
    blueprint.before_request(guard)
    blueprint.authorize(lambda channel: channel != "secret")
    server = start()
    with opened(server, f"/stream?{TEN}"):
        pass
    assert server.get(f"/stream{BOTH}").status == 403
    check_rejected(server.get(f"/stream?{TEN}&channel=more"), "10 channels")


def test_ten_where_a_ticket_decides(blueprint: Blueprint, start: Serve) -> None:
    server = start()
    with server.app.test_request_context("/"):
        address = blueprint.url("a", "b")
    with opened(server, address):
        pass
    # A ticket that allows nothing does not raise the limit for anybody.
    assert server.get(f"/stream{BOTH}&ticket=x").status == 403
    check_rejected(server.get(f"{address}&{TEN}"), "10 channels")


def test_ten_where_the_view_names_them_and_the_request_has_no_say(blueprint: Blueprint, start: Serve) -> None:
    blueprint.authorize(lambda channel: abort(418))
    server = start()
    server.app.add_url_rule("/mine", "mine", lambda: blueprint.stream("a", "b"))
    server.app.add_url_rule("/many", "many", lambda: blueprint.stream(*(f"c{n}" for n in range(11))))
    server.app.add_url_rule("/bad", "bad", lambda: blueprint.stream("a\nb"))
    with opened(server, "/mine?channel=secret") as stream, server.app.app_context():
        assert blueprint.publish("not for it", channel="secret") == 0
        assert blueprint.publish("for it", channel="b") == 1
        assert stream.next_event().data == "for it"
    check_rejected(server.get("/many"), "10 channels")
    assert server.get("/bad").status == 400
    assert server.get("/mine", {"Sec-Fetch-Site": "cross-site"}).status == 403


def test_where_a_ticket_is_a_must_a_view_that_names_channels_needs_one_too(
    blueprint: Blueprint, start: Serve
) -> None:
    server = start(SSE_REQUIRE_TICKET=True)
    server.app.add_url_rule("/mine", "mine", lambda: blueprint.stream("a", "b"))
    assert server.get("/mine").status == 403
    with server.app.test_request_context("/"):
        ticket = blueprint.url("a", "b").rpartition("ticket=")[2]
        other = blueprint.url("a").rpartition("ticket=")[2]
    with opened(server, f"/mine?ticket={ticket}"):
        pass
    assert server.get(f"/mine?ticket={other}").status == 403


@pytest.mark.parametrize("decided", [False, True])
@pytest.mark.parametrize(("limit", "asked"), [(2, 3), (12, 13), (1, 2)])
def test_the_setting_overrides_both(
    blueprint: Blueprint, start: Serve, decided: bool, limit: int, asked: int
) -> None:
    if decided:
        blueprint.authorize(lambda channel: True)
    server = start(SSE_MAX_CHANNELS_PER_STREAM=limit)
    names = [f"channel=c{number}" for number in range(asked)]
    with opened(server, f"/stream?{'&'.join(names[:limit])}"):
        pass
    answer = server.get(f"/stream?{'&'.join(names)}")
    check_rejected(answer, f"{limit} channel" if limit == 1 else f"{limit} channels")


def test_a_rejected_second_channel_is_logged_once_and_counted(start: Serve) -> None:
    server = start()
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(access.logger, "warning", lambda text, *values: lines.append(text % values))
        for _ in range(3):
            check_rejected(server.get(f"/stream{BOTH}"), "1 channel")
    (line,) = [line for line in lines if "channels" in line and "rejected" in line]
    assert "SSE_MAX_CHANNELS_PER_STREAM" in line
    assert "@sse.authorize" in line
    status: dict[str, Any] = server.status()
    assert status["rejected_stream_channels"] == status["rejected"] == 3
    assert status["rejected_channels"] == 0


def test_without_a_hub_it_is_rejected_all_the_same(blueprint: Blueprint, tmp_path: Any) -> None:

    config = {"SSE_BROKER_URL": "memory://none", "SSE_HUB": f"unix:{tmp_path}/none.sock"}

    with serve(blueprint, **config) as server:
        check_rejected(server.get(f"/stream{BOTH}"), "1 channel")
