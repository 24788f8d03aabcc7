"""The reader of histories in Redis, on a connection of its own that goes where publishers go.

Rules of this file: the connection on which the hub listens cannot check itself, because a node that was
demoted would still answer it. So pages, positions and the health probe (a PUBLISH to a channel of our own) go
through here.

Requests wait while the server is away. Many are answered in one round trip. One that the server refuses is
asked again, later each time, until it is answered or cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.exceptions import NoPermissionError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from ...jitter import backoff_seconds, draw_between
from ..base import Sink
from ..tasks import run_together
from . import history
from .client import open_by_url

CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 4.0
BATCH = 32
CHECK_BATCH = 200
RETRY_SECONDS = 1.0
# How long after a refusal a page is asked for again, and how long at most.
REFUSED_FIRST_SECONDS = 2.0
REFUSED_MAX_SECONDS = 30.0
CHECK_SECONDS = 40.0


class _Request(NamedTuple):
    number: int
    channel: str
    since: str
    refusals: int = 0


class RedisReader:
    """Reads pages and positions for the feed.

    Args:
        url: Where the server is.
        sink: Gets the answers.
        listened: Returns the channels whose position is to be checked from time to time.
    """

    def __init__(self, url: str, sink: Sink, listened: Callable[[], list[str]]) -> None:
        self._client: redis.asyncio.Redis = open_by_url(
            redis.asyncio.Redis,
            url,
            Retry,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            # The one of the URL is for publishers.
            max_connections=None,
        )
        self._sink = sink
        self._listened = listened
        # By their numbers; those that wait to be asked again are not among the next.
        self._requests: dict[int, _Request] = {}
        self._next: dict[int, None] = {}
        self._again: dict[int, asyncio.TimerHandle] = {}
        self._has_next = asyncio.Event()
        self._must_reconnect = False
        # What the script "read" is called once the server has it.
        self._sha = ""
        self.probe_channel = f"{history.PREFIX}:probe:{secrets.token_hex(8)}"

    def read(self, number: int, channel: str, since: str) -> None:
        """Ask for a page; see ``BrokerFeed.read``."""
        self._requests[number] = _Request(number, channel, since)
        self._ask(number)

    def cancel(self, number: int) -> None:
        """Ask for a page no longer; see ``BrokerFeed.cancel``."""
        self._requests.pop(number, None)
        self._next.pop(number, None)
        again = self._again.pop(number, None)
        if again is not None:
            again.cancel()

    def _ask(self, number: int) -> None:
        self._again.pop(number, None)
        if number in self._requests:
            self._next[number] = None
            self._has_next.set()

    def _ask_again(self, request: _Request) -> None:
        """Ask again for a page that the server refused, unless it is cancelled."""
        if request.number not in self._requests:
            return
        self._requests[request.number] = request._replace(refusals=request.refusals + 1)
        seconds = backoff_seconds(request.refusals + 1, REFUSED_FIRST_SECONDS, REFUSED_MAX_SECONDS)
        loop = asyncio.get_running_loop()
        self._again[request.number] = loop.call_later(seconds, self._ask, request.number)

    async def probe(self) -> None:
        """Publish a health probe to ``probe_channel``, on a new connection: it goes where publishers go now.

        Raises:
            RedisError: If that cannot be done.
        """
        pool: Any = self._client.connection_pool
        connection = pool.make_connection()
        try:
            await connection.connect()
            await connection.send_command("PUBLISH", self.probe_channel, b"")
            await connection.read_response()
        finally:
            await connection.disconnect()

    def reconnect(self) -> None:
        """Read on new connections, because the open ones may lead to a node that was demoted."""
        self._must_reconnect = True

    async def run(self) -> None:
        """Answer requests and check positions until cancelled."""
        try:
            await run_together(self._answer(), self._check())
        finally:
            await self._client.aclose()

    async def _answer(self) -> None:
        while True:
            await self._has_next.wait()
            numbers = list(islice(self._next, BATCH))
            if not numbers:
                self._has_next.clear()
                continue
            batch = [self._requests[number] for number in numbers]
            try:
                if self._must_reconnect:
                    self._must_reconnect = False
                    await self._client.connection_pool.disconnect(inuse_connections=False)
                answers = await self._read(batch)
            except (RedisError, OSError, TimeoutError):
                # An answer that is still on its way must not be taken for the next one.
                self.reconnect()
                self._put_last(numbers)
                await asyncio.sleep(RETRY_SECONDS * draw_between(0.5, 1.5))
                continue
            for request, answer in zip(batch, answers, strict=True):
                await self._take(request, answer)

    def _put_last(self, numbers: list[int]) -> None:
        """Let others go first: one of these may be the cause of the failure."""
        for number in numbers:
            if number in self._next:
                del self._next[number]
                self._next[number] = None

    async def _take(self, request: _Request, answer: list[bytes] | Exception) -> None:
        self._next.pop(request.number, None)
        if isinstance(answer, Exception):
            self._sink.refused(request.channel, str(answer))
            self._ask_again(request)
            return
        self._requests.pop(request.number, None)
        self._sink.page(request.number, history.page(answer))
        if not self._sink.has_time:
            await asyncio.sleep(0)

    async def _read(self, batch: list[_Request]) -> list[list[bytes] | Exception]:
        while True:
            async with self._client.pipeline(transaction=False) as pipeline:
                for request in batch:
                    keys, args = history.read_args(request.channel, request.since)
                    pipeline.evalsha(self._sha or "0" * 40, len(keys), *keys, *args)
                answers = await pipeline.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, ReadOnlyError):
                    # The node became a replica; a new connection may find the one in its place.
                    raise answer
            if not any(isinstance(answer, NoScriptError) for answer in answers):
                return list(answers)
            # Nothing was changed by those that ran, so all may run again.
            try:
                self._sha = await self._client.script_load(history.script("read"))
            except NoPermissionError as error:
                return [error] * len(batch)

    async def _check(self) -> None:
        """Look for last events that were lost on their way: no later event shows such a gap."""
        positions = self._client.register_script(history.script("positions"))
        while True:
            await asyncio.sleep(CHECK_SECONDS * draw_between(0.8, 1.2))
            channels = self._listened()
            for start in range(0, len(channels), CHECK_BATCH):
                # Those without streams are only kept for streams that may come.
                some = list(filter(self._sink.has_streams, channels[start : start + CHECK_BATCH]))
                if not some:
                    await asyncio.sleep(0)
                    continue
                try:
                    answers = await positions(*history.positions_args(some))
                except (RedisError, OSError, TimeoutError):
                    break
                for channel, answer in zip(some, answers, strict=True):
                    with contextlib.suppress(ResponseError):
                        self._sink.top(channel, history.cursor(answer))
