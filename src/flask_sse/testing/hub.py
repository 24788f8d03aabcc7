"""A hub for tests: the real one in a thread, with a memory of its own and a clock that can be set forward."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ..brokers.base import Publication, Receipt
from ..hub.agenda import TICK_SECONDS
from ..hub.control import FRAMES
from ..hub.loop import HubLoop
from ..hub.server import HubServer
from ..hub.thread import ThreadLink
from ..settings import Settings
from ..wire.encode import encode_comment

MAX_EVENT_BYTES = 64 * 1024 * 1024
# How often the loop must turn until all that was begun has been done: read, delivered, flushed.
_TURNS = 5


class HubForTests(ThreadLink):
    """A ``Link`` to it, for all applications and publishers of a test.

    Args:
        published: Is called with what was published, once for each key.
    """

    def __init__(self, published: Callable[[Publication], None]) -> None:
        super().__init__(Settings("memory://tests", max_event_bytes=MAX_EVENT_BYTES), _ShiftedLoop)
        self._published = published
        self._keys: set[tuple[str, str]] = set()
        self._marks = itertools.count(1)

    def publish(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``Link.publish``."""
        # First, so that who sees an event in a stream finds it among those that were published.
        for publication in publications:
            if (publication.channel, publication.key) not in self._keys:
                self._published(publication)
            if publication.key is not None:
                self._keys.add((publication.channel, publication.key))
        return super().publish(publications)

    def close(self) -> None:
        """Do nothing: one publisher is closed, and others go on."""

    def end(self) -> None:
        """End all streams and the thread."""
        super().close()

    def advance(self, seconds: float) -> None:
        """Set the clock forward, and return when all that became due has been done."""
        self._do(_advance(seconds))

    def mark(self) -> str:
        """Write a comment to every open stream, behind all that was published so far; return it."""
        text = f"mark {next(self._marks)}"
        self._do(_settle())
        self._call(lambda server: _write_to_all(server, encode_comment(text)))
        return text

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        loop = self._call(lambda _: asyncio.get_running_loop())
        asyncio.run_coroutine_threadsafe(work, loop).result()


class _ShiftedLoop(HubLoop):
    ahead_seconds = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_seconds


async def _settle() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def _advance(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, _ShiftedLoop):
        raise TypeError(loop)
    left = seconds
    while left > 0:
        # Step by step, for the hub looks at its clock no more often.
        loop.ahead_seconds += min(left, TICK_SECONDS)
        left -= TICK_SECONDS
        await _settle()


def _write_to_all(server: HubServer, data: bytes) -> None:
    for stream in server.streams:
        if stream.has_begun and stream.form == FRAMES:
            stream.send(data)
