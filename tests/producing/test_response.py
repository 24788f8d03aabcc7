"""A stream for one client: `sse.response`."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from flask import Flask, request
from tests.support.local import LocalServer
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until
from werkzeug.wrappers import Response

from flask_sse import InvalidSettingError, Message, UsageError, sse
from flask_sse.producing.source import Source
from flask_sse.settings import Settings

HEARTBEAT_SECONDS = 0.2


@pytest.fixture
def app() -> Flask:
    """An application without a broker; `sse.response` needs none."""
    app = Flask("answers")
    app.config["SSE_HEARTBEAT_SECONDS"] = HEARTBEAT_SECONDS
    return app


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("flask-sse")}


def test_strings_objects_and_messages_arrive_and_the_page_does_not_come_back(app: Flask) -> None:
    @app.get("/answer")
    def answer() -> Response:
        return sse.response(iter(["text", {"a": 1}, Message("typed", type="token", id=7)]))

    with LocalServer(app) as server, server.stream("/answer") as stream:
        assert stream.wait_closed() == "eof"
        events = stream.events(4)
        assert [(event.type, event.data) for event in events] == [
            ("message", "text"),
            ("message", '{"a": 1}'),
            ("token", "typed"),
            ("stream-end", '{"reason": "finished"}'),
        ]
        again = server.get("/answer", {"Last-Event-ID": events[-1].last_event_id})
        assert (again.status, again.body) == (204, b"")
        by_query = server.get("/answer?last_event_id=stream-end")
        assert (by_query.status, by_query.body) == (204, b"")


def test_the_generator_has_the_request_and_one_that_fails_says_so_without_a_word_of_why(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/answer")
    def answer() -> Response:
        def work() -> Iterator[str]:
            yield request.args["q"]
            raise ValueError("a secret")

        return sse.response(work())

    with LocalServer(app) as server, server.stream("/answer?q=why") as stream:
        assert stream.wait_closed() == "eof"
        asked, end = stream.events(2)
        assert asked.data == "why"
        assert (end.type, end.data) == ("stream-end", '{"reason": "failed"}')
        assert b"secret" not in stream.raw
    assert "ValueError: a secret" in caplog.text


@pytest.mark.parametrize("data", [{"a set"}, float("nan"), "\ud800"])
def test_what_cannot_be_sent_ends_the_stream(app: Flask, data: object) -> None:
    app.add_url_rule("/answer", view_func=lambda: sse.response(iter(["first", data, "third"])))
    with LocalServer(app) as server, server.stream("/answer") as stream:
        assert stream.wait_closed() == "eof"
        assert [event.data for event in stream.events(2)] == ["first", '{"reason": "failed"}']


def test_a_generator_that_waits_is_stopped_at_its_next_yield_and_a_coroutine_where_it_is(app: Flask) -> None:
    goes_on, ended = threading.Event(), []

    def work() -> Iterator[str]:
        try:
            yield "one"
            goes_on.wait()
            yield "two"
            ended.append("it went on")
        finally:
            ended.append("generator")

    async def wait() -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            ended.append("coroutine")

    app.add_url_rule("/work", "work", lambda: sse.response(work()))
    app.add_url_rule("/wait", "wait", lambda: sse.response(wait()))
    with LocalServer(app) as server:
        for path in ("/work", "/wait"):
            with server.stream(path) as stream:
                assert stream.next_event().data == "one"
                for _ in range(2):
                    stream.wait_for_bytes(b"\n:\n\n:\n\n")
        wait_until(lambda: ended == ["coroutine"], what="the end of the coroutine")
        goes_on.set()
        wait_until(lambda: ended == ["coroutine", "generator"], what="the end of the generator")
        wait_until(lambda: not threads(), what="the end of all threads")


def test_a_client_that_does_not_read_is_given_up_and_the_generator_with_it(app: Flask) -> None:
    ended = threading.Event()

    def work() -> Iterator[str]:
        try:
            while True:
                yield "x" * 100_000
        finally:
            ended.set()

    app.add_url_rule("/flood", view_func=lambda: sse.response(work()))
    with LocalServer(app) as server, server.stream("/flood"):
        assert ended.wait(PATIENT_SECONDS)
        wait_until(lambda: not threads(), what="the end of all threads")


def test_no_byte_of_the_end_is_lost_for_a_client_that_sent_more_than_its_request(app: Flask) -> None:
    app.add_url_rule("/answer", view_func=lambda: sse.response(str(n) * 1000 for n in range(1000)))
    with LocalServer(app) as server, server.stream("/answer") as stream:
        stream.sock.sendall(b"GET /answer HTTP/1.1\r\n" * 100)
        assert stream.wait_closed() == "eof"
        assert stream.events(1001)[-1].type == "stream-end"


def test_a_head_request_and_a_page_that_has_the_end_start_nothing(app: Flask) -> None:
    started: list[int] = []

    def work() -> Iterator[int]:
        started.append(1)
        yield 1

    app.add_url_rule("/answer", view_func=lambda: sse.response(work()))
    client = app.test_client()
    assert client.head("/answer").status_code == 200
    assert client.get("/answer", headers={"Last-Event-ID": "stream-end"}).status_code == 204
    assert started == []


def test_in_a_test_client_all_of_it_is_read(app: Flask) -> None:
    app.add_url_rule("/answer", view_func=lambda: sse.response(range(3)))
    with app.test_client().get("/answer") as response:
        assert response.mimetype == "text/event-stream"
        assert response.get_data(as_text=True).count("data:") == 4
    wait_until(lambda: not threads(), what="the end of all threads")


@pytest.mark.parametrize("items", ["text", b"bytes", {"a": 1}, 7, None])
def test_what_is_no_sequence_of_events_is_refused(items: object) -> None:
    with pytest.raises(UsageError, match="iterable"):
        Source(items)  # type: ignore[arg-type]


def test_an_endless_source_that_was_stopped_before_it_began_is_not_begun() -> None:
    source, taken = Source(itertools.count()), list[int]()
    source.stop()

    def take(item: int) -> bool:
        taken.append(item)
        return True

    source.send_to(take)
    assert taken == []


def test_a_coroutine_that_is_stopped_from_another_thread_ends_at_once() -> None:
    async def wait() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(60)

    source, taken = Source(wait()), list[int]()
    timer = threading.Timer(0.05, source.stop)

    def take(item: int) -> bool:
        taken.append(item)
        timer.start()
        return True

    began = time.monotonic()
    source.send_to(take)
    assert taken == [1]
    assert time.monotonic() - began < 30
    timer.join()


def test_it_needs_no_broker_also_where_the_key_of_its_url_is_there(app: Flask) -> None:
    """14.31: ``None`` was a ``KeyError``, and what is no URL is no concern of a response."""
    app.add_url_rule("/answer", view_func=lambda: sse.response(iter(["text"])))
    for url in (None, "", 7, "localhost:6379"):
        app.config["SSE_BROKER_URL"] = url
        app.extensions.clear()
        with LocalServer(app) as server, server.stream("/answer") as stream:
            assert stream.next_event().data == "text"


def test_settings_are_read_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """14.31: each request read and checked all of them."""
    app.add_url_rule("/answer", view_func=lambda: sse.response(iter(["text"])))
    with LocalServer(app) as server:
        for _ in range(2):
            with server.stream("/answer") as stream:
                assert stream.next_event().data == "text"
            monkeypatch.setattr(Settings, "from_mapping", None)


def test_a_setting_that_cannot_be_used_is_said_at_each_request(app: Flask) -> None:
    app.config["SSE_MAX_RESPONSES"] = "many"
    with app.test_request_context():
        for _ in range(2):
            with pytest.raises(InvalidSettingError, match="SSE_MAX_RESPONSES"):
                sse.response([])
