"""While a deployment is upgraded, processes of 1.0 and of this version share a Redis server."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from tests.support import webservers
from tests.support.brokers import Broker
from tests.support.client import StreamClient
from tests.support.processes import wait_until
from tests.support.tools import require
from tests.support.webservers import RunningServer

from flask_sse.wire.decode import Event

APPS = Path(__file__).parent / "apps"

# What is published, and what clients of both versions see.
EVENTS: list[tuple[dict[str, Any], Event]] = [
    ({"data": "text"}, Event("message", "text", "")),
    ({"data": "grüße \N{TEST TUBE}", "type": "typ-ü"}, Event("typ-ü", "grüße \N{TEST TUBE}", "")),
    ({"data": "two\nlines\r\nand\rmore"}, Event("message", "two\nlines\nand\nmore", "")),
    (
        {"data": {"b": [1, 2.5, None], "a": "ü"}},
        Event("message", '{"a": "\\u00fc", "b": [1, 2.5, null]}', ""),
    ),
    ({"data": [], "retry": 4321}, Event("message", "[]", "")),
    ({"data": 7, "type": "number"}, Event("number", "7", "")),
    ({"data": "all", "type": "t", "id": "an id", "retry": 1234}, Event("t", "all", "an id")),
    ({"data": None, "id": 8}, Event("message", "null", "8")),
]


@pytest.fixture(scope="module")
def old(valkey: Broker) -> Iterator[RunningServer]:
    """Flask-SSE 1.0 as its documentation wants it: gunicorn with gevent."""
    path = os.pathsep.join([str(require("flask-sse-1.0")), str(APPS)])
    env = {"PYTHONPATH": path, "FLASK_REDIS_URL": valkey.url}
    with webservers.start("gunicorn-gevent", "plain:app", APPS, env) as server:
        yield server
        # It would wait for its streams, which do not notice that their clients have left.
        server.process.kill_tree()


@pytest.fixture(scope="module")
def new(valkey: Broker) -> Iterator[RunningServer]:
    with webservers.start("gunicorn-sync", "plain:app", APPS, {"FLASK_REDIS_URL": valkey.url}) as server:
        yield server


@pytest.fixture
def both(
    old: RunningServer, new: RunningServer, valkey: Broker, channel: str
) -> Iterator[list[StreamClient]]:
    """A stream of 1.0 and one of this version; 1.0 answers with its first event."""
    with ExitStack() as stack:
        admin: Any = stack.enter_context(contextlib.closing(redis.Redis.from_url(valkey.url)))
        of_old = stack.enter_context(old.stream(f"/stream?channel={channel}"))
        wait_until(lambda: dict(admin.pubsub_numsub(channel)).get(channel.encode()), what="1.0 to listen")
        of_new = stack.enter_context(new.stream(f"/stream?channel={channel}"))
        of_new.wait_for_bytes(b"retry:")
        yield [of_old, of_new]


def publish(server: RunningServer, event: dict[str, Any], channel: str, times: int = 1) -> int:
    words = quote(json.dumps({**event, "channel": channel}))
    answer = server.get(f"/publish?event={words}" + (f"&times={times}" if times > 1 else ""))
    return int(answer.body) if answer.status == 200 else -answer.status


@pytest.mark.parametrize("publisher", ["old", "new"])
def test_clients_of_both_versions_see_what_either_publishes(
    publisher: str, both: list[StreamClient], channel: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(publisher)
    for event, _ in EVENTS:
        assert publish(server, event, channel) == 2
    assert publish(server, {"data": "200 KB"}, channel, 33_000) == 2
    for stream in both:
        assert stream.events(len(EVENTS)) == [seen for _, seen in EVENTS]
        assert stream.reading.decoder.retry_ms == 1234
        assert stream.next_event().data == "200 KB" * 33_000


def test_this_version_writes_the_bytes_that_1_0_wrote(
    new: RunningServer, both: list[StreamClient], channel: str
) -> None:
    for event, _ in EVENTS:
        publish(new, event, channel)
    for stream in both:
        stream.events(len(EVENTS))
    of_old, of_new = (bytes(stream.reading.body) for stream in both)
    assert of_new.partition(b"\n\n")[2] == of_old


def test_the_old_version_is_1_0(old: RunningServer, new: RunningServer, channel: str) -> None:
    """It publishes a type that forges a field, which this version refuses."""
    forging = {"data": "x", "type": "a\nid:forged"}
    assert [publish(server, forging, channel) for server in (old, new)] == [0, -500]
