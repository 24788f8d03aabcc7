"""Shutdown watcher: one thread per worker that ends its relayed streams when the worker shuts down."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

logger = logging.getLogger(__name__)

# How often it checks, and how long a stream then waits for the hub's last bytes: together they are well below
# the 2 seconds that a deploy may wait for streams.
CHECK_SECONDS = 0.25
LAST_SECONDS = 1.0


class StreamEnd:
    """Our end of a stream: one thread reads and closes it, others may shut it down.

    ``shutdown`` of a plain socket reads its number and then makes the system call. A close in between gives
    the number to another connection, which would be shut down instead: hence the lock.

    Args:
        sock: The socket.

    Attributes:
        sock: The socket, to read from.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._lock = threading.Lock()

    def shut_down(self, how: int) -> None:
        """Shut it down, unless it is closed; from any thread."""
        with self._lock, contextlib.suppress(OSError):
            self.sock.shutdown(how)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self.sock.close()


class WatchedStream:
    """A stream while a response reads it.

    Args:
        end: The reader's end; the hub ends the stream when this end is half closed.
        is_shutting_down: Tells whether the worker is shutting down.
    """

    def __init__(self, end: StreamEnd, is_shutting_down: Callable[[], bool]) -> None:
        self._end = end
        self._is_shutting_down = is_shutting_down
        self._ends_at: float | None = None

    @property
    def is_shutting_down(self) -> bool:
        """Whether the worker of the stream is shutting down."""
        return self._ends_at is not None or self._is_shutting_down()

    def check(self, now: float) -> None:
        """End the stream if its worker is shutting down.

        Half closed first, so that the hub can finish the event that it is writing; closed after
        ``LAST_SECONDS``, whatever the hub does.
        """
        if self._ends_at is None and self._is_shutting_down():
            self._ends_at = now + LAST_SECONDS
            self._end.shut_down(socket.SHUT_WR)
        elif self._ends_at is not None and now >= self._ends_at:
            self._end.shut_down(socket.SHUT_RDWR)


class ShutdownWatcher:
    """Watches all relayed streams of this process; its thread runs while there are some."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start without streams, as a forked process must, in which the thread does not run."""
        self._lock = threading.Lock()
        self._watched: set[WatchedStream] = set()
        self._runs = False

    @contextlib.contextmanager
    def watch(self, end: StreamEnd, is_shutting_down: Callable[[], bool]) -> Iterator[WatchedStream]:
        """Watch a stream meanwhile."""
        watched = WatchedStream(end, is_shutting_down)
        with self._lock:
            self._watched.add(watched)
            runs, self._runs = self._runs, True
        if not runs:
            self._start()
        try:
            yield watched
        finally:
            with self._lock:
                self._watched.discard(watched)

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name="flask-sse shutdown watcher", daemon=True).start()
        except RuntimeError as error:  # the system allows no more threads
            logger.error("streams will not end with their worker: %s", error)  # noqa: TRY400 - the text says it all
            with self._lock:
                # The next stream tries again, for all.
                self._runs = False

    def _run(self) -> None:
        while True:
            time.sleep(CHECK_SECONDS)
            with self._lock:
                watched = list(self._watched)
                if not watched:
                    self._runs = False
                    return
            for each in watched:
                try:
                    each.check(time.monotonic())
                except (
                    Exception
                ):  # these are the insides of other programs; other streams must end nevertheless
                    logger.exception("a stream will not end with its worker")
                    with self._lock:
                        self._watched.discard(each)


shutdown_watcher = ShutdownWatcher()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shutdown_watcher.forget)
