"""Redis and Valkey, by redis-py: one pub/sub channel of the server for each channel.

The server's channel has the bare name of ours and carries the envelope, which is what Flask-SSE 1.0
does; so old and new processes see each other's events while a deployment is upgraded.

The feed drives a redis-py connection itself instead of a ``PubSub`` object: that one reconnects and
subscribes again in silence, and what was published in between is gone without a trace.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from typing import Any
from urllib.parse import parse_qsl, urlencode

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from ..errors import BrokerUnavailableError, InvalidSettingError
from .base import Sink

# Together they keep the promise that publish() fails within 2 seconds.
CONNECT_SECONDS = 1.0
COMMAND_SECONDS = 0.9

FEED_CONNECT_SECONDS = 4.0
PING_SECONDS = 5.0
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_FACTOR = 1.5
BACKOFF_MAX_SECONDS = 10.0

_dice = random.Random()  # noqa: S311 - spreads load

_ALIASES = {"valkey": "redis", "valkeys": "rediss"}


def redis_py_url(url: str) -> str:
    """Return ``url`` with a scheme that redis-py knows; Valkey speaks the same protocol."""
    scheme, separator, rest = url.partition("://")
    return f"{_ALIASES.get(scheme, scheme)}{separator}{rest}"


class RedisPublisher:
    """One connection pool a process; redis-py's pool notices a fork and starts anew."""

    def __init__(self, url: str) -> None:
        self._client = _open(
            redis.Redis,
            url,
            protocol=2,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=COMMAND_SECONDS,
            retry=_never(Retry),
        )
        # Not the URL, which has the password.
        where = self._client.connection_pool.connection_kwargs
        self._name = where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"

    def publish(self, channel: str, envelope: bytes) -> int:
        """See ``BrokerPublisher.publish``."""
        try:
            return int(self._client.publish(channel, envelope))
        except (RedisError, OSError) as error:
            raise BrokerUnavailableError(self._name, error) from error

    def close(self) -> None:
        """See ``BrokerPublisher.close``."""
        self._client.close()


class RedisFeed:
    """One connection, subscribed to all channels that have streams."""

    def __init__(self, url: str, sink: Sink) -> None:
        self._sink = sink
        self._pool = _open(
            redis.asyncio.ConnectionPool,
            url,
            protocol=2,
            decode_responses=False,
            socket_connect_timeout=FEED_CONNECT_SECONDS,
            socket_timeout=None,
            retry=_never(redis.asyncio.retry.Retry),
        )
        self._wanted: set[str] = set()
        self._asked: set[str] = set()
        self._changed = asyncio.Event()

    def subscribe(self, channel: str) -> None:
        """See ``BrokerFeed.subscribe``."""
        self._wanted.add(channel)
        self._asked.add(channel)
        self._changed.set()

    def unsubscribe(self, channel: str) -> None:
        """See ``BrokerFeed.unsubscribe``."""
        self._wanted.discard(channel)
        self._changed.set()

    async def run(self) -> None:
        """See ``BrokerFeed.run``."""
        failures = 0
        while True:
            session = _Session(self._pool.make_connection(), self._sink)
            try:
                await session.run(self._wanted, self._asked, self._changed)
            except (RedisError, OSError, TimeoutError) as error:
                self._sink.broker_lost(f"{type(error).__name__}: {error}")
            failures = 1 if session.was_healthy else failures + 1
            pause = BACKOFF_FIRST_SECONDS * BACKOFF_FACTOR ** min(failures - 1, 20)
            await asyncio.sleep(min(BACKOFF_MAX_SECONDS, pause) * _dice.uniform(0.5, 1.5))


class _Session:
    """The life of one connection, from connect to the error that ends it.

    ``_write`` alone sends and ``_read`` alone reads, so SUBSCRIBE and UNSUBSCRIBE of one channel
    never overtake each other.
    """

    def __init__(self, connection: Any, sink: Sink) -> None:
        self._connection = connection
        self._sink = sink
        self._heard = True
        self._unanswered: deque[str | None] = deque()
        self.was_healthy = False

    async def run(self, wanted: set[str], asked: set[str], changed: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(FEED_CONNECT_SECONDS):
                await self._connection.connect()
            self.was_healthy = True
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(wanted, asked, changed))
                tasks.create_task(self._read())
        except* (RedisError, OSError, TimeoutError) as errors:
            raise errors.exceptions[0] from None
        finally:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self._connection.disconnect()

    async def _write(self, wanted: set[str], asked: set[str], changed: asyncio.Event) -> None:
        """Keep the server's subscriptions equal to ``wanted`` and ask for a sign of life.

        A channel that was given up and ``asked`` for again in between is subscribed again, because
        somebody waits for the server to confirm it.
        """
        current: set[str] = set()
        self._heard = True
        while True:
            changed.clear()
            new = (wanted - current) | (wanted & asked)
            asked.clear()
            commands = [("SUBSCRIBE", channel) for channel in sorted(new)]
            commands += [("UNSUBSCRIBE", channel) for channel in sorted(current - wanted)]
            current = set(wanted)
            self._unanswered.extend(channel for _, channel in commands)
            # A command for each channel, so that one that is refused takes no other with it.
            await self._connection.send_packed_command(
                self._connection.pack_commands(commands), check_health=False
            )
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await changed.wait()
            except TimeoutError:
                if not self._heard:
                    raise TimeoutError(f"silent for {PING_SECONDS} s after a PING") from None
                self._heard = False
                self._unanswered.append(None)
                await self._connection.send_command("PING", check_health=False)

    async def _read(self) -> None:
        while True:
            try:
                response = await self._connection.read_response(disable_decoding=True)
            except ResponseError as error:
                refused = self._answered()
                if refused is not None:
                    self._sink.refused(refused, str(error))
                continue
            self._heard = True
            if response[0] == b"message":
                _, channel, envelope = response
                self._sink.deliver(channel.decode(), envelope)
                continue
            confirmed = self._answered()
            if response[0] == b"subscribe" and confirmed is not None:
                self._sink.subscribed(confirmed)

    def _answered(self) -> str | None:
        """Return the channel that an answer is about; ``None`` for a PING."""
        if not self._unanswered:
            raise ConnectionError("an answer to nothing that was asked")
        return self._unanswered.popleft()


def _never(retry: Any) -> Any:
    """Build redis-py's policy of no hidden retries: a second PUBLISH could double the event."""
    return retry(NoBackoff(), 0)


def _open(kind: Any, url: str, **options: Any) -> Any:
    """Open a client or a pool; what we set, an option of the URL does not change."""
    address, _, query = redis_py_url(url).partition("?")
    kept = urlencode([pair for pair in parse_qsl(query) if pair[0] not in options])
    try:
        return kind.from_url(f"{address}?{kept}" if kept else address, **options)
    except ValueError:
        # Not the error's own text nor the URL: both may have the password.
        mend = "a / ? # @ : or % in user or password must be percent-encoded"
        raise InvalidSettingError("broker URL", f"{url.partition('://')[0]}://...", mend) from None
