"""Publish, listen and reach Redis from Python, as applications written for Flask-SSE 1.0 do."""

from __future__ import annotations

import contextlib
import gc
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from tests.support.brokers import Broker
from tests.support.local import LocalServer, local_app, serve
from tests.support.processes import Process, wait_until

from flask_sse import Message, sse

NO_URL = "Must set a redis connection URL in app config."


def memory_url() -> str:
    return f"memory://python-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with serve(SSE_BROKER_URL=memory_url()) as running:
        yield running


# -- without a browser ------------------------------------------------------------------------------


def test_the_test_client_reads_a_stream_and_leaves_it(server: LocalServer, channel: str) -> None:
    with server.app.test_client() as client:
        response = client.get(f"/stream?channel={channel}")
        assert response.status_code == 200
        assert response.mimetype == "text/event-stream"
        pieces = response.iter_encoded()
        assert next(pieces).startswith(b"retry:")
        published = server.publish({"a": 1}, type="t", channel=channel)
        assert published == 1
        assert next(pieces) == b'event:t\ndata:{"a": 1}\nid:%s\n\n' % str(published.id).encode()
        response.close()
    wait_until(lambda: server.publish("anyone?", channel=channel) == 0, what="the hub to see it leave")


def test_messages_that_started_the_hub_leave_it_when_they_are_closed(channel: str) -> None:
    """Nothing of the start may keep them alive until the garbage collector comes."""
    gc.disable()
    try:
        with serve(SSE_BROKER_URL=memory_url()) as server:
            with server.app.app_context():
                messages = sse.messages(channel)
            assert server.publish("first", channel=channel) == 1
            assert next(messages).data == "first"
            messages.close()  # type: ignore[attr-defined] # it is a generator, as in 1.0
            wait_until(lambda: server.publish("anyone?", channel=channel) == 0, what="it to leave")
    finally:
        gc.enable()


@pytest.mark.parametrize("broker", ["memory", "valkey"])
def test_messages_yields_what_was_published(
    broker: str, channel: str, request: pytest.FixtureRequest, server: LocalServer
) -> None:
    published: list[dict[str, Any]] = [
        {"data": {"a": [1, None, "ü"]}, "type": "t", "id": 7, "retry": 10},
        {"data": "text\r\nof two lines", "id": "seven"},
        {"data": ""},
        {"data": None},
        {"data": 1.5},
        {"data": "\N{TEST TUBE}" * 50_000},
    ]
    with ExitStack() as stack:
        if broker == "valkey":
            server = stack.enter_context(serve(REDIS_URL=request.getfixturevalue("valkey").url))
        with server.app.app_context():
            messages = sse.messages(channel)
        for fields in published:
            assert server.publish(**fields, channel=channel) == 1
        for fields in published:
            message = next(messages)
            assert isinstance(message, Message)
            assert message == Message(**fields)
            assert message.to_dict() == fields
        messages.close()  # type: ignore[attr-defined] # it is a generator, as in 1.0
        if broker == "memory":
            wait_until(lambda: server.publish("anyone?", channel=channel) == 0, what="it to leave")


CRON_JOB = """
import sys
from flask_sse import Publisher

url, channel = sys.argv[1:]
print("receivers", Publisher(url).publish({"done": 7}, type="progress", channel=channel))
assert "flask" not in sys.modules
"""


def test_a_job_without_flask_publishes_with_the_url_alone(server: LocalServer, channel: str) -> None:
    url = server.app.config["SSE_BROKER_URL"]
    with server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        with Process([sys.executable, "-c", CRON_JOB, url, channel]) as job:
            assert job.wait() == 0, job.output()
            assert "receivers 1" in job.output()
        event = stream.next_event()
        assert (event.type, event.data) == ("progress", '{"done": 7}')


# -- Redis ------------------------------------------------------------------------------------------


def test_sse_redis_is_a_client_of_the_server(valkey: Broker, redis_server: Broker, channel: str) -> None:
    with (
        local_app(SSE_REDIS_URL=valkey.url, REDIS_URL=redis_server.url) as app,
        contextlib.closing(redis.Redis.from_url(valkey.url)) as outside,
        app.app_context(),
    ):
        assert isinstance(sse.redis, redis.Redis)
        sse.redis.set(channel, "kept")
        assert outside.get(channel) == b"kept"


@pytest.mark.parametrize("config", [{}, {"REDIS_URL": None}, {"SSE_REDIS_URL": "", "REDIS_URL": ""}])
def test_without_a_url_whatever_needs_one_raises_key_error_and_nothing_else_does(
    config: dict[str, Any],
) -> None:
    with serve(**config) as server:
        server.app.add_url_rule("/", view_func=lambda: "works")
        assert server.get("/").body == b"works"
        assert server.get("/stream").status == 500
        with server.app.app_context():
            for use in (lambda: sse.publish("x"), sse.messages, lambda: sse.redis):
                with pytest.raises(KeyError) as caught:
                    use()
                assert caught.value.args[0].startswith(NO_URL)
        server.app.testing = True
        with pytest.raises(KeyError, match=NO_URL), server.app.test_client() as client:
            client.get("/stream")


def test_sse_redis_needs_a_url_of_redis() -> None:
    with local_app(SSE_BROKER_URL=memory_url()) as app, app.app_context():
        with pytest.raises(KeyError) as caught:
            sse.redis.ping()
        assert caught.value.args[0].startswith(NO_URL)
