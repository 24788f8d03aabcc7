"""The thread that ends the streams of a worker that shuts down."""

from __future__ import annotations

import signal
import socket
import threading

import pytest
from tests.support import forks
from tests.support.patience import Stopwatch
from tests.support.processes import wait_until

from flask_sse.serving.relay import received_until
from flask_sse.serving.shutdown_watcher import StreamEnd, shutdown_watcher

PROMISED_SECONDS = 2.0
RETRY = b"retry:1\n\n"


def test_a_stream_of_an_ending_worker_does_not_wait_for_a_hub_that_hangs() -> None:
    ours, hubs = socket.socketpair()
    with hubs:
        with Stopwatch() as watch:
            assert list(received_until(StreamEnd(ours), lambda: True, RETRY)) == [RETRY]
        assert watch.seconds < PROMISED_SECONDS


def test_a_worker_that_cannot_be_asked_does_not_keep_other_streams_from_ending() -> None:
    def broken() -> bool:
        raise RuntimeError("not as it was")

    (one, ones), (other, others) = socket.socketpair(), socket.socketpair()
    with ones, others, shutdown_watcher.watch(StreamEnd(one), broken):
        assert list(received_until(StreamEnd(other), lambda: True, RETRY)) == [RETRY]
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.recv(1)
    one.close()


def test_the_thread_that_asks_runs_while_there_are_streams() -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "shutdown watcher" in thread.name]

    for _ in range(2):
        ours, hubs = socket.socketpair()
        with hubs:
            pieces = received_until(StreamEnd(ours), lambda: False, RETRY)
            hubs.sendall(b"x")
            next(pieces)
            assert len(threads()) == 1
            pieces.close()  # type: ignore[attr-defined] # it is a generator
    wait_until(lambda: not threads(), what="the end of the thread")


def test_streams_of_a_forked_worker_end_with_it() -> None:
    ours, hubs = socket.socketpair()
    with hubs, shutdown_watcher.watch(StreamEnd(ours), lambda: False):

        def in_child() -> None:
            signal.alarm(10)
            mine, hubs = socket.socketpair()
            with hubs:
                assert list(received_until(StreamEnd(mine), lambda: True, RETRY)) == [RETRY]

        assert forks.by_os(in_child)() == 0
    ours.close()
