"""A hub that stood still reads what waited before it judges what is due (15.8)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import pytest
from tests.support.bare_application import BareApplication, log_of
from tests.support.brokers import Broker
from tests.support.client import StreamClient
from tests.support.patience import PATIENT_SECONDS, granted_time, patient
from tests.support.processes import Process, free_port, running, suspended, wait_until

from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.hub.server import hub_loop
from flask_sse.hub.server.hub_loop import STALL_SECONDS, HubLoop

SERVER = Path(__file__).parent / "impatient_server.py"
PRODUCER = Path(__file__).parents[2] / "producing" / "producer.py"
STALL = STALL_SECONDS + 0.1
# A hub must be stopped within it, once it has begun.
LINGER_SECONDS = 4.0


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


# -- the loop -------------------------------------------------------------------------------------------


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


# -- the hub --------------------------------------------------------------------------------------------


def test_a_hub_that_was_stopped_does_not_end_before_it_sees_the_application_that_came(channel: str) -> None:
    """Without applications it ends after a while, and one that came meanwhile is no less one."""
    url = f"memory://{channel}"
    with BareApplication(url, hub_linger_seconds=LINGER_SECONDS) as first:
        pid = first.pid
        path = hub_path(first.settings)
    wait_until(
        lambda: f"the hub ends in {LINGER_SECONDS:g} s" in log_of(path),
        what="the hub to miss its application",
    )
    with BareApplication(url, hub_linger_seconds=LINGER_SECONDS) as second:
        with suspended(pid):
            answers: list[int] = []
            asking = threading.Thread(target=lambda: answers.append(second.pid))
            asking.start()
            time.sleep(LINGER_SECONDS + 0.6)
        asking.join(PATIENT_SECONDS)
        assert answers == [pid]
        with pytest.raises(TimeoutError):
            wait_until(lambda: not running(pid), seconds=0.5)
        assert second.pid == pid


@pytest.mark.parametrize("with_its_producer", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_run_is_not_lost_while_its_hub_stands_still(
    valkey: Broker, channel: str, with_its_producer: bool
) -> None:
    name, port = f"run:{channel}", free_port()
    with (
        Process([sys.executable, SERVER, valkey.url, str(port)], ready=port) as server,
        Process([sys.executable, PRODUCER, valkey.url, name, "0.5"]) as producer,
        StreamClient(port, f"/stream?channel={name}") as stream,
    ):
        assert [event.type for event in stream.events(2)] == ["run-begin", "message"]
        assert stream.next_event().type == "run-alive"
        time.sleep(0.6)  # until the hub has begun to count the silence
        with contextlib.ExitStack() as stopped:
            stopped.enter_context(suspended(server.pid))
            if with_its_producer:
                stopped.enter_context(suspended(producer.pid))
            time.sleep(2.5)
        # It continues with what waited, and the producer with what it has to say.
        assert stream.next_event().type == "run-alive"
        assert b"lost" not in stream.raw
        os.kill(producer.pid, signal.SIGKILL)
        stream.wait_for_bytes(b'"reason": "lost"')
        assert stream.wait_closed() == "eof"
