"""The lookout: one thread of a worker asks for all its relayed streams whether the worker is ending."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

# How often it asks, and how long a stream then waits for the hub's last bytes: together they are well below
# the 2 seconds that a deploy may wait for streams.
ASK_SECONDS = 0.25
LAST_SECONDS = 1.0


class Watched:
    """A stream while somebody reads it.

    Args:
        stream: The reader's end; the hub lets go of the stream when this end is half closed.
        ending: Tells whether the worker is ending.
    """

    def __init__(self, stream: socket.socket, ending: Callable[[], bool]) -> None:
        self._stream = stream
        self._ending = ending
        self._ends_at: float | None = None

    @property
    def is_ending(self) -> bool:
        """Whether the worker of the stream is ending."""
        return self._ends_at is not None or self._ending()

    def look(self, now: float) -> None:
        """End the stream if its worker is ending: the hub is told first, and has its time to answer."""
        with contextlib.suppress(OSError):
            if self._ends_at is None and self._ending():
                self._ends_at = now + LAST_SECONDS
                self._stream.shutdown(socket.SHUT_WR)
            elif self._ends_at is not None and now >= self._ends_at:
                self._stream.shutdown(socket.SHUT_RDWR)


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
    def watch(self, stream: socket.socket, ending: Callable[[], bool]) -> Iterator[Watched]:
        """Look after a stream meanwhile."""
        watched = Watched(stream, ending)
        with self._lock:
            self._watched.add(watched)
            runs, self._runs = self._runs, True
        if not runs:
            threading.Thread(target=self._run, name="flask-sse-lookout", daemon=True).start()
        try:
            yield watched
        finally:
            with self._lock:
                self._watched.discard(watched)

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
