"""The application's end of Redis: publish, and ask where a channel stands.

The server's channel has the bare name of ours and carries the envelope, which is what Flask-SSE 1.0
does; so old and new processes see each other's events while a deployment is upgraded.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import redis
from redis.exceptions import ReadOnlyError, RedisError
from redis.retry import Retry

from ...errors import BrokerUnavailableError
from ...wire.cursor import Cursor
from ..base import Page, Publication, Receipt
from . import history
from .client import open_by_url

# Together they keep the promise that publish() fails within 2 seconds.
CONNECT_SECONDS = 1.0
COMMAND_SECONDS = 0.9
# Events of one script, which the server runs without doing anything else meanwhile.
BATCH = 100
# Connections that are kept after more were needed at once, and how often the others are looked for: many runs
# at a time must not leave many connections for the life of the process.
MAX_IDLE = 16
TRIM_SECONDS = 10.0


class RedisPublisher:
    """One connection pool a process; redis-py's pool notices a fork and starts anew."""

    def __init__(self, url: str) -> None:
        self._client = open_by_url(
            redis.Redis, url, Retry, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=COMMAND_SECONDS
        )
        self._publish = self._client.register_script(history.script("publish"))
        self._read = self._client.register_script(history.script("read"))
        self._tops = self._client.register_script(history.script("tops"))
        # Which threads wait for the server, and how many did at once. A set, for it needs no lock, which a
        # process that is forked meanwhile would never get.
        self._waiting: set[int] = set()
        self._peak = 0
        self._trimmed_at = time.monotonic()
        # Not the URL, which has the password.
        where = self._client.connection_pool.connection_kwargs
        self._name = where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"

    def publish(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``BrokerPublisher.publish``."""
        receipts: list[Receipt] = []
        for start in range(0, len(publications), BATCH):
            try:
                with self._connection():
                    answers = self._publish_batch(publications[start : start + BATCH])
                # One by one: those before a refused one stay.
                receipts.extend(map(history.receipt, answers))
            except (RedisError, OSError) as error:
                raise self._unavailable(error, receipts) from error
        return receipts

    def _publish_batch(self, publications: Sequence[Publication]) -> list[bytes]:
        if any(each.history.size or each.key is not None for each in publications):
            answers: list[bytes] = self._publish(*history.publish_words(publications))
            return answers
        # Nothing is kept, so a user of the server may be allowed nothing but to publish.
        with self._client.pipeline(transaction=False) as pipeline:
            for each in publications:
                pipeline.publish(each.channel, each.envelope)
            return [b"%d " % receivers for receivers in pipeline.execute()]

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """See ``BrokerPublisher.cursors``."""
        try:
            with self._connection():
                answers = self._tops(*history.tops_words(channels))
            return [history.cursor(answer) for answer in answers]
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    def read(self, channel: str, since: str) -> Page:
        """See ``BrokerPublisher.read``."""
        try:
            with self._connection():
                return history.page(self._read(*history.read_words(channel, since)))
        except (RedisError, OSError) as error:
            raise self._unavailable(error) from error

    @contextlib.contextmanager
    def _connection(self) -> Iterator[None]:
        """Use one more connection of the pool; close idle ones if there are too many."""
        thread = threading.get_ident()
        self._waiting.add(thread)
        self._peak = max(self._peak, len(self._waiting))
        try:
            yield
        finally:
            self._waiting.discard(thread)
            now = time.monotonic()
            is_calm = len(self._waiting) <= MAX_IDLE // 2
            if self._peak > MAX_IDLE and is_calm and now - self._trimmed_at > TRIM_SECONDS:
                self._trimmed_at, self._peak = now, len(self._waiting)
                self._client.connection_pool.disconnect(inuse_connections=False)

    def _unavailable(self, error: Exception, receipts: Sequence[Receipt] = ()) -> BrokerUnavailableError:
        if isinstance(error, ReadOnlyError) or str(error).startswith("READONLY"):
            # The node became a replica; a new connection may find the one in its place.
            self._client.connection_pool.disconnect()
        return BrokerUnavailableError(self._name, error, receipts)

    def close(self) -> None:
        """See ``BrokerPublisher.close``."""
        self._client.close()
