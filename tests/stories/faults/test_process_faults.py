"""Processes of ours are killed, forked, loaded: faults 22, 24, 25 and 34, and the hub under load."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support import forks, webservers
from tests.support.brokers import Broker
from tests.support.client import StreamClient
from tests.support.numbers import Numbers
from tests.support.processes import children, running, wait_until
from tests.support.webservers import RunningServer

from flask_sse import Publisher
from flask_sse.brokers.base import Page
from flask_sse.hub.core.actions import Continue, Read, Subscribe
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.cursor import FROM_NOW, Stamp
from flask_sse.wire.envelope import pack
from flask_sse.wire.frame import Frame
from flask_sse.wire.message import Message

APPS = Path(__file__).parent.parent / "integration" / "apps"
PER_SECOND = 250
MANY = 10_000


@pytest.fixture
def server(valkey: Broker, runtime_directory: str) -> Iterator[RunningServer]:
    """Two workers that answer one request at a time, and a hub of their own."""
    env = {"FLASK_REDIS_URL": valkey.url}
    with webservers.start("gunicorn-sync", "plain:app", APPS, env, ["--workers", "2"]) as running_server:
        yield running_server


def hub_pid(server: RunningServer) -> int:
    return int(server.get("/hub").body)


def test_hub_killed_under_load_is_started_by_the_next_request_and_nothing_is_lost(
    server: RunningServer, valkey: Broker, channel: str
) -> None:
    path = f"/stream?channel={channel}"
    heard: dict[int, list[int]] = {number: [] for number in range(10)}
    last_ids = dict.fromkeys(heard, "")
    with Numbers(valkey.url, channel, PER_SECOND, first=1) as numbers:
        for _ in range(4):
            with contextlib.ExitStack() as stack:
                streams = {
                    number: stack.enter_context(server.stream(path, _coming_back(last_ids[number])))
                    for number in heard
                }
                for number, stream in streams.items():
                    heard[number] += _next_numbers(stream, 20)
                pid = hub_pid(server)
                os.kill(pid, signal.SIGKILL)
                for number, stream in streams.items():
                    heard[number] += _rest(stream)
                    last_ids[number] = stream.reading.decoder.last_event_id
                wait_until(partial(_has_ended, pid), what="the end of the hub")
    for number, seen in heard.items():
        with server.stream(path, _coming_back(last_ids[number])) as stream:
            rest = _next_numbers(stream, numbers.count - seen[-1])
        assert [*seen, *rest] == list(range(seen[0], numbers.count + 1))


def _has_ended(pid: int) -> bool:
    return not running(pid)


def _coming_back(last_event_id: str) -> dict[str, str]:
    return {"Last-Event-ID": last_event_id} if last_event_id else {}


def _next_numbers(stream: StreamClient, count: int) -> list[int]:
    numbers: list[int] = []
    while len(numbers) < count:
        event = stream.next_event()
        assert event.type in {"message", "stream-open"}, event
        numbers += [int(event.data)] if event.type == "message" else []
    return numbers


def _rest(stream: StreamClient) -> list[int]:
    numbers: list[int] = []
    with contextlib.suppress(EOFError):
        while True:
            numbers += _next_numbers(stream, 1)
    return numbers


def test_22_killed_worker_takes_no_stream_with_it(
    server: RunningServer, valkey: Broker, channel: str
) -> None:
    path = f"/stream?channel={channel}"
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(server.stream(path)) for _ in range(20)]
        for stream in streams:
            stream.wait_for_bytes(b"stream-open")
        workers = wait_until(lambda: workers_of(server), what="two workers")
        with Numbers(valkey.url, channel, PER_SECOND, first=1) as numbers:
            for worker in workers:
                os.kill(worker, signal.SIGKILL)
            wait_until(lambda: not any(map(running, workers)), what="the end of the workers")
            wait_until(lambda: numbers.count >= 100, what="some events")
        for stream in streams:
            assert _next_numbers(stream, numbers.count) == list(range(1, numbers.count + 1))
    subscribed = wait_until(lambda: valkey.client().pubsub_numsub(channel), what="an answer")
    assert subscribed == [(channel.encode(), 1)], "one hub, whatever happens to the workers"


def workers_of(server: RunningServer) -> list[int] | None:
    workers = children(server.process.pid)
    return workers if len(workers) == 2 else None


def test_24_application_that_publishes_before_the_server_forks(
    valkey: Broker, channel: str, runtime_directory: str
) -> None:
    env = {"FLASK_REDIS_URL": valkey.url, "PLAIN_PUBLISH_AT_START": channel}
    with (
        webservers.start("gunicorn-sync", "plain:app", APPS, env, ["--preload", "--workers", "2"]) as server,
        server.stream(f"/stream?channel={channel}&last_event_id=earliest") as stream,
    ):
        assert stream.next_event().data == "at the start"
        wait_until(lambda: workers_of(server), what="two workers")
        for number in range(20):
            event = f'{{"data": "{number}", "channel": "{channel}"}}'
            assert server.get(f"/publish?event={event.replace(' ', '%20')}").status == 200
        assert [event.data for event in stream.events(20)] == [str(number) for number in range(20)]


@pytest.mark.parametrize("fork", [forks.by_os, forks.by_multiprocessing])
def test_25_forked_process_publishes_on_connections_of_its_own(
    valkey: Broker, channel: str, fork: object
) -> None:
    with contextlib.closing(Publisher(valkey.url)) as publisher:
        start = publisher.cursor(channel)
        publisher.publish("before", channel=channel)

        def publish_some(name: str) -> None:
            for number in range(100):
                publisher.publish(f"{name} {number}", channel=channel)

        wait = fork(lambda: publish_some("child"))  # type: ignore[operator] # one of the two above
        publish_some("parent")
        assert wait() == 0
        kept: Any = valkey.client().xrange(f"flask-sse:{{{channel}}}:s")
        assert len(kept) == 201
        ids = [start.partition(".")[2].encode(), *(event_id for event_id, _ in kept)]
        assert [entry[b"p"] for _, entry in kept] == ids[:-1]


def test_34_one_event_for_many_streams_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[bytes] = []
    original = Frame.of_envelope

    def count(envelope: bytes) -> Frame:
        encoded.append(envelope)
        return original(envelope)

    monkeypatch.setattr(Frame, "of_envelope", count)
    core: Core[Subscriber] = Core(1000, 10, random.random)
    for _ in range(MANY):
        core.add(Subscriber(StreamRequest(("a",), FRAMES, StreamRules(), {"a": FROM_NOW})), 0)
        while core.outbox:
            order = core.outbox.popleft()
            if isinstance(order, Subscribe):
                core.subscribed(order.channel)
            elif isinstance(order, Read):
                core.page(order.number, Page("abcdefgh", "0-0", "0-0", (), complete=True), 0)
            elif isinstance(order, Continue):
                core.continue_stream(order.subscriber, 0)
    assert core.deliver("a", Stamp("abcdefgh", "1-0", "0-0"), pack(Message("once"))) == MANY
    [(data, subscribers)] = core.flush(0)
    assert data == b"data:once\nid:abcdefgh.1-0\n\n"
    assert len(subscribers) == MANY
    assert encoded == [pack(Message("once"))]
