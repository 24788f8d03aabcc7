"""The hub's end of Redis: one connection, subscribed to all channels that have streams.

It drives a redis-py connection itself instead of a ``PubSub`` object: that one reconnects and subscribes
again in silence, and what was published in between is gone without a trace. Here the sink is notified of
each SUBSCRIBE that the server confirms, and then reads what it has missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from itertools import islice
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.exceptions import RedisError, ResponseError

from ...jitter import backoff_seconds, failures_in_a_row
from ...wire.envelope import split_stamp
from ..base import Sink
from ..tasks import run_together
from .client import open_by_url
from .hiredis_protocol import use_hiredis
from .reader import RedisReader

CONNECT_SECONDS = 4.0
PROBE_SECONDS = 5.0
SOON_SECONDS = 0.001
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 10.0
COMMANDS_AT_ONCE = 500


class RedisFeed:
    """The hub's end of Redis: delivers what is published, and reads what was."""

    def __init__(self, url: str, sink: Sink) -> None:
        self._sink = sink
        self._pool = open_by_url(
            redis.asyncio.ConnectionPool,
            url,
            Retry,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=None,
            # The one of the URL is for publishers.
            max_connections=None,
        )
        # In the order in which they were subscribed: the first one carries revocations.
        self._wanted: dict[str, None] = {}
        # Those of the wanted channels whose history was read.
        self._kept: set[str] = set()
        # While there is a connection.
        self._session: _Session | None = None
        self._reader = RedisReader(url, sink, lambda: list(self._kept))

    def subscribe(self, channel: str) -> None:
        """See ``BrokerFeed.subscribe``."""
        self._wanted[channel] = None
        if self._session is not None:
            self._session.change(channel, is_wanted=True)

    def unsubscribe(self, channel: str) -> None:
        """See ``BrokerFeed.unsubscribe``."""
        self._wanted.pop(channel, None)
        self._kept.discard(channel)
        if self._session is not None:
            self._session.change(channel, is_wanted=False)

    def read(self, number: int, channel: str, since: str) -> None:
        """See ``BrokerFeed.read``."""
        self._kept.add(channel)
        self._reader.read(number, channel, since)

    def cancel(self, number: int) -> None:
        """See ``BrokerFeed.cancel``."""
        self._reader.cancel(number)

    async def run(self) -> None:
        """See ``BrokerFeed.run``."""
        await run_together(self._reader.run(), self._listen())

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            session = self._session = _Session(self._pool.make_connection(), self._sink, self._reader)
            began = loop.time()
            try:
                await session.run(self._wanted)
            except (RedisError, OSError, TimeoutError) as error:
                self._sink.broker_lost(f"{type(error).__name__}: {error}")
                self._reader.reconnect()
            finally:
                # Streams open and close while the server is away: what counts is what is wanted afterwards.
                self._session = None
            failures = failures_in_a_row(failures, loop.time() - began)
            await asyncio.sleep(backoff_seconds(failures, BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS))


class _Session:
    """The life of one connection, from connect to the error that ends it.

    ``_write`` alone sends and ``_read`` alone reads, so SUBSCRIBE and UNSUBSCRIBE of one channel
    never overtake each other.
    """

    def __init__(self, connection: Any, sink: Sink, reader: RedisReader) -> None:
        self._connection = connection
        self._sink = sink
        self._reader = reader
        self._probe_channel = reader.probe_channel.encode()
        self._heard = True
        self._may_probe = True
        self._unanswered: deque[str] = deque()
        # Changes that the server does not know yet: whether each of these channels must be subscribed.
        self._changes: dict[str, bool] = {}
        self._changed = asyncio.Event()

    def change(self, channel: str, *, is_wanted: bool) -> None:
        """Subscribe or unsubscribe a channel soon."""
        self._changes[channel] = is_wanted
        self._changed.set()

    async def run(self, wanted: dict[str, None]) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connection.connect()
            await run_together(self._write(wanted), self._read(), self._probe())
        finally:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self._connection.disconnect()

    async def _write(self, wanted: dict[str, None]) -> None:
        """Keep the server's subscriptions equal to ``wanted``.

        A channel that was unsubscribed and subscribed again in between is sent again: the sink waits for the
        server to confirm it.
        """
        await self._send([("SUBSCRIBE", self._reader.probe_channel)])
        self._changes = dict.fromkeys(wanted, True)
        while True:
            self._changed.clear()
            while self._changes:
                some = list(islice(self._changes.items(), COMMANDS_AT_ONCE))
                for channel, _ in some:
                    del self._changes[channel]
                await self._send([("SUBSCRIBE" if on else "UNSUBSCRIBE", channel) for channel, on in some])
                await asyncio.sleep(0)
            await self._changed.wait()

    async def _send(self, commands: list[tuple[str, str]]) -> None:
        self._unanswered.extend(channel for _, channel in commands)
        # One command per channel, so that a refusal concerns that channel alone.
        packed = self._connection.pack_commands(commands)
        await self._connection.send_packed_command(packed, check_health=False)

    async def _read(self) -> None:
        protocol = use_hiredis(self._connection, self._take, self._sink)
        try:
            while True:
                # With hiredis only the end of the connection comes here.
                try:
                    response = await self._connection.read_response(disable_decoding=True)
                except ResponseError as error:
                    response = error
                self._take(response)
                self._sink.flush_soon()
                if not self._sink.has_time:
                    await asyncio.sleep(0)
        except (RedisError, OSError) as error:
            raise (protocol and protocol.error) or error from None

    def _take(self, response: Any) -> None:
        if isinstance(response, ResponseError):
            self._refused(self._answered(), str(response))
            return
        self._heard = True
        kind, name = response[:2]
        if kind == b"message":
            if name != self._probe_channel:
                self._sink.deliver(name.decode(), *split_stamp(response[2]))
            return
        confirmed = self._answered()
        if kind == b"subscribe" and confirmed != self._reader.probe_channel:
            self._sink.subscribed(confirmed)

    def _refused(self, channel: str, reason: str) -> None:
        if channel == self._reader.probe_channel:
            self._may_probe = False
        else:
            self._sink.refused(channel, reason)

    def _answered(self) -> str:
        """Return the channel that an answer is about; empty for a PING."""
        if not self._unanswered:
            raise ConnectionError("an answer to nothing that was asked")
        return self._unanswered.popleft()

    async def _probe(self) -> None:
        """End a connection that receives nothing, not even what the hub publishes itself."""
        while True:
            self._heard = False
            await asyncio.sleep(PROBE_SECONDS)
            if self._heard:
                continue
            answered_by = asyncio.get_running_loop().time() + PROBE_SECONDS
            if self._may_probe:
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    async with asyncio.timeout(PROBE_SECONDS):
                        await self._reader.probe()
            else:
                # Not as good: a node that was demoted to a replica answers this as well.
                await self._send([("PING", "")])
            # By a timer even where the time is over: timers run after everything that was received is read.
            await asyncio.sleep(max(answered_by - asyncio.get_running_loop().time(), SOON_SECONDS))
            if not self._heard:
                raise TimeoutError(f"silent for {PROBE_SECONDS} s after a health probe was published")
