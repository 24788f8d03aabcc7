"""The lookout: one thread of a worker asks for all its relayed streams whether the worker is ending."""

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

# How often it asks, and how long a stream then waits for the hub's last bytes: together they are well below
# the 2 seconds that a deploy may wait for streams.
ASK_SECONDS = 0.25
LAST_SECONDS = 1.0


class StreamEnd:
    """Our end of a stream: one thread reads and closes it, others may shut it down.

    ``shutdown`` of a plain socket reads its number and then calls the system. A close in between gives the
    number to another connection, which would be shut down instead.

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


class Watched:
    """A stream while somebody reads it.

    Args:
        end: The reader's end; the hub lets go of the stream when this end is half closed.
        ending: Tells whether the worker is ending.
    """

    def __init__(self, end: StreamEnd, ending: Callable[[], bool]) -> None:
        self._end = end
        self._ending = ending
        self._ends_at: float | None = None

    @property
    def is_ending(self) -> bool:
        """Whether the worker of the stream is ending."""
        return self._ends_at is not None or self._ending()

    def look(self, now: float) -> None:
        """End the stream if its worker is ending: the hub is told first, and has its time to answer."""
        if self._ends_at is None and self._ending():
            self._ends_at = now + LAST_SECONDS
            self._end.shut_down(socket.SHUT_WR)
        elif self._ends_at is not None and now >= self._ends_at:
            self._end.shut_down(socket.SHUT_RDWR)


class Lookout:
    """Looks after all streams of this process; its thread runs while there are some."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked process must, in which the thread does not run."""
        self._lock = threading.Lock()
        self._watched: set[Watched] = set()
        self._runs = False

    @contextlib.contextmanager
    def watch(self, end: StreamEnd, ending: Callable[[], bool]) -> Iterator[Watched]:
        """Look after a stream meanwhile."""
        watched = Watched(end, ending)
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
            threading.Thread(target=self._run, name="flask-sse-lookout", daemon=True).start()
        except RuntimeError as error:  # the system allows no more threads
            logger.error("streams will not end with their worker: %s", error)  # noqa: TRY400 - the text says it all
            with self._lock:
                # The next stream tries again, for all.
                self._runs = False

    def _run(self) -> None:
        while True:
            time.sleep(ASK_SECONDS)
            with self._lock:
                watched = list(self._watched)
                if not watched:
                    self._runs = False
                    return
            for each in watched:
                try:
                    each.look(time.monotonic())
                except Exception:  # these are the insides of other people's programs
                    logger.exception("a stream will not end with its worker")
                    with self._lock:
                        self._watched.discard(each)


lookout = Lookout()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lookout.forget)
