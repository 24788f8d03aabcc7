"""No client makes a turn of the hub's loop long, by the hub's own clock."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from tests.support.bare_application import HEAD, BareApplication
from tests.support.client import StreamReader
from tests.support.processes import wait_until

from flask_sse.brokers.base import Publication
from flask_sse.brokers.memory import BATCH
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.settings import History, StreamRules
from flask_sse.wire.cursor import EARLIEST

LONGEST_MS = 50.0
KEPT = History(30_000, 3600)


@pytest.fixture
def hub(channel: str) -> Iterator[BareApplication]:
    with BareApplication(f"memory://{channel}") as client:
        yield client


def fill(hub: BareApplication, channel: str, count: int) -> None:
    some = [Publication(channel, b'{"data": "%d"}' % number, KEPT) for number in range(count)]
    for start in range(0, count, BATCH):
        hub.hub_client.submit(some[start : start + BATCH])


def replay(hub: BareApplication, channel: str, max_backlog_bytes: int) -> StreamReader:
    """Open a stream that begins with all that is kept."""
    ours, hubs = socket.socketpair()
    with hubs:
        request = StreamRequest(
            (channel,), FRAMES, StreamRules(max_backlog_bytes=max_backlog_bytes), {channel: EARLIEST}, HEAD
        )
        hub.hub_client.attach(hubs.fileno(), request)
    return StreamReader(ours)


def test_a_long_replay_takes_turns_with_other_streams(hub: BareApplication, channel: str) -> None:
    """13.13: 20 000 events were replayed in one turn of 0.95 s."""
    count = 20_000
    fill(hub, channel, count)
    large = 64 * 1024 * 1024
    with hub.stream("other") as other, contextlib.ExitStack() as stack:
        # Nobody reads them, and a page is as large as a socket takes: all of it is in memory at once.
        replays = [stack.enter_context(replay(hub, channel, max_backlog_bytes=large)) for _ in range(3)]
        for number in range(20):
            assert hub.publish(number, channel="other") == 1
            assert other.next_event().data == str(number)
        got = [len(stream.events(count)) for stream in replays]
    assert got == [count] * 3
    assert hub.status()["longest_turn_cpu_ms"] < LONGEST_MS


def test_clients_that_leave_at_once_take_turns_with_other_streams(hub: BareApplication, channel: str) -> None:
    """13.13: each takes little, and one client can have thousands."""
    pairs = [socket.socketpair() for _ in range(400)]
    with contextlib.ExitStack() as stack:
        for ours, hubs in pairs:
            stack.enter_context(ours)
            with hubs:
                hub.hand_over(hubs, channel)
        wait_until(lambda: hub.status()["opened"] == len(pairs), what="all streams open")
    wait_until(lambda: hub.status()["streams"] == 0, what="all streams gone")
    assert hub.status()["longest_turn_cpu_ms"] < LONGEST_MS
