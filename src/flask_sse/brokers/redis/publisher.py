"""The application's end of Redis: submits publications, and reads positions and pages.

The server's channel has the bare name of ours and carries the envelope, which is what Flask-SSE 1.0
does; so old and new processes see each other's events while a deployment is upgraded.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from itertools import repeat

import redis
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError
from redis.retry import Retry

from ...errors import BrokerUnavailableError, SSEError
from ...wire.cursor import Cursor
from ..base import Page, Publication, Receipt
from ..deadline import deadline, seconds_left
from . import history
from .client import open_by_url, redis_py_url
from .connection import connection_class

# Events of one script, which the server runs without doing anything else meanwhile.
BATCH = 100
# Connections that are kept after more were needed at once, and how often the others are looked for: many runs
# at a time must not leave many connections for the life of the process.
MAX_IDLE = 16
TRIM_SECONDS = 10.0


class RedisUnavailableError(BrokerUnavailableError, redis.exceptions.ConnectionError):
    """The same error for applications that catch those of redis-py, as with Flask-SSE 1.0."""

    def __init__(self, broker: str, reason: object, published: Sequence[Receipt] = ()) -> None:
        super().__init__(broker, reason, published)
        # Its own attributes, which the one of ``OSError``, that comes before it, does not set.
        redis.exceptions.ConnectionError.__init__(self, *self.args)

    # redis-py's does not show the text.
    __repr__ = SSEError.__repr__


class RedisPublisher:
    """One connection pool per process; redis-py's pool notices a fork and starts again."""

    def __init__(self, url: str) -> None:
        self._client = open_by_url(
            redis.Redis,
            url,
            Retry,
            connection_class=connection_class(redis_py_url(url)),
            # They end with the deadline of the call.
            socket_connect_timeout=None,
            socket_timeout=None,
        )
        self._forget_users()
        self._trimmed_at = time.monotonic()
        # Not the URL, which has the password.
        where = self._client.connection_pool.connection_kwargs
        self._name = where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"
        _publishers.add(self)

    def _forget_users(self) -> None:
        """Start without threads that use a connection: at first, and in a forked process, which has none."""
        self._free = threading.Semaphore(self._client.connection_pool.max_connections)
        # Which threads wait for the server, and how many did at once.
        self._waiting: set[int] = set()
        self._peak = 0

    def submit(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``BrokerPublisher.submit``."""
        receipts: list[Receipt] = []
        try:
            with deadline():
                for start in range(0, len(publications), BATCH):
                    with self._connection():
                        answers = self._submit_batch(publications[start : start + BATCH])
                    receipts.extend(answers)
        except (RedisError, OSError) as error:
            raise self._unavailable(error, receipts) from error
        return receipts

    def _submit_batch(self, publications: Sequence[Publication]) -> Iterator[Receipt]:
        """Return the receipt of each, one by one: those before a refused one stay valid."""
        if any(each.history.size or each.key is not None for each in publications):
            return map(history.receipt, self._run("append", *history.append_args(publications)))
        # Nothing is kept, so a user of the server may be allowed nothing but to publish.
        with self._client.pipeline(transaction=False) as pipeline:
            for each in publications:
                pipeline.publish(each.channel, each.envelope)
            return map(Receipt, pipeline.execute(), repeat(None), [each.own_id for each in publications])

    def _run(self, name: str, keys: list[str], args: history.Args) -> list[bytes]:
        digest = history.digest(name)
        try:
            answers: list[bytes] = self._client.evalsha(digest, len(keys), *keys, *args)
        except NoScriptError:
            # In one round trip; a Script of redis-py takes two.
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.execute_command("SCRIPT LOAD", history.script(name))
                pipeline.evalsha(digest, len(keys), *keys, *args)
                _, answers = pipeline.execute()
        return answers

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """See ``BrokerPublisher.cursors``."""
        try:
            with deadline(), self._connection():
                answers = self._run("positions", *history.positions_args(channels))
            return [history.cursor(answer) for answer in answers]
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    def read(self, channel: str, since: str) -> Page:
        """See ``BrokerPublisher.read``."""
        try:
            with deadline(), self._connection():
                return history.page(self._run("read", *history.read_args(channel, since)))
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    @contextlib.contextmanager
    def _connection(self) -> Iterator[None]:
        """Use one more connection of the pool, when it has one; close idle ones if there are too many."""
        free = self._free
        if not free.acquire(timeout=seconds_left()):
            most = self._client.connection_pool.max_connections
            raise TimeoutError(f"all {most} connections that max_connections allows are in use")
        thread = threading.get_ident()
        self._waiting.add(thread)
        self._peak = max(self._peak, len(self._waiting))
        try:
            yield
        finally:
            free.release()
            self._waiting.discard(thread)
            now = time.monotonic()
            is_calm = len(self._waiting) <= MAX_IDLE // 2
            if self._peak > MAX_IDLE and is_calm and now - self._trimmed_at > TRIM_SECONDS:
                self._trimmed_at, self._peak = now, len(self._waiting)
                self._client.connection_pool.disconnect(inuse_connections=False)

    def _unavailable(self, error: Exception, receipts: Sequence[Receipt] = ()) -> RedisUnavailableError:
        if isinstance(error, ReadOnlyError) or str(error).startswith("READONLY"):
            # The node became a replica; a new connection may find the one in its place.
            self._client.connection_pool.disconnect()
        return RedisUnavailableError(self._name, error, receipts)

    def close(self) -> None:
        """See ``BrokerPublisher.close``."""
        self._client.close()


_publishers: weakref.WeakSet[RedisPublisher] = weakref.WeakSet()


def _forget_all_users() -> None:
    for publisher in list(_publishers):
        publisher._forget_users()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all_users)
