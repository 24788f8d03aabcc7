"""Events of asynchronous sessions: they are sent beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import AsyncAdaptedQueuePool
from tests.support.brokers import Broker, start_valkey
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import suspended

from flask_sse import Publisher
from flask_sse.brokers.base import Publication
from flask_sse.producing.commit import send_on_commit
from flask_sse.settings import History
from flask_sse.testing import PublishedEvents

PUBLICATION = Publication("orders", b"{}", History(10, 60))


@asynccontextmanager
async def new_session() -> AsyncIterator[AsyncSession]:
    engine = create_async_engine("sqlite+aiosqlite://")
    async with AsyncSession(engine) as session:
        await session.execute(text("SELECT 1"))
        yield session
    await engine.dispose()


@pytest.fixture
def valkey() -> Iterator[Broker]:
    with start_valkey() as broker:
        yield broker


@pytest.fixture
def publisher(sse_events: PublishedEvents) -> Publisher:
    return Publisher("memory://commit")


class Gate:
    """Sends nothing, and is on it until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.done = threading.Event()

    def send(self, _: list[Publication]) -> None:
        self.entered.set()
        assert self.opened.wait(PATIENT_SECONDS)
        self.done.set()


def test_the_loop_runs_while_a_commit_sends(valkey: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """15.11: a broker that stands still until the loop has moved would never take the events otherwise."""
    publisher = Publisher(valkey.url)
    publisher.publish("first", channel="orders")  # it is connected, so what takes time is the sending
    listening = valkey.client().pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    listening.psubscribe("*")
    listening.get_message(timeout=PATIENT_SECONDS)

    async def work() -> None:
        async with new_session() as session:
            for number in range(350):
                publisher.publish_on_commit(session, number, channel="orders")
            with suspended(valkey.process.pid):
                commit = asyncio.create_task(session.commit())
                done, _ = await asyncio.wait([commit], timeout=0.2)
                assert not done
            await commit

    asyncio.run(work())
    publisher.close()
    assert "published" not in caplog.text
    got = 0
    while got < 350:
        got += bool(listening.get_message(timeout=PATIENT_SECONDS))
    listening.close()


def test_what_was_published_is_there_when_commit_returns(
    publisher: Publisher, sse_events: PublishedEvents
) -> None:
    async def work() -> None:
        async with new_session() as session:
            publisher.publish_on_commit(session, 1)
            async with session.begin_nested():
                publisher.publish_on_commit(session, 2)
            assert sse_events == []
            await session.commit()
            assert [each.data for each in sse_events] == [1, 2]

    asyncio.run(work())


def test_who_cancels_a_commit_that_sends_ends_only_the_wait() -> None:
    """15.11: also where no thread of the executor has begun with it."""
    gate, second = Gate(), Gate()

    async def work() -> None:
        asyncio.get_running_loop().set_default_executor(executor)
        async with new_session() as session, new_session() as other:
            send_on_commit(session, gate.send, PUBLICATION)
            send_on_commit(other, second.send, PUBLICATION)
            first = asyncio.create_task(session.commit())
            await until(gate.entered)
            waiting = asyncio.create_task(other.commit())
            await asyncio.sleep(0.05)
            for commit in (first, waiting):
                commit.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await commit
            gate.opened.set()
            second.opened.set()
            await until(second.done)

    executor = ThreadPoolExecutor(max_workers=1)
    asyncio.run(work())
    assert gate.done.is_set()


async def until(set_elsewhere: threading.Event) -> None:
    """Wait in a thread of its own, for the default executor may be the one that is waited for."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        assert await asyncio.get_running_loop().run_in_executor(executor, set_elsewhere.wait, 30)


def test_a_commit_after_the_executor_of_its_loop_was_shut_down_is_published(
    publisher: Publisher, sse_events: PublishedEvents
) -> None:
    async def work() -> None:
        async with new_session() as session:
            publisher.publish_on_commit(session, 1)
            await asyncio.get_running_loop().shutdown_default_executor()
            await session.commit()

    asyncio.run(work())
    assert [each.data for each in sse_events] == [1]


def test_a_failure_beside_the_loop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise LookupError("unexpected")

    async def work() -> None:
        async with new_session() as session:
            send_on_commit(session, fail, PUBLICATION)
            await session.commit()

    asyncio.run(work())
    assert "committed, but not published on ['orders'] (1 event): LookupError: unexpected" in caplog.text


def test_registries_and_listeners_of_asynchronous_sessions_will_do(
    publisher: Publisher, sse_events: PublishedEvents
) -> None:
    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        registry = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        event.listen(
            registry().sync_session, "after_commit", lambda each: publisher.publish_on_commit(each, 2)
        )
        publisher.publish_on_commit(registry, 1)
        await registry.commit()
        await registry.remove()
        await engine.dispose()

    asyncio.run(work())
    assert [each.data for each in sse_events] == [1, 2]


def test_a_plain_session_on_a_loop_sends_where_it_is(
    publisher: Publisher, sse_events: PublishedEvents
) -> None:
    async def work() -> None:
        with Session() as session:
            publisher.publish_on_commit(session, 1)
            session.commit()
            assert [each.data for each in sse_events] == [1]

    asyncio.run(work())


def test_what_an_asynchronous_session_has_not_begun_is_dropped_with_it(
    publisher: Publisher, sse_events: PublishedEvents
) -> None:
    """14.24."""

    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        for way in ("rollback", "close", "reset"):
            async with AsyncSession(engine) as session:
                publisher.publish_on_commit(session, way)
                await getattr(session, way)()
                await session.commit()
        await engine.dispose()

    asyncio.run(work())
    assert sse_events == []


def test_a_commit_that_sends_holds_no_connection_of_the_pool(tmp_path: Path) -> None:
    """A broker that is away must not use up the pool."""
    gate = Gate()

    async def work() -> None:
        url = f"sqlite+aiosqlite:///{tmp_path}/pool.db"
        engine = create_async_engine(url, poolclass=AsyncAdaptedQueuePool)
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))
            send_on_commit(session, gate.send, PUBLICATION)
            commit = asyncio.create_task(session.commit())
            await until(gate.entered)
            checked_out = engine.pool.checkedout()  # type: ignore[attr-defined] # a QueuePool
            gate.opened.set()
            await commit
            assert checked_out == 0
        await engine.dispose()

    asyncio.run(work())
