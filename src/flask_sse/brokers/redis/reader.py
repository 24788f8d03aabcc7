"""The hub reads what is kept, on a connection of its own that goes where publishers go.

Rules of this file: the connection on which the hub listens is never asked whether it is right, for one
that hangs on a node which is out of office would agree with itself. So pages, positions and the sign of
life (a PUBLISH to a channel of our own) go through here.

Requests wait in a queue while the server is away. Many are answered in one round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.exceptions import NoPermissionError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from ..base import Sink
from ..tasks import run_together
from . import history
from .client import open_by_url

CONNECT_SECONDS = 4.0
ANSWER_SECONDS = 4.0
BATCH = 32
CHECK_BATCH = 200
RETRY_SECONDS = 1.0
CHECK_SECONDS = 40.0

_dice = random.Random()  # noqa: S311 - spreads load


class _Request(NamedTuple):
    number: int
    channel: str
    since: str


class RedisReader:
    """Asks what the feed cannot know.

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
        )
        self._sink = sink
        self._listened = listened
        self._requests: asyncio.Queue[_Request] = asyncio.Queue()
        self._must_reconnect = False
        # What the script "read" is called once the server has it.
        self._sha = ""
        self.probe_channel = f"{history.PREFIX}:probe:{secrets.token_hex(8)}"

    def read(self, number: int, channel: str, since: str) -> None:
        """Ask for a page; see ``BrokerFeed.read``."""
        self._requests.put_nowait(_Request(number, channel, since))

    async def probe(self) -> None:
        """Publish a sign of life to ``probe_channel``, on a new connection: it goes where publishers go now.

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
        """Read on new connections, because those of before may lead to a node that is out of office."""
        self._must_reconnect = True

    async def run(self) -> None:
        """Answer requests and check positions until cancelled."""
        try:
            await run_together(self._answer(), self._check())
        finally:
            await self._client.aclose()

    async def _answer(self) -> None:
        while True:
            batch = [await self._requests.get()]
            while len(batch) < BATCH and not self._requests.empty():
                batch.append(self._requests.get_nowait())
            try:
                if self._must_reconnect:
                    self._must_reconnect = False
                    await self._client.connection_pool.disconnect(inuse_connections=False)
                answers = await self._read(batch)
            except (RedisError, OSError, TimeoutError):
                # What is still on its way must not be taken for the next answer.
                self.reconnect()
                for request in batch:
                    self._requests.put_nowait(request)
                await asyncio.sleep(RETRY_SECONDS * _dice.uniform(0.5, 1.5))
                continue
            for request, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Exception):
                    self._sink.refused(request.channel, str(answer))
                    asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._requests.put_nowait, request)
                else:
                    self._sink.page(request.number, history.page(answer))

    async def _read(self, batch: list[_Request]) -> list[list[bytes] | Exception]:
        while True:
            async with self._client.pipeline(transaction=False) as pipeline:
                for request in batch:
                    keys, words = history.read_words(request.channel, request.since)
                    pipeline.evalsha(self._sha or "0" * 40, len(keys), *keys, *words)
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
        """Look for last events that were lost on their way, which nothing else would ever tell."""
        tops = self._client.register_script(history.script("tops"))
        while True:
            await asyncio.sleep(CHECK_SECONDS * _dice.uniform(0.8, 1.2))
            channels = self._listened()
            for start in range(0, len(channels), CHECK_BATCH):
                some = channels[start : start + CHECK_BATCH]
                try:
                    answers = await tops(*history.tops_words(some))
                except (RedisError, OSError, TimeoutError):
                    break
                for channel, answer in zip(some, answers, strict=True):
                    with contextlib.suppress(ResponseError):
                        self._sink.top(channel, history.cursor(answer))
