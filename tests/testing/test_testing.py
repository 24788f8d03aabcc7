"""What users test their applications with: it catches what is published, and reads streams as they come."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY

import pytest
from flask import Flask, abort, request
from flask.testing import FlaskClient
from tests.support.local import make_app
from tests.support.patience import PATIENT_SECONDS

from flask_sse import (
    BrokerUnavailableError,
    HubUnavailableError,
    Message,
    Publisher,
    ServerSentEventsBlueprint,
    UsageError,
    sse,
)
from flask_sse.testing import (
    PublishedEvents,
    StreamEvent,
    StreamRefusedError,
    capture,
    containing,
    event,
    open_stream,
)

UNREACHABLE = "redis://127.0.0.1:1"


@pytest.fixture
def app() -> Flask:
    """An application whose broker cannot be reached."""
    config = {"SSE_HEARTBEAT_SECONDS": 10, "SSE_MAX_CHANNELS_PER_STREAM": 2, "SECRET_KEY": "x"}
    return make_app(SSE_REDIS_URL=UNREACHABLE, **config)


@pytest.fixture
def client(app: Flask, sse_events: PublishedEvents) -> FlaskClient:
    return app.test_client()


def publish(app: Flask, *args: object, **kwargs: object) -> None:
    with app.app_context():
        sse.publish(*args, **kwargs)  # type: ignore[arg-type]


# -- what was published ------------------------------------------------------------------------------


def test_it_has_the_events_of_all_applications_and_publishers_as_they_were_published(
    app: Flask, sse_events: PublishedEvents
) -> None:
    publish(app, {"a": [1, None]}, type="greeting", id=7, retry=50, key="k", collapse="c")
    other = make_app()
    publish(other, "text", channel="other")
    publisher = Publisher(UNREACHABLE)
    publisher.publish_many([{"data": 1.5}, {"data": "", "channel": "other"}])
    publisher.close()
    publish(app, "after a publisher was closed")
    assert sse_events == [
        event(channel="sse", data={"a": [1, None]}, type="greeting", id=7, retry=50, key="k", collapse="c"),
        event(channel="other", data="text", type=None),
        event(data=1.5),
        event(data="", channel="other"),
        event(data="after a publisher was closed"),
    ]
    assert sse_events.of("other") == [event(data="text"), event(data="")]
    assert sse_events[0].data["a"] == [1, None]
    assert len(sse_events[1:3]) == 2
    assert "sse" not in app.extensions


def test_a_key_makes_an_event_once_and_what_is_refused_is_no_event(
    app: Flask, sse_events: PublishedEvents
) -> None:
    for _ in range(2):
        publish(app, "once", key="k")
    with pytest.raises(UsageError):
        publish(app, "x", type="stream-open")
    with app.app_context():
        sse.disconnect(subject="ann")
    assert sse_events == [event(data="once")]


def test_it_begins_empty_and_can_be_emptied(app: Flask, sse_events: PublishedEvents) -> None:
    assert sse_events == []
    publish(app, "x")
    sse_events.clear()
    assert sse_events == []


@pytest.mark.parametrize(
    ("expected", "is_equal"),
    [
        (event(), True),
        (event(data=ANY), True),
        (event(data={"user": "ann", "tags": ANY}), True),
        (event(data=containing(user="ann")), True),
        (event(data=containing(user="bob")), False),
        (event(data=containing(name="ann")), False),
        (event(type="other"), False),
        (event(type=None), False),
        ("something else", False),
    ],
)
def test_fields_that_are_left_out_may_be_anything(
    app: Flask, sse_events: PublishedEvents, expected: object, is_equal: bool
) -> None:
    publish(app, {"user": "ann", "tags": []}, type="new")
    assert (sse_events == [expected]) is is_equal
    assert (sse_events[0] == expected) is is_equal


@pytest.mark.filterwarnings("ignore:events of type ''")
@pytest.mark.parametrize("given", [None, "", "message"])
@pytest.mark.parametrize("wanted", [None, "message"])
def test_an_event_without_a_type_is_a_message_as_for_a_page(
    app: Flask, sse_events: PublishedEvents, given: str | None, wanted: str | None
) -> None:
    publish(app, "x", type=given)
    assert sse_events == [event(type=wanted)]
    assert sse_events != [event(type="other")]


def test_a_field_that_no_event_has_is_an_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'kind'"):
        event(kind="x")  # type: ignore[call-arg] # it is what is tested


def test_one_returns_the_only_one_and_otherwise_says_what_is_there(
    app: Flask, sse_events: PublishedEvents
) -> None:
    with pytest.raises(AssertionError, match=r"0 events are event.*\n    nothing"):
        sse_events.one()
    publish(app, "a", type="x")
    publish(app, "b", type="y")
    assert sse_events.one(type="y").data == "b"
    with pytest.raises(AssertionError, match=r"0 events are event\(type='z'\).*\n.*data='a', type='x'"):
        sse_events.one(type="z")
    with pytest.raises(AssertionError, match="2 events are"):
        sse_events.one(channel="sse")


FAILS = """
from flask_sse import Publisher
from flask_sse.testing import event

def test_it(sse_events):
    publisher = Publisher("redis://nowhere")
    publisher.publish("same")
    publisher.publish("there", type="x")
    assert sse_events == [event(data="same"), event(data="wanted"), event(type="too many")]
"""


def test_pytest_shows_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "test_fails.py").write_text(FAILS)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--no-header", str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    shown = [line[1:].rstrip() for line in done.stdout.splitlines() if line.startswith("E ")]
    assert shown == [
        "       AssertionError: assert what was published is not what is expected",
        "               event(channel='sse', data='same')",
        "         there event(channel='sse', data='there', type='x')",
        "         not   event(data='wanted')",
        "         not   event(type='too many')",
    ]


def test_after_the_block_all_is_as_before(app: Flask) -> None:
    before = threading.active_count()
    with capture() as events:
        publish(app, "x")
        with capture() as inner:
            publish(app, "y")
        publish(app, "z")
        client = app.test_client()
        with open_stream(client, "/stream") as stream:
            assert threading.active_count() > before
    assert [each.data for each in events] == ["x", "z"]
    assert [each.data for each in inner] == ["y"]
    assert stream.events[0].type == "stream-open"
    assert threading.active_count() == before
    with app.app_context(), pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        sse.publish("z")


def test_publishers_are_caught_whenever_they_were_made_and_no_longer(sse_events: PublishedEvents) -> None:
    before = Publisher(UNREACHABLE)
    with capture() as events:
        before.publish("before")
        within = Publisher(UNREACHABLE)
        within.publish("within")
    assert events == [event(data="before"), event(data="within")]
    within.publish("after")
    assert sse_events == [event(data="after")]
    assert len(events) == 2


def test_what_goes_on_after_the_block_reaches_no_hub_and_starts_none(app: Flask) -> None:
    before = threading.active_count()
    with capture() as events:
        response = app.test_client().get("/stream", buffered=False)
        publisher = Publisher(UNREACHABLE)
        publisher.publish("x")
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1 "):
        publisher.publish("x")
    with pytest.raises(HubUnavailableError, match="its block is over"):
        events.advance(1)
    assert response.data.count(b"retry:") == 2, "it was not told goodbye"
    assert threading.active_count() == before
    # A note that the log has said something once is the application's own.
    assert app.extensions.keys() <= {"sse.presence", "sse.logged"}


def test_an_event_that_a_stream_has_is_there(
    app: Flask, client: FlaskClient, sse_events: PublishedEvents
) -> None:
    def work() -> None:
        for number in range(300):
            publish(app, str(number))

    with open_stream(client, "/stream") as stream:
        thread = threading.Thread(target=work)
        thread.start()
        for number in range(300):
            stream.next(timeout=PATIENT_SECONDS)
            assert len(sse_events) > number
        thread.join()


# -- streams -----------------------------------------------------------------------------------------


def test_what_is_published_after_the_stream_was_opened_arrives(app: Flask, client: FlaskClient) -> None:
    with open_stream(client, "/stream?channel=a&channel=b") as stream:
        publish(app, {"n": 1}, type="greeting", channel="b", id=7)
        got = stream.next(type="greeting")
        assert isinstance(got, StreamEvent)
        assert (got.type, got.json, got.id) == ("greeting", {"n": 1}, "7")
        publish(app, "x", type="other", channel="a")
        publish(app, "y", type="greeting", channel="a")
        assert stream.next("greeting").data == "y"
        publish(app, "z", channel="a")
        assert stream.next().data == "z"
        assert [each.type for each in stream.events] == [
            "stream-open",
            "greeting",
            "other",
            "greeting",
            "message",
        ]
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        assert 2000 <= (stream.retry_ms or 0) <= 5000
        assert stream.last_event_id == stream.events[-1].id
        assert (got.retry, stream.events[-1].retry) == (None, None)
        publish(app, "", retry=77, channel="a")
        assert stream.next().retry == stream.retry_ms == 77
        stream.nothing()


def test_what_was_published_or_ended_before_needs_no_time(app: Flask, client: FlaskClient) -> None:
    with open_stream(client, "/stream") as stream:
        for number in range(100):
            publish(app, str(number))
            assert stream.next(timeout=0).data == str(number)
        with app.app_context():
            sse.disconnect(channel="sse")
        stream.wait_closed(timeout=0)
        assert stream.next("stream-end", timeout=0).json == {"reason": "disconnected"}


def test_all_events_so_far_are_there_without_waiting(app: Flask, client: FlaskClient) -> None:
    with open_stream(client, "/stream") as stream:
        for number in range(100):
            publish(app, "x" * 1000)
            assert len(stream.events) == number + 2


def test_others_that_read_the_same_channel_see_nothing_of_the_test(app: Flask, client: FlaskClient) -> None:
    response = client.get("/stream", buffered=False)
    pieces = response.iter_encoded()
    assert b"stream-open" in next(pieces)
    with open_stream(client, "/stream") as stream:
        for _ in range(500):
            stream.nothing()
        publish(app, "x")
        assert b"mark" not in stream.raw
    assert next(pieces).startswith(b"data:x\n")
    response.close()


def test_nothing_is_proven_without_waiting_and_something_is_told(app: Flask, client: FlaskClient) -> None:
    with open_stream(client, "/stream") as stream:
        stream.nothing()
        publish(app, "elsewhere", channel="other")
        stream.nothing()
        publish(app, "here")
        with pytest.raises(AssertionError, match="there is something:\n    message: here"):
            stream.nothing()


def test_an_event_that_does_not_come_is_told_with_what_came(app: Flask, client: FlaskClient) -> None:
    with open_stream(client, "/stream") as stream:
        publish(app, "here", type="other")
        with pytest.raises(
            AssertionError, match=r"no event of type 'wanted' within 0\.05 s; what came:\n.*\n    other: here"
        ):
            stream.next("wanted", timeout=0.05)
        with pytest.raises(AssertionError, match=r"no event within 0\.01 s; what came: nothing"):
            stream.next(timeout=0.01)


def test_another_thread_may_publish_while_the_test_waits(app: Flask, client: FlaskClient) -> None:
    with open_stream(client, "/stream") as stream:
        timer = threading.Timer(0.05, publish, (app, "later"))
        timer.start()
        assert stream.next(timeout=PATIENT_SECONDS).data == "later"
        timer.join()


def test_a_stream_goes_on_where_another_one_was(app: Flask, client: FlaskClient) -> None:
    with open_stream(client, "/stream") as stream:
        publish(app, "one")
        last_event_id = stream.next().id
    publish(app, "two")
    with open_stream(client, "/stream", {"Last-Event-ID": last_event_id}) as stream:
        assert stream.next().data == "two"


def test_guards_rules_and_tickets_hold(app: Flask, sse_events: PublishedEvents) -> None:
    blueprint = ServerSentEventsBlueprint("guarded", __name__)
    blueprint.add_url_rule(rule="", endpoint="stream", view_func=blueprint.stream)
    blueprint.authorize(lambda channel: channel == "mine")

    @blueprint.before_request
    def guard() -> None:
        if "blocked" in request.args:
            abort(401)

    app.register_blueprint(blueprint, url_prefix="/guarded")
    client = app.test_client()
    for path, status in (("?channel=theirs", 403), ("?channel=mine&blocked=1", 401), ("?channel=%01", 400)):
        with pytest.raises(StreamRefusedError, match=f"status {status}") as refused:
            open_stream(client, f"/guarded{path}").__enter__()
        assert refused.value.status == status
    with pytest.raises(StreamRefusedError) as refused, open_stream(client, "/nowhere"):
        pass
    assert "Not Found" in refused.value.body
    with app.test_request_context():
        address = blueprint.url("theirs", subject="ann", expires_in=100)
    with open_stream(client, address) as stream:
        sse_events.advance(99)
        assert not stream.closed
        sse_events.advance(2)
        assert stream.next("stream-end").json == {"reason": "expired"}
        assert stream.closed


def test_a_stream_that_is_refused_politely_is_closed(app: Flask, client: FlaskClient) -> None:
    app.config["SSE_MAX_STREAMS_PER_ADDRESS"] = 1
    with open_stream(client, "/stream") as first, open_stream(client, "/stream") as second:
        second.wait_closed()
        assert second.events == []
        assert b"too many streams" in second.raw
        assert not first.closed
        with pytest.raises(AssertionError, match="open after"):
            first.wait_closed(timeout=0.01)
        with pytest.raises(AssertionError, match="no event and the stream is closed"):
            second.next()


@pytest.mark.parametrize("setting", ["SSE_MAX_STREAMS", "SSE_MAX_CHANNELS"])
def test_each_application_has_its_own_limits(client: FlaskClient, setting: str) -> None:
    limited = make_app(**{setting: 1})
    with open_stream(client, "/stream?channel=a") as stream:
        with open_stream(limited.test_client(), "/stream?channel=b") as refused:
            refused.wait_closed()
            assert b"too many" in refused.raw
        with open_stream(client, "/stream?channel=b") as other:
            assert not other.closed
        assert not stream.closed


def test_a_day_goes_by_in_seconds(client: FlaskClient, sse_events: PublishedEvents) -> None:
    began = time.monotonic()
    with open_stream(client, "/stream") as stream:
        sse_events.advance(24 * 3600)
        assert stream.heartbeats >= 24 * 360
        assert not stream.closed
    assert time.monotonic() - began < 30


def test_time_goes_by_when_the_test_says_so(
    app: Flask, client: FlaskClient, sse_events: PublishedEvents
) -> None:
    app.config["SSE_MAX_STREAM_SECONDS"] = 3600
    began = time.monotonic()
    with open_stream(client, "/stream") as stream:
        assert stream.heartbeats == 0
        sse_events.advance(10.5)
        assert stream.heartbeats == 1
        sse_events.advance(100)
        assert 10 <= stream.heartbeats <= 14
        stream.nothing()
        sse_events.advance(3600)
        assert stream.closed
    assert time.monotonic() - began < 30


def test_a_run_whose_producer_dies_is_lost_when_its_time_is_over(
    app: Flask, client: FlaskClient, sse_events: PublishedEvents
) -> None:
    publish(app, "", type="run-begin", channel="run:7")
    with open_stream(client, "/stream?channel=run:7") as stream:
        assert stream.next().type == "run-begin"
        sse_events.advance(19)
        stream.nothing()
        publish(app, "", type="run-alive", channel="run:7")
        sse_events.advance(19)
        assert stream.next().type == "run-alive"
        stream.nothing()
        sse_events.advance(3)
        assert stream.next("stream-end").json == {"channel": "run:7", "reason": "lost"}
        stream.wait_closed()


def test_a_response_and_a_run_are_read_as_they_come(
    app: Flask, client: FlaskClient, sse_events: PublishedEvents
) -> None:
    goes_on = threading.Event()

    def work() -> Iterator[Message]:
        yield Message("one", type="token")
        goes_on.wait(PATIENT_SECONDS)
        yield Message("two", type="token")

    app.add_url_rule("/answer", "answer", lambda: sse.response(work()))
    app.add_url_rule("/run", "run", lambda: sse.run(work()))
    with open_stream(client, "/answer") as stream:
        assert stream.next("token").data == "one"
        with pytest.raises(UsageError, match="capture"):
            stream.nothing()
        goes_on.set()
        assert stream.next("token").data == "two"
        assert stream.next("stream-end").json == {"reason": "finished"}
        stream.wait_closed()
    channel = client.get("/run").text
    with open_stream(client, f"/stream?channel={channel}") as stream:
        assert [stream.next().type for _ in range(4)] == ["run-begin", "token", "token", "stream-end"]
    assert [each.type for each in sse_events.of(channel)] == ["run-begin", "token", "token", "run-end"]


def test_a_stream_of_another_hub_is_read_too(app: Flask) -> None:
    app.config.update(SSE_BROKER_URL="memory://plain", SSE_HUB="thread")
    with open_stream(app.test_client(), "/stream") as stream:
        publish(app, "x")
        assert stream.next().data == "x"
        with pytest.raises(UsageError, match="capture"):
            _ = stream.heartbeats
    app.extensions.pop("sse").submitter.close()


def test_messages_status_and_disconnect_go_by_the_same_hub(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        messages = sse.messages()
        publish(app, {"a": 1}, type="x")
        message = next(messages)
        assert (message.data, message.type) == ({"a": 1}, "x")
        with open_stream(client, "/stream") as stream:
            assert sse.status()["streams"] == 2
            sse.disconnect(channel="sse")
            assert stream.next("stream-end").json == {"reason": "disconnected"}
        messages.close()  # type: ignore[attr-defined] # it is a generator


GEVENT = """
from gevent import monkey; monkey.patch_all()
import asyncio
import gevent
from flask import Flask
from flask_sse import sse
from flask_sse.testing import capture, event, open_stream

app = Flask("greenlets")
app.register_blueprint(sse, url_prefix="/stream")

def publish():
    with app.app_context():
        sse.publish("from a greenlet", type="x")

async def publish_in_a_loop():
    await asyncio.sleep(0.01)
    with app.app_context():
        sse.publish("from a loop", type="y")
    await asyncio.sleep(0.01)

with capture() as events, open_stream(app.test_client(), "/stream") as stream:
    gevent.spawn_later(0.05, publish)
    assert stream.next("x", timeout=PATIENT_SECONDS).data == "from a greenlet"
    assert events == [event(type="x")]
    events.advance(20)
    assert stream.heartbeats == 1
    stream.nothing()
    asyncio.run(publish_in_a_loop())
    assert stream.next("y").data == "from a loop"
print("done")
""".replace("PATIENT_SECONDS", str(PATIENT_SECONDS))


def test_it_works_for_greenlets_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GEVENT], capture_output=True, text=True, timeout=PATIENT_SECONDS, check=False
    )
    assert done.stdout == "done\n", done.stderr


def test_loading_the_plugin_loads_neither_flask_nor_the_rest() -> None:
    names = "'flask' in sys.modules, 'flask_sse.testing' in sys.modules"
    program = f"import sys, flask_sse.pytest_plugin; print({names})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
