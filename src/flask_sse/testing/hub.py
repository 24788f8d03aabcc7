"""A hub for tests: the real one in a thread, with a memory of its own and a clock that can be set forward.

It stands in for every hub of the process. Each application has a client of its own, with its own limits.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ..brokers.base import Page, Publication, Receipt
from ..errors import HubUnavailableError, UsageError
from ..hub.client.hub_thread import HubThread
from ..hub.client.override import MEMORY_URL
from ..hub.client.thread_hub_client import ThreadHubClient
from ..hub.core.timer_wheel import TICK_SECONDS
from ..hub.protocol.stream_request import StreamRequest
from ..hub.server.hub_loop import HubLoop
from ..hub.server.hub_server import HubServer
from ..hub.server.stream import Stream
from ..settings import Settings
from ..wire.cursor import Cursor
from ..wire.encode import encode_comment

# Publishers have looked at the size, each at its own limit.
MAX_EVENT_BYTES = 64 * 1024 * 1024
# A year; each heartbeat of the time is sent, so a test would take minutes.
MAX_ADVANCE_SECONDS = 366 * 24 * 3600
# How often the loop must turn until all that was begun has been done: read, delivered, flushed.
_TURNS = 5
# What a comment begins with that shows a reader how far it has read.
MARK = b":flask-sse mark "


class HubForTests(ThreadHubClient):
    """The hub; it starts when it is used.

    Args:
        published: Is called with what is published, once for each key, before any stream gets it. On the
            loop of the hub.
    """

    def __init__(self, published: Callable[[Publication], None]) -> None:
        super().__init__(Settings(MEMORY_URL, max_event_bytes=MAX_EVENT_BYTES), _ShiftedLoop)
        self._published = published
        self._keys: set[tuple[str, str]] = set()
        self._opened: list[tuple[StreamRequest, Stream]] = []
        self._marks = itertools.count(1)
        self._has_ended = False

    def forget(self) -> None:
        """See ``ThreadHubClient.forget``."""
        super().forget()
        self._attaching = threading.Lock()

    def _start(self) -> HubThread:
        if self._has_ended:
            raise HubUnavailableError("capture()", "its block is over")
        return super()._start()

    def _submit(self, server: HubServer, publication: Publication) -> Receipt | None:
        channel, key = publication.channel, publication.key
        # First, so that who sees an event in a stream finds it among those that were published.
        if key is None or (channel, key) not in self._keys:
            self._published(publication)
        if key is not None:
            self._keys.add((channel, key))
        return super()._submit(server, publication)

    def attach_within(self, settings: Settings, descriptor: int, request: StreamRequest) -> None:
        """Take a stream over, if an application with these settings lets it in."""
        with self._attaching:
            self._call(lambda server: server.limit(settings.max_streams, settings.max_channels))
            self.attach(descriptor, request)

    def _attach(self, server: HubServer, sock: socket.socket, request: StreamRequest) -> None:
        super()._attach(server, sock, request)
        opened = [(request, stream) for stream in server.streams if stream.sock is sock]
        self._opened = [each for each in (*self._opened, *opened) if _is_open(each[1]) or _was_slow(each[1])]

    def end(self) -> None:
        """End all streams and the thread, and start none any more."""
        self._has_ended = True
        self.close()

    def advance(self, seconds: float) -> None:
        """Set the clock forward, and return when all that became due has been done.

        Raises:
            UsageError: If this is no time from 0 to ``MAX_ADVANCE_SECONDS``.
        """
        if not 0 <= seconds <= MAX_ADVANCE_SECONDS:  # NaN is in no range
            raise UsageError(
                f"advance({seconds!r}) cannot be done: give seconds from 0 to {MAX_ADVANCE_SECONDS}, as the "
                "clock is only set forward"
            )
        loop, server = self._call(lambda server: (asyncio.get_running_loop(), server))
        asyncio.run_coroutine_threadsafe(_advance(server, seconds), loop).result()

    def mark(self, request: StreamRequest) -> bytes | None:
        """Write a comment to one stream, behind all that was published so far.

        Args:
            request: With what it was opened, the very object.

        Returns:
            The comment; ``None`` if the stream is over.
        """
        if self._has_ended:
            return None
        comment = encode_comment(f"{MARK[1:].decode()}{next(self._marks)}")
        self._call(_end_what_is_over)
        asyncio.run_coroutine_threadsafe(_settle(), self._call(_loop_of)).result()
        return comment if self._call(lambda server: self._write_behind(server, request, comment)) else None

    def limit_passed(self, request: StreamRequest) -> int | None:
        """Return the limit that a stream was ended for, in bytes that waited for its reader.

        Args:
            request: With what it was opened, the very object.
        """
        stream = self._stream_of(request)
        return stream.rules.max_backlog_bytes if stream is not None and _was_slow(stream) else None

    def _write_behind(self, server: HubServer, request: StreamRequest, data: bytes) -> bool:
        stream = self._stream_of(request)
        if stream is None or not _is_open(stream) or not stream.has_begun:
            return False
        server.write_behind(stream, data)
        return True

    def _stream_of(self, request: StreamRequest) -> Stream | None:
        return next((stream for each, stream in self._opened if each is request), None)


class HubClientForTests:
    """A ``HubClient`` to it, of one application or one publisher.

    Attributes:
        hub: Where it leads.
    """

    def __init__(self, hub: HubForTests, settings: Settings) -> None:
        self.hub = hub
        self._settings = settings

    def attach(self, descriptor: int, request: StreamRequest) -> None:
        """See ``HubClient.attach``."""
        self.hub.attach_within(self._settings, descriptor, request)

    def submit(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``HubClient.submit``."""
        return self.hub.submit(publications)

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """See ``HubClient.cursors``."""
        return self.hub.cursors(channels)

    def read(self, channel: str, since: str) -> Page:
        """See ``HubClient.read``."""
        return self.hub.read(channel, since)

    def count_rejected(self, limit: str) -> None:
        """See ``HubClient.count_rejected``."""
        self.hub.count_rejected(limit)

    def status(self) -> dict[str, object]:
        """See ``HubClient.status``."""
        return self.hub.status()

    def details(self) -> dict[str, Any]:
        """See ``HubClient.details``."""
        return self.hub.details()

    def close(self) -> None:
        """Do nothing: one publisher is closed, and others stay open."""


class _ShiftedLoop(HubLoop):
    ahead_seconds = 0.0

    def __init__(self) -> None:
        # How long things take is what the test says, also on a machine that is slow.
        super().__init__(stall_seconds=math.inf)

    def time(self) -> float:
        return super().time() + self.ahead_seconds


def _is_open(stream: Stream) -> bool:
    return stream.sock.fileno() >= 0


def _was_slow(stream: Stream) -> bool:
    return not _is_open(stream) and stream.backlog_bytes > stream.rules.max_backlog_bytes


def _end_what_is_over(server: HubServer) -> None:
    # A stream of a run that is over ends at the second look.
    for _ in range(2):
        server.tick()


def _loop_of(_: HubServer) -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def _advance(server: HubServer, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, _ShiftedLoop):
        raise TypeError(loop)
    end = loop.ahead_seconds + seconds
    while loop.ahead_seconds < end:
        due = server.next_due()
        # The hub looks at its clock no more often.
        step = max(TICK_SECONDS, math.inf if due is None else due - loop.time())
        loop.ahead_seconds = min(end, loop.ahead_seconds + step)
        server.tick()
        server.flush()
        # What waits for slow readers is written, and what the tick left for later is done.
        await asyncio.sleep(0)
    await _settle()


async def _settle() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
