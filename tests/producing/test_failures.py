"""Generators that fail in odd ways end once, are closed, and the log says why."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from flask import Flask
from gevent import Timeout
from tests.support.brokers import Broker, start_valkey
from tests.support.local import LocalServer, make_app
from tests.support.patience import PATIENT_SECONDS, patient
from tests.support.processes import Process, suspended, wait_until
from werkzeug.wrappers import Response

from flask_sse import Publisher, UsageError, new_run, sse
from flask_sse.producing import producer
from flask_sse.producing.slots import responses, runs
from flask_sse.producing.source import Items, Source
from flask_sse.testing import PublishedEvents


@pytest.fixture
def app() -> Flask:
    """An application with streams, its hub in a thread of this process."""
    return make_app(
        SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}", SSE_HUB="thread", SSE_HEARTBEAT_SECONDS=0.2
    )


Follow = Callable[[Callable[[], Items]], bytes]


@pytest.fixture(params=["response", "run"])
def follow(request: pytest.FixtureRequest, app: Flask) -> Follow:
    """Let a view answer with a generator, and return all that a page gets, either way."""

    def follow(generator: Callable[[], Items]) -> bytes:
        @app.get("/answer")
        def answer() -> Response | str:
            return sse.response(generator()) if request.param == "response" else sse.run(generator())

        with LocalServer(app) as server:
            path = "/answer"
            if request.param == "run":
                path = f"/stream?channel={server.get(path).body.decode()}"
            with server.stream(path) as stream:
                assert stream.wait_closed() == "eof"
                received = stream.raw
            wait_until(lambda: not (runs.taken or responses.taken), what="the end of the threads")
        return received

    return follow


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, Timeout]
)
@pytest.mark.parametrize("is_async", [False, True])
def test_what_is_no_exception_ends_it_once_as_failed_with_a_line_in_the_log(  # 15.3
    follow: Follow, caplog: pytest.LogCaptureFixture, kind: type[BaseException], *, is_async: bool
) -> None:
    def work() -> Iterator[str]:
        yield "first"
        raise kind

    async def work_async() -> AsyncIterator[str]:
        yield "first"
        await asyncio.sleep(0)
        raise kind

    received = follow(work_async if is_async else work)
    assert b"data:first" in received
    assert received.count(b"event:stream-end") == 1
    assert b'"reason": "failed"' in received
    assert kind.__name__ in caplog.text
    assert "failed" in caplog.text


def test_an_asynchronous_answer_that_is_cut_off_has_failed(  # 15.3
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    async def cut_off() -> AsyncIterator[str]:
        yield "first"
        task = asyncio.ensure_future(asyncio.sleep(60))
        asyncio.get_running_loop().call_later(0.05, task.cancel)
        await task
        yield "never"

    received = follow(cut_off)
    assert b'"reason": "failed"' in received
    assert b"never" not in received
    assert "the asynchronous generator was cancelled from within" in caplog.text


def test_a_job_is_told_of_it_by_an_error_that_queues_understand(channel: str) -> None:  # 15.3
    async def cut_off() -> AsyncIterator[str]:
        yield "first"
        raise asyncio.CancelledError

    publisher = Publisher("memory://jobs", SSE_HUB="thread")
    with pytest.raises(RuntimeError, match="cancelled from within"):
        publisher.produce(cut_off(), new_run(channel))
    publisher.close()


def test_a_finally_that_raises_when_the_page_leaves_is_logged_as_such(  # 15.7
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    closed = threading.Event()

    def work() -> Iterator[str]:
        try:
            while True:
                yield "again"
                time.sleep(0.02)
        finally:
            closed.set()
            raise ValueError("in the finally")

    app.add_url_rule("/answer", view_func=lambda: sse.response(work()))
    with LocalServer(app) as server:
        with server.stream("/answer") as stream:
            stream.next_event()
        assert closed.wait(PATIENT_SECONDS)
        wait_until(lambda: not responses.taken, what="the end of the thread")
    assert "a generator failed when it was closed" in caplog.text
    assert "ValueError: in the finally" in caplog.text
    assert "the source of a response failed" not in caplog.text


class Rows:
    """A result as database drivers have it: iterable, and to be closed."""

    def __init__(self) -> None:
        self.is_closed = False

    def __iter__(self) -> Iterator[str]:
        return iter(("a", "b", "c"))

    def close(self) -> None:
        self.is_closed = True


class Cursor(Rows):
    """One that is its own iterator."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return "row"


class Answer:
    """An asynchronous one, as clients of language models have it."""

    def __init__(self) -> None:
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[str]:
        yield "token"

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.is_closed = True


@pytest.mark.parametrize("kind", [Rows, Cursor, Answer])
def test_what_has_a_close_and_is_no_generator_is_closed(kind: type[Rows | Answer]) -> None:  # 15.7
    items = kind()
    Source(items).send_to(lambda _: False)
    assert items.is_closed


def test_a_run_on_a_channel_without_history_is_refused_before_it_starts(app: Flask) -> None:  # 15.7
    app.config["SSE_HISTORY_RULES"] = {"run:*": {"size": 0}}
    with app.app_context():
        for channel in (None, new_run("export")):
            with pytest.raises(UsageError, match="needs a history"):
                sse.run(iter("ab"), channel)
    assert not runs.taken


def test_a_run_waits_for_a_broker_that_is_away_when_it_begins(  # 15.4
    monkeypatch: pytest.MonkeyPatch, channel: str
) -> None:
    monkeypatch.setattr(producer, "RETRY_SECONDS", 0.05)
    with start_valkey() as broker:
        app = make_app(SSE_BROKER_URL=broker.url, SSE_HUB="thread")
        broker.kill()
        with app.app_context():
            names = [sse.run(iter("ab"), name) for name in (None, new_run(channel))]
        time.sleep(0.5)  # some tries that fail
        assert runs.taken == 2
        broker.restart()
        wait_until(lambda: not runs.taken, what="the end of both")
        with LocalServer(app) as server:
            for name in names:
                with server.stream(f"/stream?channel={name}") as stream:
                    assert stream.wait_closed() == "eof"
                    assert [event.type for event in stream.events(2)] == ["run-begin", "message"]
                    assert stream.raw.count(b"event:run-begin") == 1
                    assert b'"reason": "finished"' in stream.raw


RUNS = """
import signal, sys, threading
from flask_sse import Publisher, new_run

signal.signal(signal.SIGTERM, lambda *_: sys.exit())
publisher, begun = Publisher(sys.argv[1]), threading.Semaphore(0)

def work():
    yield "first"
    begun.release()
    threading.Event().wait()

for number in range(16):
    arguments = work(), new_run(f"{sys.argv[2]}-{number}")
    threading.Thread(target=publisher.produce, args=arguments, daemon=True).start()
for number in range(16):
    begun.acquire()
print("begun", flush=True)
signal.pause()
"""


def test_the_end_of_a_process_waits_for_all_its_runs_together(valkey: Broker, channel: str) -> None:  # 15.2
    app = make_app(SSE_BROKER_URL=valkey.url, SSE_HUB="thread")
    with Process([sys.executable, "-c", RUNS, valkey.url, channel]) as process:
        process.wait_for_line("begun")
        os.kill(process.pid, signal.SIGTERM)
        process.wait()
    with LocalServer(app) as server:
        for number in range(16):
            with server.stream(f"/stream?channel=run:{channel}-{number}") as stream:
                assert stream.wait_closed() == "eof"
                assert b'"reason": "interrupted"' in stream.raw


def test_a_run_that_is_interrupted_is_not_finished_where_its_own_thread_ends_first(  # 15.2
    sse_events: PublishedEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    working, outcome = threading.Event(), queue.SimpleQueue[str]()
    stop = Source.stop

    def stop_and_wait(source: Source) -> None:
        stop(source)
        thread.join(PATIENT_SECONDS)

    def work() -> Iterator[str]:
        while True:
            yield "working"
            working.set()
            time.sleep(0.01)

    monkeypatch.setattr(Source, "stop", stop_and_wait)
    channel = new_run()
    thread = threading.Thread(
        target=lambda: outcome.put(Publisher("memory://interrupted").produce(work(), channel)), daemon=True
    )
    thread.start()
    assert working.wait(PATIENT_SECONDS)
    (running,) = producer._producers
    running.interrupt()
    assert outcome.get(timeout=PATIENT_SECONDS) == "interrupted"
    assert [each.data["reason"] for each in sse_events if each.type == "run-end"] == ["interrupted"]


def test_the_end_of_a_process_is_bounded_where_the_broker_stands_still(channel: str) -> None:  # 15.2
    with start_valkey() as broker, Process([sys.executable, "-c", RUNS, broker.url, channel]) as process:
        process.wait_for_line("begun")
        with suspended(broker.process.pid):
            began = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)
            process.wait()
            # Sixteen in turn took 34 s, and one bound for all is 3 s.
            assert time.monotonic() - began < patient(producer.END_SECONDS)
