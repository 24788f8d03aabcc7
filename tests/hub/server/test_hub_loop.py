"""The loop bounds its turns, and reads input that waited before it calls timers that are due (15.8)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from contextvars import ContextVar

import pytest
from tests.support.patience import granted_time, patient

from flask_sse.hub.server import hub_loop
from flask_sse.hub.server.hub_loop import MAX_EVENTS_PER_TURN, STALL_SECONDS, TURN_SECONDS, HubLoop, Turns

STALL = STALL_SECONDS + 0.1


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


@pytest.fixture
def loop() -> Iterator[HubLoop]:
    loop = HubLoop()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def stall() -> None:
    time.sleep(STALL)


def test_all_input_that_waited_is_read_before_a_timer_is_called(
    loop: HubLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    done: list[str] = []

    def read() -> None:
        done.append(ours.recv(1).decode())

    def due() -> None:
        done.append("due")
        loop.stop()

    loop.add_reader(ours, read)
    loop.call_later(STALL / 2, due)
    theirs.send(b"abcdefgh")
    loop.call_soon(stall)
    loop.run_forever()
    loop.remove_reader(ours)
    assert done == [*"abcdefgh", "due"]


def test_what_the_input_brings_about_is_done_before_a_timer_is_called(
    loop: HubLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """As with the client of Redis, whose tasks read what a transport has put aside for them."""
    ours, theirs = pair

    async def read() -> list[bytes]:
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.send(b"one\ntwo\n")
        loop.call_soon(stall)
        with contextlib.closing(writer):
            # Time-outs that are over while what they are about is there.
            async with asyncio.timeout(STALL / 2):
                lines = [await reader.readline()]
                await asyncio.sleep(0)
            async with asyncio.timeout(1):
                lines.append(await reader.readline())
        return lines

    assert loop.run_until_complete(read()) == [b"one\n", b"two\n"]


def test_a_timer_that_the_input_cancels_is_not_called(
    loop: HubLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    done: list[str] = []
    timer = loop.call_later(STALL / 2, done.append, "due")

    def read() -> None:
        ours.recv(1)
        timer.cancel()
        loop.call_later(0.1, loop.stop)

    loop.add_reader(ours, read)
    theirs.send(b"x")
    loop.call_soon(stall)
    loop.run_forever()
    loop.remove_reader(ours)
    assert done == []


def test_timers_are_called_in_their_order_and_context(loop: HubLoop) -> None:
    name: ContextVar[str] = ContextVar("name", default="none")
    done: list[tuple[int, str]] = []

    def due(number: int) -> None:
        done.append((number, name.get()))

    for number in range(3):
        name.set(str(number))
        loop.call_later((number + 1) * STALL / 10, due, number)
    loop.call_later(STALL / 2, loop.stop)
    loop.call_soon(stall)
    loop.run_forever()
    assert done == [(0, "0"), (1, "1"), (2, "2")]


def test_input_without_end_does_not_hold_timers_for_ever(
    loop: HubLoop, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_loop, "MAX_CATCH_UP_SECONDS", 0.2)
    ours, theirs = pair
    theirs.send(b"x")
    loop.add_reader(ours, lambda: None)
    loop.call_later(STALL / 2, loop.stop)
    loop.call_soon(stall)
    began = time.monotonic()
    loop.run_forever()
    loop.remove_reader(ours)
    assert time.monotonic() - began < patient(STALL + 1)


def test_a_loop_that_stands_still_again_and_again_calls_its_timers(loop: HubLoop) -> None:
    calls: list[float] = []

    async def stand_still() -> None:
        for _ in range(4):
            stall()
            await asyncio.sleep(0.001)
            calls.append(loop.time())

    loop.run_until_complete(stand_still())
    assert len(calls) == 4
    assert loop.stalls.take_seconds() >= 4 * STALL
    assert loop.stalls.take_seconds() == 0


def test_a_loop_that_waits_for_long_does_not_stand_still(loop: HubLoop) -> None:
    loop.stalls.take_seconds()
    began, granted = time.monotonic(), granted_time()
    loop.run_until_complete(asyncio.sleep(2 * STALL))
    starved = time.monotonic() - began - (granted_time() - granted)
    assert loop.stalls.take_seconds() < STALL + starved
