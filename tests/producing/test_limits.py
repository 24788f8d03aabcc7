"""Limits of one process: how many responses and runs it has at once, and who writes to a connection."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from tests.support.local import LocalServer, make_app
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until
from werkzeug.wrappers import Response

from flask_sse import TooManyRunsError, sse
from flask_sse.producing.response import Outlet
from flask_sse.producing.slots import Slots, responses, runs

START = threading.Thread.start


@pytest.fixture(params=["auto", "off"])
def app(request: pytest.FixtureRequest) -> Flask:
    """An application that has room for two, by takeover and by relay."""
    return make_app(
        SSE_BROKER_URL="memory://limits", SSE_HUB="thread", SSE_TAKEOVER=request.param, SSE_MAX_RESPONSES=2
    )


@pytest.fixture
def without_thread(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the system have no more threads for those of a name."""

    def refuse(name: str) -> None:
        def start(self: threading.Thread) -> None:
            if self.name == name:
                raise RuntimeError("can't start new thread")
            START(self)

        monkeypatch.setattr(threading.Thread, "start", start)

    return refuse


def rejected(server: LocalServer, path: str) -> bytes:
    answer = server.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    comment, _, rest = answer.body.partition(b"\n\n")
    assert comment.startswith(b":")
    field, _, retry_ms = rest.strip().partition(b":")
    assert field == b"retry"
    assert 30_000 <= int(retry_ms) <= 90_000
    return comment[1:]


def response_threads() -> int:
    return sum(thread.name.startswith("flask-sse response") for thread in threading.enumerate())


def test_responses_beyond_the_limit_are_rejected_until_one_ends(app: Flask) -> None:  # 13.17
    may_end = threading.Event()

    @app.get("/answer")
    def answer() -> Response:
        def work() -> Iterator[str]:
            yield "first"
            may_end.wait(PATIENT_SECONDS)

        return sse.response(work())

    with LocalServer(app) as server:
        with server.stream("/answer") as one, server.stream("/answer") as two:
            assert [stream.next_event().data for stream in (one, two)] == ["first", "first"]
            for _ in range(20):
                assert rejected(server, "/answer") == b"too many responses (SSE_MAX_RESPONSES)"
            assert response_threads() == 4
            may_end.set()
            assert {one.wait_closed(), two.wait_closed()} <= {"eof", "last chunk"}
        wait_until(lambda: not responses.taken, what="the end of both")
        with server.stream("/answer") as again:
            assert again.next_event().data == "first"
        wait_until(lambda: not responses.taken, what="the end of the last one")


@pytest.mark.long
def test_the_worst_minute_of_one_client_leaves_no_thread() -> None:  # 13.17
    """By default settings: three times as many responses as there is room for, all open at once."""
    may_end = threading.Event()

    def work() -> Iterator[str]:
        yield "first"
        may_end.wait(PATIENT_SECONDS)

    app = make_app(SSE_BROKER_URL="memory://limits", SSE_HUB="thread")
    app.add_url_rule("/answer", view_func=lambda: sse.response(work()))
    app.add_url_rule("/other", "other", lambda: "other")
    with LocalServer(app) as server, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(server.stream("/answer")) for _ in range(600)]
        for stream in streams:
            stream.wait_for_bytes(b"\n\n")
        assert sum(b"data:first" in stream.raw for stream in streams) == 200
        assert sum(b":too many responses" in stream.raw for stream in streams) == 400
        assert response_threads() == 400
        assert server.get("/other").body == b"other"
        may_end.set()
        for stream in streams:
            stream.wait_closed()
    wait_until(lambda: not (responses.taken or response_threads()), what="the end of all threads")


@pytest.mark.long
def test_an_item_of_12_mb_arrives_at_800_kb_a_second_with_the_usual_heartbeat() -> None:  # 13.20
    app = make_app(SSE_BROKER_URL="memory://limits", SSE_HUB="thread")
    app.add_url_rule("/answer", view_func=lambda: sse.response(iter(["x" * 12_000_000])))
    with LocalServer(app) as server, server.stream("/answer") as stream:
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        received = 0
        while data := stream.sock.recv(80_000):
            received += len(data)
            time.sleep(len(data) / 800_000)
            tail = data
        assert received > 12_000_000
        assert b"stream-end" in tail


def test_a_rejected_response_is_logged_once_and_counted(
    app: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "_warned_at", float("-inf"))
    app.config["SSE_MAX_RESPONSES"] = 1
    app.add_url_rule("/answer", view_func=lambda: sse.response(iter(["first"])))
    before = responses.rejected
    assert responses.take(1)
    try:
        with LocalServer(app) as server:
            for _ in range(3):
                rejected(server, "/answer")
    finally:
        responses.release()
    assert responses.rejected == before + 3
    assert caplog.text.count("rejected a response: too many responses (SSE_MAX_RESPONSES)") == 1


@pytest.mark.parametrize("name", ["flask-sse response", "flask-sse response watch"])
def test_a_thread_that_cannot_start_leaves_one_writer_and_no_slot_taken(  # 13.17
    app: Flask, without_thread: Callable[[str], None], name: str
) -> None:
    begun: list[str] = []

    def work() -> Iterator[str]:
        begun.append("")
        yield "first"

    app.add_url_rule("/answer", view_func=lambda: sse.response(work()))
    without_thread(name)
    with LocalServer(app) as server:
        assert rejected(server, "/answer") == b"can't start new thread"
        wait_until(lambda: not response_threads(), what="the end of all threads")
    assert begun == []
    assert responses.taken == 0


def test_contexts_that_cannot_be_entered_leave_no_thread_behind(  # 13.17
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call_in_contexts() -> Callable[[Callable[[], None]], None]:
        def call(_: Callable[[], None]) -> None:
            raise LookupError("the session cannot be opened")

        return call

    monkeypatch.setattr("flask_sse.generator_methods.call_in_contexts", call_in_contexts)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    app.add_url_rule("/answer", view_func=lambda: sse.response(iter(["first"])))
    with LocalServer(app) as server:
        with server.stream("/answer") as stream:
            stream.wait_closed()
        wait_until(lambda: not (response_threads() or responses.taken), what="the end of all threads")


def test_runs_beyond_the_limit_raise_an_error_with_a_name() -> None:  # 13.17
    may_end = threading.Event()

    def work() -> Iterator[str]:
        yield "first"
        may_end.wait(PATIENT_SECONDS)

    app = make_app(SSE_BROKER_URL="memory://runs", SSE_HUB="thread", SSE_MAX_RUNS=1)
    with LocalServer(app), app.app_context():
        sse.run(work())
        with pytest.raises(TooManyRunsError, match="SSE_MAX_RUNS") as caught:
            sse.run(work())
        assert caught.value.runs == 1
        may_end.set()
        wait_until(lambda: not runs.taken, what="the end of the run")
        sse.run(work())
        wait_until(lambda: not runs.taken, what="the end of the next one")


def test_a_run_whose_thread_cannot_start_raises_and_takes_no_slot(  # 13.17
    without_thread: Callable[[str], None],
) -> None:
    app = make_app(SSE_BROKER_URL="memory://runs", SSE_HUB="thread")
    without_thread("flask-sse run")
    error = pytest.raises(TooManyRunsError, match="can't start new thread")
    with LocalServer(app), app.app_context(), error:
        sse.run(iter("ab"))
    assert runs.taken == 0


def test_a_run_without_its_second_thread_tells_its_pages_that_it_failed(  # 13.17
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names: list[str] = []

    def start(self: threading.Thread) -> None:
        names.append(self.name)
        if names.count("flask-sse run") == 2:
            raise RuntimeError("can't start new thread")
        START(self)

    app = make_app(SSE_BROKER_URL="memory://runs", SSE_HUB="thread")
    with LocalServer(app) as server:
        monkeypatch.setattr(threading.Thread, "start", start)
        with app.app_context():
            channel = sse.run(iter("ab"))
        wait_until(lambda: not runs.taken, what="the end of the run")
        monkeypatch.undo()
        with server.stream(f"/stream?channel={channel}") as stream:
            assert [event.type for event in stream.events(2)] == ["run-begin", "stream-end"]
            assert b'"reason": "failed"' in stream.raw
    assert "can't start new thread" in caplog.text


def test_a_forked_process_has_none_of_its_parents_slots() -> None:
    slots = Slots()
    assert slots.take(1)
    assert not slots.take(1)
    slots._reset()  # as after a fork, while a thread of the parent holds the slot and perhaps the lock
    assert slots.take(1)
    slots.release()
    slots.release()
    assert slots.taken == 0


def outlet_and_client(heartbeat_seconds: float) -> tuple[Outlet, socket.socket]:
    ours, client = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
    client.settimeout(20)
    return Outlet(ours, heartbeat_seconds, None, lambda: None), client


def test_a_reader_that_makes_progress_is_not_slow_however_long_an_item_takes() -> None:  # 13.20
    outlet, client = outlet_and_client(heartbeat_seconds=4.0)
    item = b"x" * 2_000_000

    def write() -> None:
        outlet.write(item)
        outlet.write(b"the end")
        outlet.end()

    writer = threading.Thread(target=write)
    began = time.monotonic()
    writer.start()
    received = 0
    with client:
        while data := client.recv(64 * 1024):
            received += len(data)
            # Longer than the time in which nothing at all may be taken, in steps far below it.
            time.sleep(2.5 * len(data) / len(item))
        writer.join()
    outlet.look_after()
    assert time.monotonic() - began > 2.0, "else it shows nothing"
    assert received == len(item) + len(b"the end")


def test_a_reader_that_takes_nothing_is_given_up() -> None:
    outlet, client = outlet_and_client(heartbeat_seconds=0.1)
    with client:
        assert not outlet.write(b"x" * 2_000_000)
        assert not outlet.write(b"more")
        outlet.look_after()
