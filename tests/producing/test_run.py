"""A run: a generator works whatever becomes of its readers, who learn how it ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from flask import Flask, request
from tests.support.brokers import Broker, start_valkey
from tests.support.client import StreamClient
from tests.support.local import LocalServer, make_app
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, wait_until

from flask_sse import Message, Publisher, RunInProgressError, UsageError, new_run, sse
from flask_sse.errors import BrokerUnavailableError, InvalidChannelError
from flask_sse.hub.core import runs
from flask_sse.producing import attempt, producer
from flask_sse.wire.cursor import EARLIEST
from flask_sse.wire.decode import Event

PRODUCER = Path(__file__).parent / "producer.py"


@pytest.fixture(params=["memory", "valkey"])
def url(request: pytest.FixtureRequest) -> str:
    """Either broker."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    valkey: Broker = request.getfixturevalue("valkey")
    return valkey.url


@pytest.fixture
def server(url: str) -> Iterator[LocalServer]:
    """An application with streams, its hub in a thread of this process."""
    with LocalServer(
        make_app(
            SSE_BROKER_URL=url, SSE_HUB="thread", SSE_HEARTBEAT_SECONDS=0.2, SSE_MAX_CHANNELS_PER_STREAM=2
        )
    ) as server:
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes parts of them; five times as long a silence is still a death."""
    for module in (producer, attempt):
        monkeypatch.setattr(module, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(producer, "ALIVE_SECONDS", 0.2)
    monkeypatch.setattr(attempt, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(attempt, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(runs, "LOST_SECONDS", 1.0)


def start(server: LocalServer, items: object, channel: str | None = None) -> str:
    with server.app.app_context():
        return sse.run(items, channel)  # type: ignore[arg-type]


def follow(server: LocalServer, channel: str, *more: str, last_event_id: str = "") -> StreamClient:
    path = "".join(f"&channel={name}" for name in (channel, *more))
    return server.stream(f"/stream?{path[1:]}", {"Last-Event-ID": last_event_id} if last_event_id else None)


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.type, event.data) for event in events if event.type != "run-alive"]


def reason(event: Event) -> str:
    assert event.type == "stream-end", event
    return str(json.loads(event.data)["reason"])


def test_all_pages_follow_it_from_its_start_also_those_that_come_when_it_is_over(server: LocalServer) -> None:
    halfway = threading.Event()

    def work() -> Iterator[object]:
        yield "one"
        halfway.wait(PATIENT_SECONDS)
        yield {"two": 2}
        yield Message("three", type="token")

    channel = start(server, work())
    all_of_it = [("run-begin", ""), ("message", "one"), ("message", '{"two": 2}'), ("token", "three")]
    with follow(server, channel) as first:
        assert told(first.events(2)) == all_of_it[:2]
        with follow(server, channel) as second:
            assert told(second.events(2)) == all_of_it[:2]
            halfway.set()
            for stream, left in ((first, all_of_it[2:]), (second, all_of_it[2:])):
                *events, end = stream.events(3)
                assert told(events) == left
                assert reason(end) == "finished"
                assert stream.wait_closed() == "eof"
    with follow(server, channel) as late:
        *events, end = late.events(5)
        assert told(events) == all_of_it
        assert reason(end) == "finished"
        assert late.wait_closed() == "eof"
        assert late.raw.endswith(b"\n\nid:stream-end\n\n")
    assert server.get(f"/stream?channel={channel}", {"Last-Event-ID": "stream-end"}).status == 204


def test_a_page_that_comes_back_goes_on_where_it_was(server: LocalServer) -> None:
    channel = start(server, iter("abcdef"))
    with follow(server, channel) as stream:
        events = stream.events(7)
    with follow(server, channel, last_event_id=events[3].last_event_id) as back:
        assert [event.data for event in back.events(3)] == ["d", "e", "f"]
        assert back.wait_closed() == "eof"


def test_a_stream_that_listens_to_more_goes_on_when_the_run_is_over(
    server: LocalServer, channel: str
) -> None:
    name = start(server, iter("ab"))
    with follow(server, name, channel) as stream:
        *_, end = stream.events(4)
        assert json.loads(end.data) == {"channel": name, "reason": "finished"}
        with pytest.raises(TimeoutError):
            stream.wait_closed(timeout=1)
        server.publish("still here", channel=channel)
        assert stream.next_event().data == "still here"


@pytest.mark.usefixtures("impatient")
def test_a_run_is_cancelled_when_the_broker_has_a_new_history_of_its_cancel_channel() -> None:
    # 13.2: its producer looks whether there is an event, not what follows one that it knows.
    closed = threading.Event()

    def work() -> Iterator[int]:
        try:
            while not closed.wait(0.01):
                yield 1
        finally:
            closed.set()

    with start_valkey() as own, LocalServer(make_app(SSE_BROKER_URL=own.url, SSE_HUB="thread")) as server:
        channel = start(server, work())
        try:
            with follow(server, channel) as stream, server.app.app_context():
                assert stream.next_event().type == "run-begin"
                own.client().flushall()
                sse.cancel(channel)
                assert closed.wait(PATIENT_SECONDS)
        finally:
            closed.set()


@pytest.mark.usefixtures("impatient")
def test_it_is_cancelled_from_anywhere_and_its_generator_is_closed(server: LocalServer, url: str) -> None:
    closed = threading.Event()

    def work() -> Iterator[int]:
        try:
            for number in range(10_000):
                yield number
                closed.wait(0.01)
        finally:
            closed.set()

    channel = start(server, work())
    with follow(server, channel) as stream:
        assert stream.next_event().type == "run-begin"
        with server.app.app_context():
            sse.cancel(channel)
        assert stream.wait_closed() == "eof"
        assert stream.raw.count(b'"reason": "cancelled"') == 1
    assert closed.wait(PATIENT_SECONDS)


@pytest.mark.usefixtures("impatient")
def test_a_coroutine_that_waits_is_cancelled_too(server: LocalServer) -> None:
    closed = threading.Event()

    async def wait() -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            closed.set()

    channel = start(server, wait())
    with follow(server, channel) as stream:
        assert [event.data for event in stream.events(2)] == ["", "one"]
        with server.app.app_context():
            sse.cancel(channel)
        assert closed.wait(PATIENT_SECONDS)


def test_one_that_was_cancelled_before_it_began_does_nothing(url: str) -> None:
    publisher = Publisher(url)
    channel, begun = new_run(), []

    def work() -> Iterator[str]:
        begun.append(1)
        yield "never"

    publisher.cancel(channel)
    assert publisher.produce(work(), channel) == "cancelled"
    assert begun == []
    publisher.close()


@pytest.mark.usefixtures("impatient")
def test_a_silent_one_says_that_it_lives_and_a_failed_one_that_it_failed(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    fails = threading.Event()

    def work() -> Iterator[int]:
        fails.wait(PATIENT_SECONDS)
        yield from map(int, ["no number"])

    channel = start(server, work())
    with follow(server, channel) as stream:
        assert [event.type for event in stream.events(8)] == ["run-begin"] + 7 * ["run-alive"]
        fails.set()
        assert stream.wait_closed() == "eof"
        assert b'"reason": "failed"' in stream.raw
        assert b"literal" not in stream.raw
    wait_until(lambda: "ValueError: invalid literal" in caplog.text, what="the error in the log")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_producer_that_dies_is_missed_or_says_goodbye(
    number: signal.Signals, valkey: Broker, channel: str
) -> None:
    config = {"SSE_HUB": "thread", "SSE_HEARTBEAT_SECONDS": 0.2, "SSE_MAX_CHANNELS_PER_STREAM": 2}
    name = f"run:{channel}"
    with (
        LocalServer(make_app(SSE_BROKER_URL=valkey.url, **config)) as server,
        Process([sys.executable, PRODUCER, valkey.url, name]) as process,
        follow(server, name) as stream,
        follow(server, name, channel) as other,
    ):
        for each in (stream, other):
            assert [event.type for event in each.events(2)] == ["run-begin", "message"]
        os.kill(process.pid, number)
        assert stream.wait_closed() == "eof"
        expected = {signal.SIGKILL: b'"reason": "lost"', signal.SIGTERM: b'"reason": "interrupted"'}[number]
        assert stream.raw.count(expected) == 1
        other.wait_for_bytes(expected)
        assert server.status()["lost_runs"] == (number == signal.SIGKILL)
        # Who opens the page now sees what was produced, and that there is no more.
        with follow(server, name) as late:
            assert [event.type for event in late.events(2)] == ["run-begin", "message"]
            assert late.wait_closed() == "eof"
            assert late.raw.count(expected) == 1


@pytest.mark.usefixtures("impatient")
def test_a_run_that_has_not_begun_is_waited_for(server: LocalServer, url: str) -> None:
    channel = new_run()
    publisher = Publisher(url)
    with follow(server, channel) as stream:
        with pytest.raises(TimeoutError):
            stream.wait_closed(timeout=2)
        # Where the hub of the application is a thread, other publishers do not reach it.
        if url.startswith("memory:"):
            start(server, iter("ab"), channel)
        else:
            assert publisher.produce(iter("ab"), channel) == "finished"
        assert stream.wait_closed() == "eof"
        assert [event.type for event in stream.events(3)] == ["run-begin", "message", "message"]
    publisher.close()


def test_a_second_attempt_begins_anew_for_those_who_follow(server: LocalServer, channel: str) -> None:
    channel = new_run(channel)
    with follow(server, channel, "more") as stream:
        for _ in range(2):
            start(server, iter(["row"]), channel)
            assert [event.type for event in stream.events(3)] == ["run-begin", "message", "stream-end"]
    with follow(server, channel) as late:
        assert late.wait_closed() == "eof"
        assert late.raw.count(b"event:run-begin") == 2


def test_it_waits_for_a_broker_that_is_away_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "RETRY_SECONDS", 0.05)
    goes_on = threading.Event()

    def work() -> Iterator[int]:
        yield 1
        goes_on.wait(PATIENT_SECONDS)
        yield from range(2, 5)

    with (
        start_valkey(persistent="always") as broker,
        LocalServer(make_app(SSE_BROKER_URL=broker.url, SSE_HUB="thread")) as server,
    ):
        channel = start(server, work())
        with follow(server, channel) as stream:
            assert [event.data for event in stream.events(2)] == ["", "1"]
            broker.kill()
            goes_on.set()
            wait_until(lambda: server.status()["broker_away"], what="the hub to notice")
            broker.restart()
            assert stream.wait_closed() == "eof"
            numbers = [event.data for event in stream.events(4) if event.type == "message"]
            assert numbers == ["2", "3", "4"]


def test_one_whose_broker_stays_away_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(producer, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(producer, "RETRY_SECONDS", 0.05)
    with start_valkey() as broker:
        publisher, channel = Publisher(broker.url), new_run()

        def work() -> Iterator[int]:
            yield 1
            broker.kill()
            yield 2

        with pytest.raises(BrokerUnavailableError):
            publisher.produce(work(), channel)
        publisher.close()
    assert f"{channel!r} is failed" in caplog.text


def test_the_generator_has_the_request_that_started_it(server: LocalServer) -> None:
    def work() -> Iterator[str]:
        yield request.args["q"]

    server.app._got_first_request = False
    server.app.add_url_rule("/ask", view_func=lambda: sse.run(work()))
    channel = server.get("/ask?q=why").body.decode()
    with follow(server, channel) as stream:
        assert [event.data for event in stream.events(2)] == ["", "why"]


FORKS = """
import os, sys, time
from flask_sse import Publisher

def work():
    yield "before"
    child = os.fork()
    if not child:
        sys.exit(0)  # not os._exit: what the parent has registered for its own end is called
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    yield "after"

publisher = Publisher(sys.argv[1])
print(publisher.produce(work(), sys.argv[2]))
"""


def test_a_process_that_was_forked_ends_no_run_of_its_parent(valkey: Broker, channel: str) -> None:
    name = f"run:{channel}"
    with Process([sys.executable, "-c", FORKS, valkey.url, name]) as process:
        process.wait_for_line("finished")
    app = make_app(SSE_BROKER_URL=valkey.url, SSE_HUB="thread")
    with LocalServer(app) as server, follow(server, name) as stream:
        assert stream.wait_closed() == "eof"
        *events, end = stream.events(4)
        assert [event.data for event in events] == ["", "before", "after"]
        assert reason(end) == "finished"


def test_what_is_no_run_and_what_keeps_no_history_is_refused() -> None:
    publisher = Publisher("memory://refused", SSE_HUB="thread")
    with pytest.raises(UsageError, match="is no run"):
        publisher.produce(iter("a"), "news")
    with pytest.raises(UsageError, match="is no run"):
        publisher.cancel("news")
    with pytest.raises(InvalidChannelError):
        new_run("x" * 197)
    forgetful = Publisher("memory://refused", SSE_HUB="thread", SSE_HISTORY_RULES={"run:*": {"size": 0}})
    with pytest.raises(UsageError, match="needs a history"):
        forgetful.produce(iter("a"), new_run())
    for each in (publisher, forgetful):
        each.close()


def test_an_application_without_history_has_runs_nevertheless() -> None:
    with LocalServer(
        make_app(SSE_BROKER_URL="memory://none", SSE_HUB="thread", SSE_HISTORY_SIZE=0)
    ) as server:
        channel = start(server, iter("ab"))
        with follow(server, channel) as stream:
            assert stream.wait_closed() == "eof"
            assert [event.data for event in stream.events(3)] == ["", "a", "b"]


def test_names_cannot_be_guessed_unless_they_are_given() -> None:
    assert new_run("answer-7") == "run:answer-7"
    assert new_run() != new_run()
    assert len(new_run()) == len("run:") + 22


def test_flask_is_not_needed(channel: str, valkey: Broker) -> None:
    app = Flask("pages")
    app.config.update(SSE_BROKER_URL=valkey.url, SSE_HUB="thread")
    app.register_blueprint(sse, url_prefix="/stream")
    publisher = Publisher(valkey.url)
    assert publisher.produce(iter("ab"), f"run:{channel}") == "finished"
    with LocalServer(app) as server, follow(server, f"run:{channel}") as stream:
        assert stream.wait_closed() == "eof"
    publisher.close()


@pytest.mark.usefixtures("impatient")
def test_a_channel_that_is_only_named_like_a_run_is_not_lost(  # 15.5
    server: LocalServer, channel: str
) -> None:
    name = f"run:{channel}"
    with follow(server, name) as stream:
        server.publish("1.0 had this channel", channel=name)
        assert stream.next_event().data == "1.0 had this channel"
        with pytest.raises(TimeoutError):
            stream.wait_closed(timeout=4)
        server.publish("still here", channel=name)
        assert stream.next_event().data == "still here"
        assert server.status()["lost_runs"] == 0


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_has_not_heard_the_beginning_of_a_run_tells_that_it_is_lost(  # 15.5
    valkey: Broker, channel: str
) -> None:
    name = f"run:{channel}"
    config = {"SSE_BROKER_URL": valkey.url, "SSE_HUB": "thread", "SSE_HEARTBEAT_SECONDS": 0.2}
    with Process([sys.executable, PRODUCER, valkey.url, name]) as process:
        with LocalServer(make_app(**config)) as server, follow(server, name) as stream:
            seen = stream.events(3)[-1]
        os.kill(process.pid, signal.SIGKILL)
    with (
        LocalServer(make_app(**config)) as server,
        follow(server, name, last_event_id=seen.last_event_id) as back,
    ):
        assert back.wait_closed() == "eof"
        assert b'"reason": "lost"' in back.raw
        assert b"run-begin" not in back.raw


@pytest.mark.usefixtures("impatient")
def test_a_run_that_was_never_silent_is_lost_also_where_its_beginning_is_kept_no_longer(  # 15.8
    valkey: Broker, channel: str
) -> None:
    name = f"run:{channel}"
    with Process([sys.executable, PRODUCER, valkey.url, name, "fast"]) as process:
        process.wait_for_line("written")
        process.kill()
    app = make_app(SSE_BROKER_URL=valkey.url, SSE_HUB="thread", SSE_HEARTBEAT_SECONDS=0.2)
    with LocalServer(app) as server, follow(server, name) as stream:
        assert stream.wait_closed() == "eof"
        assert b'"reason": "lost"' in stream.raw
        assert b"data:99\n" in stream.raw
        assert b"run-begin" not in stream.raw


@pytest.mark.parametrize(("kept", "pause_seconds"), [({"size": 10}, 0.0), ({"seconds": 1.0}, 0.05)])
def test_what_is_kept_of_a_run_tells_that_it_is_one_at_any_time(  # 15.8
    kept: dict[str, float], pause_seconds: float, channel: str
) -> None:
    publisher = Publisher("memory://marks", SSE_HUB="thread", SSE_HISTORY_RULES={"run:*": kept})
    name, pages = new_run(channel), []

    def work() -> Iterator[int]:
        for number in range(80):
            yield number
            time.sleep(pause_seconds)
            pages.append(publisher._submitter().run_backend.broker().read(name, EARLIEST).entries)

    assert publisher.produce(work(), name) == "finished"
    publisher.close()
    assert b"run-begin" not in pages[-1][0].envelope
    for page in pages:
        assert any(b'"run-begin"' in entry.envelope or b'"run-alive"' in entry.envelope for entry in page)
        # No more than what tells it.
        assert sum(b'"run-alive"' in entry.envelope for entry in page) <= 3


def test_a_history_that_overflows_in_the_middle_of_a_run_is_told_to_late_pages(url: str) -> None:
    config = {"SSE_BROKER_URL": url, "SSE_HUB": "thread", "SSE_HISTORY_RULES": {"run:*": {"size": 100}}}
    written, may_end = threading.Event(), threading.Event()

    def work() -> Iterator[int]:
        yield from range(1000)
        written.set()
        may_end.wait(PATIENT_SECONDS)
        yield 1000

    with LocalServer(make_app(**config)) as server:
        channel = start(server, work())
        with follow(server, channel) as early:
            seen = early.next_event()
            assert written.wait(PATIENT_SECONDS)
            with (
                follow(server, channel) as late,
                follow(server, channel, last_event_id=seen.last_event_id) as back,
            ):
                assert back.next_event().type == "stream-reset"
                assert late.next_event().type in ("stream-reset", "message")
                with server.app.app_context(), pytest.raises(RunInProgressError):
                    sse.run(iter("ab"), channel)
                may_end.set()
                for stream in (early, late, back):
                    assert stream.wait_closed() == "eof"
                    assert stream.raw.count(b'"reason": "finished"') == 1
                    assert b"data:1000\n" in stream.raw
            numbers = [int(data) for data in re.findall(rb"\ndata:(\d+)\n", early.raw)]
            assert numbers == list(range(1001)) or b"event:stream-reset" in early.raw


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_broker_that_is_away_for_70_seconds_in_the_middle_of_a_run() -> None:
    """What yields meanwhile has failed, and says so when the broker is back; what was silent goes on."""
    away = threading.Event()

    def busy() -> Iterator[int]:
        yield 1
        away.wait(PATIENT_SECONDS)
        yield 2
        yield 3

    def silent() -> Iterator[int]:
        yield 1
        away.wait(PATIENT_SECONDS)
        time.sleep(85)
        yield 2

    with (
        start_valkey(persistent="always") as broker,
        LocalServer(make_app(SSE_BROKER_URL=broker.url, SSE_HUB="thread")) as server,
    ):
        channels = [start(server, busy()), start(server, silent())]
        with follow(server, channels[0]) as first, follow(server, channels[1]) as second:
            for stream in (first, second):
                assert [event.type for event in stream.events(2)] == ["run-begin", "message"]
            broker.kill()
            away.set()
            time.sleep(70)
            broker.restart()
            assert first.wait_closed() == "eof"
            assert second.wait_closed() == "eof"
            assert b'"reason": "failed"' in first.raw
            assert b"data:2\n" not in first.raw
            assert b'"reason": "finished"' in second.raw
            assert second.raw.count(b"data:2\n") == 1
            for stream in (first, second):
                assert stream.raw.count(b"event:stream-end") == 1
                assert b'"lost"' not in stream.raw
