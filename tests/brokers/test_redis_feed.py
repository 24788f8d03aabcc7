"""What the feed of Redis promises beside what every broker does."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
from tests.support.brokers import Broker
from tests.support.processes import free_port, wait_until

from flask_sse.brokers.base import UNUSED_SECONDS, Page
from flask_sse.brokers.redis import hiredis_protocol, history, reader
from flask_sse.brokers.redis.feed import RedisFeed
from flask_sse.wire.cursor import Cursor, Stamp

SECONDS = 10


@pytest.fixture(params=["hiredis", "redis-py alone"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra and without."""
    if request.param != "hiredis":
        monkeypatch.setattr(hiredis_protocol, "Reader", None)


class Listener:
    """A sink that remembers, and wakes whoever waits for something."""

    def __init__(self) -> None:
        self.delivered: list[tuple[str, Stamp | None, bytes]] = []
        self.pages: dict[int, Page] = {}
        self.confirmed: list[str] = []
        self.refusals: list[str] = []
        self.tops: list[Cursor] = []
        self.checked: list[str] = []
        self.idle: set[str] = set()
        self._changed = asyncio.Event()

    def deliver(self, channel: str, stamp: Stamp | None, envelope: bytes) -> int:
        self.delivered.append((channel, stamp, envelope))
        self._changed.set()
        return 1

    has_time = True

    def has_streams(self, channel: str) -> bool:
        return channel not in self.idle

    def flush(self) -> None:
        """It waits for nothing here."""

    flush_soon = flush

    def subscribed(self, channel: str) -> None:
        self.confirmed.append(channel)
        self._changed.set()

    def page(self, number: int, page: Page) -> None:
        self.pages[number] = page
        self._changed.set()

    def top(self, channel: str, cursor: Cursor) -> None:
        self.tops.append(cursor)
        self.checked.append(channel)
        self._changed.set()

    def refused(self, channel: str, reason: str) -> None:
        self.refusals.append(channel)
        self._changed.set()

    def broker_lost(self, reason: str) -> None:
        raise AssertionError(reason)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def listening(broker_url: str, story: Callable[[RedisFeed, Listener], Awaitable[None]]) -> None:
    listener = Listener()
    feed = RedisFeed(broker_url, listener)
    running = asyncio.create_task(feed.run())
    try:
        await story(feed, listener)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_a_channel_given_up_and_asked_for_at_once_is_confirmed_again(valkey: Broker, channel: str) -> None:
    async def story(feed: RedisFeed, listener: Listener) -> None:
        feed.subscribe(channel)
        await listener.until(lambda: listener.confirmed == [channel])
        feed.unsubscribe(channel)
        feed.subscribe(channel)
        await listener.until(lambda: listener.confirmed == [channel, channel])
        redis.Redis.from_url(valkey.url).publish(channel, "still heard")
        await listener.until(lambda: listener.delivered == [(channel, None, b"still heard")])

    asyncio.run(listening(valkey.url, story))


def test_a_channel_that_the_server_forbids_takes_no_other_with_it(valkey: Broker, channel: str) -> None:
    admin: Any = redis.Redis.from_url(valkey.url)
    admin.execute_command(
        "ACL", "SETUSER", "narrow", "on", ">narrow", "resetchannels", f"&{channel}*", "+@all"
    )

    async def story(feed: RedisFeed, listener: Listener) -> None:
        for name in (f"{channel}-1", "forbidden", f"{channel}-2"):
            feed.subscribe(name)
        await listener.until(lambda: len(listener.confirmed) == 2 and bool(listener.refusals))
        assert listener.refusals == ["forbidden"]
        admin.publish(f"{channel}-2", "heard")
        await listener.until(lambda: listener.delivered == [(f"{channel}-2", None, b"heard")])

    try:
        asyncio.run(listening(valkey.url.replace("://", "://narrow:narrow@"), story))
    finally:
        admin.execute_command("ACL", "DELUSER", "narrow")


def test_a_read_that_the_server_refuses_is_repeated_later_each_time_until_cancelled(
    valkey: Broker, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13.16: 1 400 EVALSHA a second when all clients had left."""
    first_seconds = 0.02
    monkeypatch.setattr(reader, "REFUSED_FIRST_SECONDS", first_seconds)
    admin: Any = redis.Redis.from_url(valkey.url)
    admin.execute_command("ACL", "SETUSER", "deaf", "on", ">deaf", "&*", "~*", "+@all", "-evalsha")

    async def story(feed: RedisFeed, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        feed.read(1, channel, "")
        feed.read(2, channel, "")
        await listener.until(lambda: len(listener.refusals) == 12)
        # Six times each: the pauses between them are half as long at least as they are meant to be.
        assert loop.time() - began > first_seconds / 2 * (1 + 2 + 4 + 8 + 16)
        feed.cancel(1)
        feed.cancel(2)
        feed.cancel(3)
        assert not feed._reader._requests
        assert not feed._reader._again
        admin.execute_command("ACL", "SETUSER", "deaf", "+evalsha")
        feed.read(4, channel, "")
        await listener.until(lambda: bool(listener.pages))
        assert set(listener.pages) == {4}
        assert len(listener.refusals) <= 14

    try:
        asyncio.run(listening(valkey.url.replace("://", "://deaf:deaf@"), story))
    finally:
        admin.execute_command("ACL", "DELUSER", "deaf")


def test_a_channel_that_is_listened_to_is_known_for_as_long_as_that(
    valkey: Broker, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13.15: an unused channel is soon forgotten, but not while a page waits for its first event."""
    assert 4 * reader.CHECK_SECONDS < UNUSED_SECONDS, "a check may fail, and the next one is in time"
    monkeypatch.setattr(reader, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(history, "_UNUSED_MS", 1500)
    client: Any = redis.Redis.from_url(valkey.url)
    _, meta, _ = history.keys_of(channel)

    async def story(feed: RedisFeed, listener: Listener) -> None:
        feed.subscribe(channel)
        feed.read(1, channel, "")
        await listener.until(lambda: len(listener.tops) > 25)
        assert set(listener.tops) == {listener.pages[1].end}

    asyncio.run(listening(valkey.url, story))
    wait_until(lambda: not client.exists(meta), what="the channel to be forgotten")


def test_positions_of_idle_channels_are_not_asked_for(
    valkey: Broker, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13.19: nothing periodic costs the server more because of channels that no page listens to."""
    monkeypatch.setattr(reader, "CHECK_SECONDS", 0.05)
    idle, busy = f"{channel}-idle", f"{channel}-busy"

    async def story(feed: RedisFeed, listener: Listener) -> None:
        listener.idle.add(idle)
        for number, name in enumerate((idle, busy)):
            feed.subscribe(name)
            feed.read(number, name, "")
        await listener.until(lambda: listener.checked.count(busy) >= 5)
        assert set(listener.checked) == {busy}

    asyncio.run(listening(valkey.url, story))


def test_names_of_visitors_who_came_while_the_server_was_away_are_forgotten(
    channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13.15: each of them was kept until the server came back."""

    class Away(Listener):
        def broker_lost(self, reason: str) -> None:
            self.refusals.append(reason)
            self._changed.set()

    monkeypatch.setattr("flask_sse.brokers.redis.feed.BACKOFF_FIRST_SECONDS", 60.0)

    async def story() -> int:
        away = Away()
        feed = RedisFeed(f"redis://127.0.0.1:{free_port()}/0", away)
        running = asyncio.create_task(feed.run())
        await away.until(lambda: bool(away.refusals))
        tracemalloc.start()
        for number in range(20_000):
            feed.subscribe(f"{channel}-{number}")
            feed.unsubscribe(f"{channel}-{number}")
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return used

    assert asyncio.run(story()) < 100_000
