"""Generators that continue after their test: they reach no later test, and end without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from tests.support.local import make_app
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until

from flask_sse import BrokerUnavailableError, Publisher, new_run, sse
from flask_sse.producing.producer import Producer
from flask_sse.producing.source import Source
from flask_sse.testing import capture, event, open_stream

Start = Callable[[Flask, threading.Event, threading.Event], None]


@pytest.fixture
def app() -> Flask:
    return make_app(SSE_REDIS_URL="redis://127.0.0.1:1")


def items(app: Flask, has_begun: threading.Event, continues: threading.Event) -> Iterator[str]:
    yield "first"
    has_begun.set()
    assert continues.wait(PATIENT_SECONDS)
    # Of an own channel, beside what it yields.
    with app.app_context():
        sse.publish("beside", channel="other")
    yield "second"


async def async_items(
    app: Flask, has_begun: threading.Event, continues: threading.Event
) -> AsyncIterator[str]:
    for item in items(app, has_begun, continues):
        yield item


def start_run(app: Flask, has_begun: threading.Event, continues: threading.Event) -> None:
    with app.app_context():
        sse.run(items(app, has_begun, continues))


def start_async_run(app: Flask, has_begun: threading.Event, continues: threading.Event) -> None:
    with app.app_context():
        sse.run(async_items(app, has_begun, continues))


def start_producer(app: Flask, has_begun: threading.Event, continues: threading.Event) -> None:
    def work() -> None:
        publisher = Publisher("redis://127.0.0.1:1")
        publisher.produce(items(app, has_begun, continues), new_run())

    threading.Thread(target=work, name="flask-sse run").start()


def start_response(app: Flask, has_begun: threading.Event, continues: threading.Event) -> None:
    with app.test_request_context() as context:
        response = sse.response(items(app, has_begun, continues))
    pieces = iter(response(context.request.environ, lambda *_: lambda _: None))
    next(pieces)
    threading.Thread(target=list, args=(pieces,), name="flask-sse response reader").start()


def is_any_alive() -> bool:
    names = [thread.name for thread in threading.enumerate()]
    return any(name.startswith(("flask-sse run", "flask-sse response")) for name in names)


@pytest.mark.parametrize("start", [start_run, start_async_run, start_producer, start_response])
def test_what_a_generator_publishes_after_its_test_does_not_reach_the_next_one(
    app: Flask, start: Start
) -> None:
    # 42
    has_begun, continues = threading.Event(), threading.Event()
    with capture() as before:
        start(app, has_begun, continues)
        assert has_begun.wait(PATIENT_SECONDS)
    count = len(before)
    with capture() as events:
        continues.set()
        wait_until(lambda: not is_any_alive(), what="the end of the work")
        assert events == []
        with app.app_context():
            sse.publish("of this test")
    assert events == [event(data="of this test")]
    assert len(before) == count, "it was not left alone"


def test_a_run_stays_with_the_capture_around_another_one(app: Flask) -> None:
    has_begun, continues = threading.Event(), threading.Event()
    with capture() as outer:
        start_run(app, has_begun, continues)
        assert has_begun.wait(PATIENT_SECONDS)
        with capture() as inner:
            continues.set()
            wait_until(lambda: not is_any_alive(), what="the end of the run")
        assert inner == []
        assert [each.data for each in outer] == ["", "first", "beside", "second", {"reason": "finished"}]


def test_a_run_that_was_begun_without_a_capture_is_not_caught(app: Flask) -> None:
    def work() -> Iterator[str]:
        has_begun.set()
        assert continues.wait(PATIENT_SECONDS)
        yield "first"

    app.config.update(SSE_BROKER_URL="memory://begun-outside", SSE_HUB="thread")
    has_begun, continues = threading.Event(), threading.Event()
    with app.app_context():
        channel = sse.run(work())
        assert has_begun.wait(PATIENT_SECONDS)
        with capture() as events:
            continues.set()
            wait_until(lambda: not is_any_alive(), what="the end of the run")
        assert events == []
    with open_stream(app.test_client(), f"/stream?channel={channel}") as stream:
        assert [stream.next().type for _ in range(3)] == ["run-begin", "message", "stream-end"]
    app.extensions.pop("sse").submitter.close()


def test_a_run_whose_thread_begins_when_its_test_is_over_does_nothing() -> None:
    with capture() as events:
        backend = Publisher("redis://127.0.0.1:1")._submitter().run_backend
        producer = Producer(backend, new_run(), Source(["x"]))
    assert producer.work(waits=False) == "cancelled"
    assert events == []


def test_the_thread_of_the_application_reaches_no_broker_by_a_run_that_is_over(app: Flask) -> None:
    """What a generator publishes beside its items fails as soon as its capture is over."""
    failures: list[BaseException] = []

    def work() -> Iterator[str]:
        try:
            yield from items(app, has_begun, continues)
        except BaseException as error:
            failures.append(error)
            raise

    has_begun, continues = threading.Event(), threading.Event()
    with capture(), app.app_context():
        sse.run(work())
        assert has_begun.wait(PATIENT_SECONDS)
    continues.set()
    wait_until(lambda: failures, what="the failure")
    assert isinstance(failures[0], BrokerUnavailableError)
    assert "its block is over" in str(failures[0])


LEAVES_WORK = """
import time

import pytest
from flask import Flask

from flask_sse import sse
from flask_sse.producing.producer import Producer
from flask_sse.testing import open_stream

app = Flask("leaves")
app.register_blueprint(sse, url_prefix="/stream")

def work():
    while True:
        yield "x"
        time.sleep(0.001)

app.add_url_rule("/answer", "answer", lambda: sse.response(work()))

@pytest.mark.parametrize("number", range(3))
def test_it(sse_events, number):
    client = app.test_client()
    with app.app_context():
        channel = sse.run(work())
    with open_stream(client, f"/stream?channel={channel}") as stream:
        assert stream.next("message").data == "x"
    with open_stream(client, "/answer") as stream:
        assert stream.next().data == "x"
    client.get("/stream", buffered=False)
    open_stream(client, f"/stream?channel={channel}").__enter__()
"""


def test_work_that_continues_leaves_no_traceback_at_exit(tmp_path: Path) -> None:
    (tmp_path / "test_leaves.py").write_text(LEAVES_WORK)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "flask_sse.pytest_plugin",
        "-q",
        "-W",
        "error",
        str(tmp_path),
    ]
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "3 passed" in done.stdout, done.stdout
    streams_are_public = "streams are public"
    assert [line for line in done.stderr.splitlines() if streams_are_public not in line] == []
