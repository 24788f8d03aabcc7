"""Each ``open_stream`` reads its own stream, whatever else asks the application at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask, Response, request
from tests.support.local import make_app
from tests.support.patience import PATIENT_SECONDS

from flask_sse import sse
from flask_sse.testing import PublishedEvents, StreamRefusedError, open_stream

STREAMS = 8


@pytest.fixture
def app(sse_events: PublishedEvents) -> Flask:
    return make_app(SSE_REDIS_URL="redis://127.0.0.1:1")


def test_a_stream_is_opened_while_another_thread_asks_the_application(app: Flask) -> None:
    # 13: the other answer was taken for the stream's, and the test hung
    other_answers, opened = threading.Event(), threading.Event()

    def ask() -> None:
        while not opened.is_set():
            app.test_client().get("/other")
            other_answers.set()

    @app.get("/other")
    def other() -> str:
        return "x"

    @app.after_request
    def wait_for_the_other(response: Response) -> Response:
        if request.path == "/stream":
            other_answers.clear()
            assert other_answers.wait(PATIENT_SECONDS)
        return response

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(20):
            with open_stream(app.test_client(), "/stream") as stream:
                assert stream.events[0].type == "stream-open"
                stream.nothing()
    finally:
        opened.set()
        thread.join()


def test_streams_that_are_opened_at_once_are_not_swapped(app: Flask) -> None:
    # 13
    together = threading.Barrier(STREAMS)

    @app.after_request
    def meet(response: Response) -> Response:
        together.wait(PATIENT_SECONDS)
        return response

    def read(number: int) -> tuple[str, bool]:
        with open_stream(app.test_client(), f"/stream?channel=channel-{number}") as stream:
            with app.app_context():
                sse.publish(f"for {number}", channel=f"channel-{number}")
            data = stream.next(timeout=PATIENT_SECONDS).data
            stream.nothing()
            is_closed_early = stream.closed
        return data, is_closed_early

    with ThreadPoolExecutor(STREAMS) as pool:
        results = list(pool.map(read, range(STREAMS)))
    assert results == [(f"for {number}", False) for number in range(STREAMS)]


def test_responses_that_are_opened_at_once_are_not_swapped(app: Flask) -> None:
    # 13
    together = threading.Barrier(STREAMS)

    @app.after_request
    def meet(response: Response) -> Response:
        together.wait(PATIENT_SECONDS)
        return response

    def items(number: int) -> Iterator[str]:
        yield f"for {number}"

    app.add_url_rule("/answer/<int:number>", "answer", lambda number: sse.response(items(number)))

    def read(number: int) -> tuple[str, bool]:
        with open_stream(app.test_client(), f"/answer/{number}") as stream:
            data = stream.next(timeout=PATIENT_SECONDS).data
            stream.next("stream-end", timeout=PATIENT_SECONDS)
            return data, stream.closed

    with ThreadPoolExecutor(STREAMS) as pool:
        results = list(pool.map(read, range(STREAMS)))
    assert results == [(f"for {number}", True) for number in range(STREAMS)]


def test_the_endless_stream_of_another_library_is_no_stream_of_ours(app: Flask) -> None:
    def endless() -> Iterator[str]:
        while True:
            yield ":\n\n"

    app.add_url_rule("/endless", "endless", lambda: Response(endless(), mimetype="text/event-stream"))
    with pytest.raises(StreamRefusedError, match="status 200"):
        open_stream(app.test_client(), "/endless").__enter__()


def test_a_refusal_is_that_of_its_own_request(app: Flask) -> None:
    # 13
    together = threading.Barrier(2)

    @app.after_request
    def meet(response: Response) -> Response:
        together.wait(PATIENT_SECONDS)
        return response

    def open_one(path: str) -> int:
        try:
            with open_stream(app.test_client(), path):
                return 200
        except StreamRefusedError as error:
            return error.status

    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            assert list(pool.map(open_one, ["/stream", "/stream?channel=%01"])) == [200, 400]
