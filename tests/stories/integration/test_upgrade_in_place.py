"""While a deployment is upgraded, processes of 1.0 and of this version share a Redis server."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
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

# The server of 1.0, and the hub that both of this version share.
RECEIVERS = 2


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


@pytest.fixture(scope="module")
def new_without_history(valkey: Broker) -> Iterator[RunningServer]:
    env = {"FLASK_REDIS_URL": valkey.url, "FLASK_SSE_HISTORY_SIZE": "0"}
    with webservers.start("gunicorn-sync", "plain:app", APPS, env) as server:
        yield server


class Streams(NamedTuple):
    """A stream of each."""

    old: StreamClient
    new: StreamClient
    new_without_history: StreamClient


@pytest.fixture
def streams(
    old: RunningServer,
    new: RunningServer,
    new_without_history: RunningServer,
    valkey: Broker,
    channel: str,
) -> Iterator[Streams]:
    """All of them are open; 1.0 answers with its first event."""
    with ExitStack() as stack:
        admin: Any = stack.enter_context(contextlib.closing(redis.Redis.from_url(valkey.url)))
        opened = Streams(
            *(
                stack.enter_context(server.stream(f"/stream?channel={channel}"))
                for server in (old, new, new_without_history)
            )
        )
        opened.new.wait_opened()
        opened.new_without_history.wait_for_bytes(b"retry:")
        wait_until(
            lambda: dict(admin.pubsub_numsub(channel)).get(channel.encode()) == RECEIVERS,
            what="1.0 to listen",
        )
        yield opened


def publish(server: RunningServer, event: dict[str, Any], channel: str, times: int = 1) -> int:
    words = quote(json.dumps({**event, "channel": channel}))
    answer = server.get(f"/publish?event={words}" + (f"&times={times}" if times > 1 else ""))
    return int(answer.body) if answer.status == 200 else -answer.status


@pytest.mark.parametrize("publisher", ["old", "new", "new_without_history"])
def test_clients_of_both_versions_see_what_either_publishes(
    publisher: str, streams: Streams, channel: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(publisher)
    for event, _ in EVENTS:
        assert publish(server, event, channel) == RECEIVERS
    assert publish(server, {"data": "200 KB"}, channel, 33_000) == RECEIVERS
    for stream in streams:
        seen = [(event.type, event.data) for event in stream.events(len(EVENTS))]
        assert seen == [(event.type, event.data) for _, event in EVENTS]
        assert stream.reading.decoder.retry_ms == 1234
        assert stream.next_event().data == "200 KB" * 33_000


@pytest.mark.parametrize("publisher", ["old", "new", "new_without_history"])
def test_without_history_this_version_writes_the_bytes_that_1_0_wrote(
    publisher: str, streams: Streams, channel: str, request: pytest.FixtureRequest
) -> None:
    for event, _ in EVENTS:
        publish(request.getfixturevalue(publisher), event, channel)
    for stream in streams:
        stream.events(len(EVENTS))
    without_history = bytes(streams.new_without_history.reading.body)
    assert without_history.partition(b"\n\n")[2] == bytes(streams.old.reading.body)


def test_with_history_there_are_ids_and_an_event_that_pages_of_1_0_do_not_listen_to(
    new: RunningServer, streams: Streams, channel: str
) -> None:
    for event, _ in EVENTS:
        publish(new, event, channel)
    for stream in streams:
        stream.events(len(EVENTS))
    _, opened, rest = bytes(streams.new.reading.body).split(b"\n\n", 2)
    assert opened.startswith(b"event:stream-open\n")
    # A cursor is what 1.0 has no id for; behind an id of the application it stands by itself.
    cursor = rb"id:[a-z]{8}\.[0-9]+-[0-9]+\n"
    without_cursors, cursors = re.subn(cursor, b"", re.sub(rb"(?<=\n\n)" + cursor + rb"\n", b"", rest))
    assert cursors == sum(seen.last_event_id == "" for _, seen in EVENTS)
    assert without_cursors == bytes(streams.old.reading.body)


def test_the_old_version_is_1_0(old: RunningServer, new: RunningServer, channel: str) -> None:
    """It publishes a type that forges a field, which this version refuses."""
    forging = {"data": "x", "type": "a\nid:forged"}
    assert [publish(server, forging, channel) for server in (old, new)] == [0, -500]
