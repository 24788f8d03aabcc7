"""What the test kit cannot do is an error that says why: impossible times, too much for one stream."""

from __future__ import annotations

import time

import pytest
from flask import Flask
from tests.support.local import make_app
from tests.support.patience import PATIENT_SECONDS

from flask_sse import UsageError, sse
from flask_sse.testing import PublishedEvents, open_stream

DAY_SECONDS = 24 * 3600
MANY = [{"data": "x" * 100_000, "id": number} for number in range(50)]


@pytest.fixture
def app(sse_events: PublishedEvents) -> Flask:
    return make_app(SSE_REDIS_URL="redis://127.0.0.1:1", SSE_HEARTBEAT_SECONDS=10, SECRET_KEY="x")


def test_a_long_time_goes_by_at_once(sse_events: PublishedEvents) -> None:
    # 14: a look each quarter of a second took 3 s a day
    began = time.monotonic()
    sse_events.advance(300 * DAY_SECONDS)
    assert time.monotonic() - began < 40


def test_all_that_becomes_due_on_the_way_is_done_in_its_time(app: Flask, sse_events: PublishedEvents) -> None:
    app.config["SSE_MAX_STREAM_SECONDS"] = DAY_SECONDS
    with app.app_context():
        sse.publish("", type="run-begin", channel="run:lost")
    with app.test_request_context():
        address = sse.url("news", expires_in=3600)
    client = app.test_client()
    with (
        open_stream(client, "/stream") as aged,
        open_stream(client, address) as ticket,
        open_stream(client, "/stream?channel=run:lost") as run,
    ):
        sse_events.advance(2 * DAY_SECONDS)
        assert run.next("stream-end").json["reason"] == "lost"
        assert ticket.next("stream-end").json["reason"] == "expired"
        assert [stream.closed for stream in (aged, ticket, run)] == [True] * 3
        # Each heartbeat as long as the stream was open, and no longer.
        assert run.heartbeats <= 3
        assert 3600 / 10 <= ticket.heartbeats <= 3600 / 8 + 1
        assert 0.8 * DAY_SECONDS / 10 <= aged.heartbeats <= DAY_SECONDS / 8 + 1


def test_no_time_goes_by_in_no_seconds(app: Flask, sse_events: PublishedEvents) -> None:
    with open_stream(app.test_client(), "/stream") as stream:
        sse_events.advance(0)
        assert stream.heartbeats == 0


@pytest.mark.parametrize("seconds", [-1, -0.001, float("nan"), float("inf"), float("-inf"), 1e12])
def test_a_time_that_cannot_go_by_is_an_error(
    app: Flask, sse_events: PublishedEvents, seconds: float
) -> None:
    # 14
    with open_stream(app.test_client(), "/stream") as stream:
        with pytest.raises(UsageError, match=r"advance\(.*seconds from 0 to 31622400"):
            sse_events.advance(seconds)
        sse_events.advance(20)
        assert stream.heartbeats >= 1


def test_more_than_a_stream_may_hold_is_an_error_that_names_the_limit(
    app: Flask, sse_events: PublishedEvents
) -> None:
    # 14
    with open_stream(app.test_client(), "/stream") as stream:
        with app.app_context():
            sse.publish_many(MANY)
        names_the_limit = r"SSE_MAX_BACKLOG_BYTES = 1048576 "

        def read_all() -> None:
            for _ in MANY:
                stream.next()

        for look in (read_all, stream.nothing, lambda: stream.events):
            with pytest.raises(AssertionError, match=names_the_limit):
                look()
        assert stream.closed
    assert len(sse_events) == len(MANY)


def test_a_larger_limit_lets_a_stream_hold_more(app: Flask) -> None:
    app.config["SSE_MAX_BACKLOG_BYTES"] = 16 * 1024 * 1024
    with open_stream(app.test_client(), "/stream") as stream:
        with app.app_context():
            sse.publish_many(MANY)
        assert [stream.next(timeout=PATIENT_SECONDS).id for _ in MANY] == [str(each["id"]) for each in MANY]
        stream.nothing()
