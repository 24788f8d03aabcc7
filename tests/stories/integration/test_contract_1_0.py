"""What applications written for Flask-SSE 1.0 rely on, over real connections."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import flask
import pytest
from flask import abort, request, url_for
from tests.support import webservers
from tests.support.brokers import Broker
from tests.support.client import StreamClient
from tests.support.local import LocalServer, close, make_app, serve
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from flask_sse import ServerSentEventsBlueprint, sse

APPS = Path(__file__).parent / "apps"


def memory_url() -> str:
    return f"memory://contract-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with serve(SSE_BROKER_URL=memory_url(), SSE_MAX_CHANNELS_PER_STREAM=10) as running:
        yield running


def opened(stream: StreamClient) -> StreamClient:
    stream.wait_opened()
    return stream


# -- channels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "heard"),
    [
        ("", ["sse"]),
        ("?", ["sse"]),
        ("?channel=", ["sse"]),
        ("?channel=&channel=", ["sse"]),
        ("?channel=sse", ["sse"]),
        ("?channel=one", ["one"]),
        ("?channel=one&channel=two", ["one", "two"]),
        ("?channel=two&channel=one", ["one", "two"]),
        ("?channel=one&channel=one", ["one"]),
        ("?channel=one&channel=", ["sse", "one"]),
        ("?other=one&CHANNEL=two", ["sse"]),
        ("?channel=%c3%bc%20+%26", ["ü  &"]),
    ],
)
def test_a_stream_hears_the_channels_that_it_asks_for(
    query: str, heard: list[str], server: LocalServer
) -> None:
    with opened(server.stream(f"/stream{query}")) as stream:
        for name in ("sse", "one", "two", "ü  &"):
            assert server.publish(name, channel=name) == int(name in heard)
        server.publish("the end", channel=heard[0])
        assert [event.data for event in stream.events(len(heard) + 1)] == [*heard, "the end"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", r"'a\nb'"),
        ("a\r\nSet-Cookie: x", r"'a\r\nSet-Cookie: x'"),
        ("\0", r"'\x00'"),
        ("\x7f", r"'\x7f'"),
        ("\x85", r"'\x85'"),
        ("ü" * 101, r"'\xfc\xfc"),
        ("<script>\t", r"'<script>\t'"),
    ],
)
def test_a_channel_that_cannot_be_is_answered_with_400_and_the_reason(
    name: str, shown: str, server: LocalServer
) -> None:
    before = server.status()["opened"]
    answer = server.get(f"/stream?channel=good&channel={quote(name)}")
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    text = answer.body.decode("ascii")
    assert text.startswith(f"channel {shown}")
    assert "cannot be used: it must not" in text
    assert text.count("\n") == 1
    assert server.status()["opened"] == before


def test_too_many_channels_are_told_in_the_stream_with_a_long_time_to_wait(server: LocalServer) -> None:
    """Any status but 200 ends a browser's EventSource for good."""
    names = [f"channel=c{number}" for number in range(11)]
    with server.stream("/stream?" + "&".join(names)) as stream:
        stream.wait_closed()
        assert stream.status == 200
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert bytes(stream.reading.body).startswith(b":at most 10 channels on one stream (SSE_MAX_CH")
        assert (stream.reading.decoder.retry_ms or 0) >= 30_000
    with opened(server.stream("/stream?" + "&".join([*names[:10], *names[:5]]))) as stream:
        assert server.publish("ten are not too many", channel="c9") == 1
        assert stream.next_event().data == "ten are not too many"


def test_too_many_streams_are_told_in_the_stream_too(channel: str) -> None:
    path = f"/stream?channel={channel}"
    with (
        serve(SSE_BROKER_URL=memory_url(), SSE_HUB="thread", SSE_MAX_STREAMS=1) as server,
        opened(server.stream(path)) as first,
    ):
        with server.stream(path) as second:
            second.wait_closed()
            assert second.status == 200
            assert bytes(second.reading.body).startswith(b":too many streams\n\nretry:")
        assert server.status()["rejected"] == 1
        assert server.publish("to the first", channel=channel) == 1
        assert first.next_event().data == "to the first"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_get_opens_a_stream(method: str, server: LocalServer) -> None:
    with server.app.test_client() as client:
        assert client.open("/stream", method=method).status_code == 405


# -- blueprints -------------------------------------------------------------------------------------


def test_a_guard_sends_away_whom_it_does_not_know(channel: str) -> None:
    """As 1.0's documentation restricts access."""
    guarded = ServerSentEventsBlueprint("sse", __name__)
    guarded.add_url_rule(rule="", endpoint="stream", view_func=guarded.stream)

    @guarded.before_request
    def check_access() -> None:
        if request.args.get("channel") == channel and request.headers.get("X-User") != "admin":
            abort(403)

    with serve(guarded, SSE_BROKER_URL=memory_url()) as server:
        before = server.status()["opened"]
        assert server.get(f"/stream?channel={channel}").status == 403
        assert server.status()["opened"] == before
        with opened(server.stream(f"/stream?channel={channel}", {"X-User": "admin"})) as stream:
            assert server.publish("for admins", channel=channel) == 1
            assert stream.next_event().data == "for admins"
        opened(server.stream("/stream?channel=public")).close()
        # It looks at the first channel, for 1.0 knew no other; so there is no other.
        with server.stream(f"/stream?channel=public&channel={channel}") as stream:
            stream.wait_closed()
            assert bytes(stream.reading.body).startswith(b":at most 1 channel on one stream")


class Live(ServerSentEventsBlueprint):
    """A blueprint of an application's own, which names channels by its rule."""

    def of_room(self, room: str) -> flask.typing.ResponseReturnValue:
        return flask.redirect(url_for(".stream", channel=f"room-{room}"))

    def announce(self, text: str, room: str) -> int:
        return self.publish({"text": text}, type="announcement", channel=f"room-{room}")


def test_a_subclass_with_rules_of_its_own() -> None:
    live = Live("live", __name__)
    live.add_url_rule("/events", "stream", live.stream)
    live.add_url_rule("/rooms/<room>", "room", live.of_room)
    with serve(live, SSE_BROKER_URL=memory_url()) as server:
        assert server.get("/stream").status == 404
        assert server.get("/stream/rooms/7").headers["Location"] == "/stream/events?channel=room-7"
        with opened(server.stream("/stream/events?channel=room-7")) as stream, server.app.app_context():
            assert live.announce("open", "8") == 0
            assert live.announce("open", "7") == 1
            event = stream.next_event()
            assert (event.type, event.data) == ("announcement", '{"text": "open"}')


def test_applications_of_one_process_with_brokers_of_their_own(channel: str) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(SSE_BROKER_URL=memory_url())) for _ in range(2)]
        twin = stack.enter_context(serve(SSE_BROKER_URL=servers[0].app.config["SSE_BROKER_URL"]))
        path = f"/stream?channel={channel}"
        streams = [stack.enter_context(opened(server.stream(path))) for server in servers]
        for number, server in enumerate(servers):
            assert server.publish(f"of {number}", channel=channel) == 1
        assert twin.publish("of the twin", channel=channel) == 1
        for server in servers:
            server.publish("the end", channel=channel)
        assert [event.data for event in streams[0].events(3)] == ["of 0", "of the twin", "the end"]
        assert [event.data for event in streams[1].events(2)] == ["of 1", "the end"]


def test_applications_with_redis_urls_of_their_own(
    valkey: Broker, redis_server: Broker, channel: str
) -> None:
    with (
        serve(SSE_REDIS_URL=valkey.url, REDIS_URL="redis://127.0.0.1:1") as one,
        serve(REDIS_URL=redis_server.url) as two,
        opened(one.stream(f"/stream?channel={channel}")) as stream,
    ):
        assert two.publish("of the other", channel=channel) == 0
        assert one.publish("ours", channel=channel) == 1
        assert stream.next_event().data == "ours"


def test_the_stream_below_another_blueprint_and_below_a_prefix_of_the_server(channel: str) -> None:
    app = flask.Flask("mounted")
    app.config.from_mapping(SSE_BROKER_URL=memory_url(), APPLICATION_ROOT="/app", SECRET_KEY="k")
    parent = flask.Blueprint("api", __name__, url_prefix="/api")
    parent.register_blueprint(sse, url_prefix="/stream")
    app.register_blueprint(parent)

    @app.after_request
    def visit(response: flask.Response) -> flask.Response:
        response.headers["X-URL"] = url_for("api.sse.stream", channel="c")
        return response

    app.wsgi_app = DispatcherMiddleware(NotFound(), {"/app": app.wsgi_app})  # type: ignore[method-assign]
    with LocalServer(app) as server:
        assert server.get("/api/stream").status == 404
        with opened(server.stream(f"/app/api/stream?channel={channel}")) as stream:
            assert stream.headers["X-URL"] == "/app/api/stream?channel=c"
            assert server.publish("below", channel=channel) == 1
            assert stream.next_event().data == "below"


# -- a hub in a thread ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gunicorn-gevent", "flask-single"])
def test_a_hub_in_a_thread_of_the_web_server(name: str, channel: str) -> None:
    env = {"FLASK_SSE_HUB": "thread", "FLASK_SSE_BROKER_URL": memory_url()}
    with webservers.start(name, "plain:app", APPS, env) as server, ExitStack() as stack:
        streams = [stack.enter_context(opened(server.stream(f"/stream?channel={channel}"))) for _ in range(5)]
        event = quote(f'{{"data": {{"message": "Hello!"}}, "type": "greeting", "channel": "{channel}"}}')
        assert server.get(f"/publish?event={event}").body == b"5"
        for stream in streams:
            seen = stream.next_event()
            assert (seen.type, seen.data) == ("greeting", '{"message": "Hello!"}')
        assert server.get("/ordinary").body == b"ordinary"
        assert "Traceback" not in server.process.output()


def test_an_application_that_is_made_and_never_used_opens_nothing(runtime_directory: str) -> None:
    close(make_app(REDIS_URL="redis://127.0.0.1:1"))
    assert list(Path(runtime_directory).rglob("*")) == []
