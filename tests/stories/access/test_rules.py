"""Who may listen: rules of the application, asked in the request."""

from __future__ import annotations

from typing import Any

import flask_login
import pytest
from flask import abort, request, session
from tests.support.access import Serve, ended, opened

from flask_sse import ServerSentEventsBlueprint


def test_t1_every_channel_is_asked_for_and_one_refusal_refuses_the_request(
    blueprint: ServerSentEventsBlueprint, start: Serve
) -> None:
    asked = []

    @blueprint.authorize
    def may_listen(channel: str) -> bool:
        asked.append((channel, request.headers.get("X-Role")))
        return channel != "secret" or request.headers.get("X-Role") == "boss"

    server = start()
    for path in ("?channel=secret", "?channel=a&channel=secret", "?channel=secret&channel=a"):
        answer = server.get(f"/stream{path}")
        assert answer.status == 403
        assert "no-store" in answer.headers["Cache-Control"]
        assert b"secret" not in answer.body
    assert ("a", None) in asked
    asked.clear()
    with opened(server, "/stream?channel=a&channel=secret", {"X-Role": "boss"}):
        assert asked == [("a", "boss"), ("secret", "boss")]


def test_a_rule_may_answer_by_itself_and_read_the_session(
    blueprint: ServerSentEventsBlueprint, start: Serve
) -> None:
    @blueprint.authorize
    def may_listen(channel: str) -> bool:
        return channel == session.get("channel") or abort(401)

    server = start()

    @server.app.get("/login/<channel>")
    def login(channel: str) -> str:
        session["channel"] = channel
        return ""

    cookie = server.get("/login/mine").headers["Set-Cookie"].partition(";")[0]
    assert server.get("/stream?channel=mine").status == 401
    with opened(server, "/stream?channel=mine", {"Cookie": cookie}) as stream:
        assert "Cookie" in stream.headers["Vary"]


def test_t16_42_replay_is_asked_for_too(blueprint: ServerSentEventsBlueprint, start: Serve) -> None:
    """Fault 42: permissions shrink between events and replay."""
    allowed = {"a"}

    @blueprint.authorize
    def may_listen(channel: str) -> bool:
        return channel in allowed

    server = start()
    with opened(server, "/stream?channel=a") as stream, server.app.app_context():
        blueprint.publish("1", channel="a")
        last = stream.next_event().last_event_id
        blueprint.publish("2", channel="a")
    allowed.clear()
    for path in ("", "&last_event_id=earliest"):
        assert server.get(f"/stream?channel=a{path}", {"Last-Event-ID": last}).status == 403
    allowed.add("a")
    with server.stream("/stream?channel=a", {"Last-Event-ID": last}) as stream:
        assert stream.next_event().data == "2"


def test_rules_open_several_channels_to_a_blueprint_with_a_guard(
    blueprint: ServerSentEventsBlueprint, start: Serve
) -> None:
    blueprint.before_request(lambda: None)
    blueprint.authorize(lambda channel: True)
    with opened(start(), "/stream?channel=a&channel=b"):
        pass


@pytest.mark.parametrize(
    "case",
    [({}, "", 1), ({"DEBUG": True}, "", 1), ({}, "before_request", 0), ({}, "authorize", 0)],
)
def test_public_streams_are_said_to_be_once(
    blueprint: ServerSentEventsBlueprint,
    start: Serve,
    caplog: pytest.LogCaptureFixture,
    case: tuple[dict[str, Any], str, int],
) -> None:
    config, rule, said = case
    if rule:
        getattr(blueprint, rule)(lambda *channel: bool(channel) or None)
    server = start(**config)
    for _ in range(2):
        with opened(server, "/stream"):
            pass
    lines = [line for line in caplog.messages if "streams are public" in line]
    assert len(lines) == said
    # Whose line it is, where, and what to write (14.39).
    assert all(line.startswith("Flask-SSE: ") for line in lines)
    assert all("'/stream'" in line and "events.authorize(lambda channel: " in line for line in lines)


def test_each_blueprint_whose_streams_are_public_is_named(
    blueprint: ServerSentEventsBlueprint, start: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """(14.39)"""
    other = ServerSentEventsBlueprint("others", __name__)
    other.add_url_rule("", "stream", other.stream)
    server = start()
    server.app.register_blueprint(other, url_prefix="/others")
    server.app.register_blueprint(other, url_prefix="/more", name="more")
    for path in ("/stream", "/others", "/more", "/others"):
        with opened(server, path):
            pass
    lines = [line for line in caplog.messages if "streams are public" in line]
    assert ["events.authorize(" in line for line in lines] == [True, False, False]
    assert ["others.authorize(" in line for line in lines] == [False, True, True]
    assert ["'/others'" in line for line in lines] == [False, True, False]


def test_a_view_may_guard_itself_so_its_streams_are_not_called_public(
    blueprint: ServerSentEventsBlueprint, start: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """(14.39)"""

    def guarded() -> Any:
        return ("no", 401) if "X-User" not in request.headers else blueprint.stream()

    blueprint.add_url_rule("/own", "own", guarded)
    server = start()
    server.app.add_url_rule("/mine", "mine", guarded)
    for path in ("/stream/own", "/mine"):
        assert server.get(path).status == 401
        with opened(server, path, {"X-User": "7"}):
            pass
    assert not [line for line in caplog.messages if "streams are public" in line]


def test_a_second_rule_is_warned_of_at_its_line(blueprint: ServerSentEventsBlueprint) -> None:
    """It would take the place of the first one in all applications of the process (14.38)."""

    def first(channel: str) -> bool:
        return channel == "news"

    def second(channel: str) -> bool:
        return True

    blueprint.authorize(first)
    blueprint.authorize(first)
    with pytest.warns(UserWarning, match=r"(?s)authorize: .*second .*takes the place of .*first") as warned:
        blueprint.authorize(second)
    assert "ServerSentEventsBlueprint" in str(warned[0].message)
    assert warned[0].filename == __file__
    blueprint.identify(lambda: "ann")
    with pytest.warns(UserWarning, match="identify: "):
        blueprint.identify(lambda: "bob")


def test_a_factory_may_give_its_rule_to_each_application(blueprint: ServerSentEventsBlueprint) -> None:
    def create() -> None:
        @blueprint.authorize
        def may_listen(channel: str) -> bool:
            return channel == "news"

    create()
    create()


# -- subjects --------------------------------------------------------------------------------------


def test_t20_streams_of_a_subject_are_ended_and_no_others(
    blueprint: ServerSentEventsBlueprint, start: Serve
) -> None:
    blueprint.identify(lambda: request.headers.get("X-User"))
    server = start()
    with (
        opened(server, "/stream", {"X-User": "7"}) as seven,
        opened(server, "/stream", {"X-User": "8"}) as eight,
        opened(server, "/stream") as nobody,
    ):
        with server.app.app_context():
            blueprint.disconnect(subject="7", reason="logged out")
            event = ended(seven)
            assert event.data == '{"reason": "logged out"}'
            blueprint.publish("goes on")
        assert eight.next_event().data == nobody.next_event().data == "goes on"
        back = server.get("/stream", {"Last-Event-ID": event.last_event_id, "X-User": "7"})
        assert (back.status, back.body) == (204, b"")
        assert server.get(f"/stream?last_event_id={event.last_event_id}", {"X-User": "7"}).status == 204
        with opened(server, "/stream", {"X-User": "7"}):  # who is let in anew
            assert server.status()["revoked"] == 1


def test_a_number_is_a_subject(blueprint: ServerSentEventsBlueprint, start: Serve) -> None:
    blueprint.identify(lambda: 7)
    server = start()
    with opened(server, "/stream") as stream, server.app.app_context():
        blueprint.disconnect(subject="7")
        ended(stream)


def test_the_user_of_flask_login_is_the_subject(blueprint: ServerSentEventsBlueprint, start: Serve) -> None:
    server = start()
    manager = flask_login.LoginManager(server.app)

    @manager.request_loader  # type: ignore[untyped-decorator]
    def load(request: Any) -> flask_login.UserMixin | None:
        user = flask_login.UserMixin()
        user.id = request.headers.get("X-User")
        return user if user.id else None

    with (
        opened(server, "/stream", {"X-User": "ada"}) as ada,
        opened(server, "/stream") as nobody,
        server.app.app_context(),
    ):
        blueprint.disconnect(subject="ada")
        ended(ada)
        blueprint.publish("goes on")
        assert nobody.next_event().data == "goes on"


def test_streams_of_a_channel_are_ended_but_not_those_of_python(
    blueprint: ServerSentEventsBlueprint, start: Serve
) -> None:
    server = start(SSE_MAX_CHANNELS_PER_STREAM=2)
    with server.app.app_context():
        messages = blueprint.messages("a")
    with (
        opened(server, "/stream?channel=a&channel=b") as both,
        opened(server, "/stream?channel=b") as other,
        server.app.app_context(),
    ):
        blueprint.disconnect(channel="a")
        ended(both)
        blueprint.publish("goes on", channel="b")
        assert other.next_event().data == "goes on"
        blueprint.publish("and on", channel="a")
        assert next(messages).data == "and on"
    messages.close()  # type: ignore[attr-defined] # it is a generator, as in 1.0


@pytest.mark.parametrize(
    "arguments", [{}, {"reason": "x"}, {"channel": ""}, {"channel": "flask-sse:control"}]
)
def test_what_cannot_be_disconnected(
    blueprint: ServerSentEventsBlueprint, start: Serve, arguments: dict[str, str]
) -> None:
    server = start()
    with server.app.app_context(), pytest.raises(ValueError, match=r"needs a subject|cannot be used"):
        blueprint.disconnect(**arguments)


def test_nobody_can_listen_to_or_publish_orders(blueprint: ServerSentEventsBlueprint, start: Serve) -> None:
    server = start()
    assert server.get("/stream?channel=flask-sse:control").status == 400
    with server.app.app_context(), pytest.raises(ValueError, match="reserved"):
        blueprint.publish("x", channel="flask-sse:control")


def test_a_stream_ends_with_the_session(blueprint: ServerSentEventsBlueprint, start: Serve) -> None:
    """The page comes back then and is asked anew: the session may have been prolonged."""
    server = start(PERMANENT_SESSION_LIFETIME=1, SSE_RETRY_MS=4711)

    @server.app.get("/login")
    def login() -> str:
        session.permanent = True
        return ""

    cookie = server.get("/login").headers["Set-Cookie"].partition(";")[0]
    with opened(server, "/stream", {"Cookie": cookie}) as stream, opened(server, "/stream") as without:
        assert stream.wait_closed() == "eof"
        assert stream.raw.endswith(b"retry:4711\n\n")
        assert b"stream-end" not in stream.raw
        with server.app.app_context():
            blueprint.publish("goes on")
        assert without.next_event().data == "goes on"
