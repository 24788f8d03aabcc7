"""A stream of the test kit is closed after its ``stream-end``, whoever has ended it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from tests.support.local import close, make_app
from tests.support.patience import PATIENT_SECONDS

from flask_sse import new_run, sse
from flask_sse.extension import current_extension
from flask_sse.testing import PublishedEvents, open_stream
from flask_sse.wire.run import ended


@pytest.fixture
def app() -> Flask:
    return make_app(SSE_REDIS_URL="redis://127.0.0.1:1", SSE_MAX_CHANNELS_PER_STREAM=2)


@pytest.fixture
def client(app: Flask, sse_events: PublishedEvents) -> FlaskClient:
    return app.test_client()


def publish(app: Flask, *args: object, **kwargs: object) -> None:
    with app.app_context():
        sse.publish(*args, **kwargs)  # type: ignore[arg-type]


def end_run(app: Flask, channel: str) -> None:
    with app.app_context():
        backend = current_extension().submitter.run_backend
        backend.broker().submit([backend.checked(ended("finished"), channel)])


@pytest.mark.parametrize("number", range(5))
def test_a_run_that_ended_has_closed_its_stream(app: Flask, client: FlaskClient, number: int) -> None:
    # 42: the hub ends such a stream at its second look, which the test need not wait for
    channel = new_run()
    publish(app, "", type="run-begin", channel=channel)
    with open_stream(client, f"/stream?channel={channel}") as stream:
        closed_before = stream.closed
        end_run(app, channel)
        assert stream.next("stream-end").json["reason"] == "finished"
        assert stream.closed
        assert not closed_before
        stream.wait_closed(timeout=0)


def test_the_end_of_one_run_leaves_a_stream_of_several_channels_open(app: Flask, client: FlaskClient) -> None:
    channel = new_run()
    publish(app, "", type="run-begin", channel=channel)
    with open_stream(client, f"/stream?channel={channel}&channel=news") as stream:
        end_run(app, channel)
        assert stream.next("stream-end").json["channel"] == channel
        closed_by_the_run = stream.closed
        publish(app, "x", channel="news")
        assert stream.next().data == "x"
        with app.app_context():
            sse.disconnect(channel="news")
        stream.next("stream-end")
        assert stream.closed
        assert not closed_by_the_run


@pytest.mark.parametrize("number", range(5))
def test_a_response_that_ended_is_closed(app: Flask, client: FlaskClient, number: int) -> None:
    # 42
    continues = threading.Event()

    def work() -> Iterator[str]:
        yield "x"
        assert continues.wait(PATIENT_SECONDS)

    app.add_url_rule("/answer", "answer", lambda: sse.response(work()))
    with open_stream(client, "/answer") as stream:
        assert stream.next().data == "x"
        closed_before = stream.closed
        continues.set()
        assert stream.next("stream-end").json == {"reason": "finished"}
        assert stream.closed
        assert not closed_before


def test_a_run_that_ended_has_closed_its_stream_of_a_real_hub_too(app: Flask) -> None:
    app.config.update(SSE_BROKER_URL="memory://closed", SSE_HUB="thread")
    channel = new_run()
    publish(app, "", type="run-begin", channel=channel)
    with open_stream(app.test_client(), f"/stream?channel={channel}") as stream:
        closed_before = stream.closed
        end_run(app, channel)
        stream.next("stream-end")
        assert stream.closed
        assert not closed_before
    close(app)
