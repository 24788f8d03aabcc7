"""An asyncio protocol in front of that of redis-py, which parses with hiredis what the server sends.

redis-py reads answers in coroutines that wait on a stream: for a message that comes alone, the loop turns
three times until it is delivered. Where hiredis is installed, it parses the bytes in the callback in which
asyncio has read them; redis-py still does all the rest, the end of the connection included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from redis.exceptions import InvalidResponse, RedisError, ResponseError

from ..base import Sink

try:
    from hiredis import Reader
except ImportError:
    Reader = None  # type: ignore[assignment,misc] # an optional dependency


class HiredisProtocol(asyncio.Protocol):
    """Receives the bytes of a connection of redis-py in its place.

    Args:
        transport: Where bytes come from.
        take: Called with each answer; one that is an error is an instance of ``ResponseError``.
        sink: Flushed when no more answers are there for now; it says how much a turn of the loop may take.

    Attributes:
        error: What ended the connection, if it was found here.
    """

    def __init__(self, transport: asyncio.Transport, take: Callable[[Any], None], sink: Sink) -> None:
        self.error: Exception | None = None
        self._transport = transport
        self._behind: Any = transport.get_protocol()
        self._take = take
        self._sink = sink
        self._is_paused = False
        self._parser = Reader(protocolError=InvalidResponse, replyError=ResponseError)
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        try:
            self._parser.feed(data)
        except RedisError as error:
            self._fail(error)
            return
        if not self._is_paused:
            self._take_some()

    def _take_some(self) -> None:
        """Take what was received, as far as this turn of the loop has time for it."""
        try:
            # False means that more bytes are needed: no answer here is a boolean (RESP2).
            while (response := self._parser.gets()) is not False:
                self._take(response)
                if not self._sink.has_time:
                    self._pause()
                    break
        except (RedisError, OSError) as error:
            self._fail(error)
        finally:
            self._sink.flush()

    def _fail(self, error: Exception) -> None:
        self.error = error
        self._transport.abort()

    def _pause(self) -> None:
        self._is_paused = True
        self._transport.pause_reading()
        asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()
            self._take_some()

    def eof_received(self) -> bool | None:
        """See ``asyncio.Protocol``."""
        ended: bool | None = self._behind.eof_received()
        return ended

    def connection_lost(self, error: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        while self._is_paused:
            self._resume()
        self._behind.connection_lost(error)

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._behind.resume_writing()


def use_hiredis(connection: Any, take: Callable[[Any], None], sink: Sink) -> HiredisProtocol | None:
    """Parse what a connection of redis-py receives with hiredis; ``None`` if that cannot be done."""
    transport = getattr(getattr(connection, "_writer", None), "transport", None)
    if Reader is None or transport is None:
        return None
    return HiredisProtocol(transport, take, sink)
