"""No client makes a turn of the hub's loop long, by the hub's own clock."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from tests.support.bare_application import HEAD, BareApplication
from tests.support.client import StreamReader
from tests.support.processes import wait_until

from flask_sse.brokers.base import Publication
from flask_sse.brokers.memory import BATCH
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.hub.server.hub_loop import MAX_EVENTS_PER_TURN, TURN_SECONDS, HubLoop, Turns
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


def test_a_turn_takes_the_events_of_some_sockets_and_the_next_turn_those_of_others() -> None:
    with contextlib.ExitStack() as stack:
        loop = HubLoop()
        stack.callback(loop.close)
        ready = [ready_socket(stack) for _ in range(2 * MAX_EVENTS_PER_TURN + 20)]
        turns = read_in_turns(loop, ready, turns=5)
    # The first turn asks which are ready.
    assert turns == [0, MAX_EVENTS_PER_TURN, MAX_EVENTS_PER_TURN, 20, 0]


def test_a_socket_that_was_closed_before_its_turn_is_not_read() -> None:
    with contextlib.ExitStack() as stack:
        loop = HubLoop()
        stack.callback(loop.close)
        ready = [ready_socket(stack) for _ in range(MAX_EVENTS_PER_TURN + 20)]
        loop.call_soon(lambda: loop.call_soon(lambda: [loop.remove_reader(sock) for sock in ready]))
        turns = read_in_turns(loop, ready, turns=5)
    assert sum(turns) == MAX_EVENTS_PER_TURN


def ready_socket(stack: contextlib.ExitStack) -> socket.socket:
    """Return one that can be read."""
    ours, theirs = (stack.enter_context(each) for each in socket.socketpair())
    theirs.send(b"x")
    return ours


def read_in_turns(loop: HubLoop, socks: list[socket.socket], turns: int) -> list[int]:
    """Let a loop read them; return how many it read in each of so many turns."""
    counts: list[int] = []

    def read(sock: socket.socket) -> None:
        sock.recv(1)
        counts[-1] += 1

    def turn() -> None:
        counts.append(0)
        if len(counts) <= turns:
            loop.call_soon(turn)
        else:
            loop.stop()

    for sock in socks:
        loop.add_reader(sock, read, sock)
    turn()
    loop.run_forever()
    for sock in socks:
        loop.remove_reader(sock)
    return counts[:turns]


def test_a_turn_is_measured_by_the_clock_and_by_the_time_of_the_cpu() -> None:
    turns = Turns()
    turns.begin()
    time.sleep(3 * TURN_SECONDS)
    assert not turns.has_time
    turns.end()
    seconds, cpu_seconds = turns.take_longest()
    assert seconds >= 3 * TURN_SECONDS
    assert cpu_seconds < seconds / 2
    assert turns.take_longest() == (0.0, 0.0)
