"""Somebody who publishes beside what a test does."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from flask_sse import Publisher


class Numbers:
    """Publishes numbers without a web server, until the end of its ``with`` block, which raises what failed.

    Args:
        url: Of the broker.
        channel: Where to.
        per_second: How many.
        first: The first one.

    Attributes:
        sent: What was acknowledged so far.
    """

    def __init__(self, url: str, channel: str, per_second: float, *, first: int = 0) -> None:
        self.sent: list[str] = []
        self._url, self._channel, self._first = url, channel, first
        self._pause = 1 / per_second
        self._enough = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._done = self._pool.submit(self._run)
        return self

    def __exit__(self, *error: object) -> None:
        self._enough.set()
        self._pool.shutdown()
        self._done.result()

    @property
    def count(self) -> int:
        """How many were acknowledged so far."""
        return len(self.sent)

    def _run(self) -> None:
        with contextlib.closing(Publisher(self._url)) as publisher:
            while not self._enough.wait(self._pause):
                number = str(self._first + self.count)
                publisher.publish(number, channel=self._channel)
                self.sent.append(number)
