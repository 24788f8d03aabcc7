"""Events of a transaction: a real database says what was committed."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, SessionTransaction, scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool
from tests.support.brokers import start_valkey
from tests.support.local import local_app
from tests.support.patience import PATIENT_SECONDS

from flask_sse import BrokerUnavailableError, InvalidMessageError, Publisher, UsageError, sse
from flask_sse.brokers.base import Publication
from flask_sse.producing.commit import send_on_commit
from flask_sse.settings import History
from flask_sse.testing import PublishedEvents, capture
from flask_sse.testing import event as published

PUBLICATION = Publication("orders", b"{}", History(10, 60))


def make_engine() -> Engine:
    """A database in memory whose savepoints are real: Python's sqlite3 begins no transaction by itself."""
    engine = create_engine("sqlite://", poolclass=StaticPool)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE number (id INTEGER PRIMARY KEY)"))
    return engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = make_engine()
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture
def publisher(sse_events: PublishedEvents) -> Publisher:
    return Publisher("memory://commit")


def insert(session: Session, number: int) -> None:
    session.execute(text("INSERT INTO number VALUES (:id)"), {"id": number})


def numbers(events: PublishedEvents) -> list[int]:
    return [each.data for each in events]


# -- what happens when -------------------------------------------------------------------------------


def test_events_are_sent_after_the_commit_in_their_order(
    session: Session, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    for number in range(3):
        insert(session, number)
        publisher.publish_on_commit(session, number, type="new", channel=f"c{number % 2}", key=str(number))
    assert sse_events == []
    session.commit()
    assert sse_events == [
        published(data=number, type="new", channel=f"c{number % 2}", key=str(number)) for number in range(3)
    ]
    session.commit()
    assert len(sse_events) == 3


@pytest.mark.parametrize("way", ["rollback", "close", "reset", "invalidate"])
def test_events_are_dropped_where_nothing_is_committed(
    session: Session, publisher: Publisher, sse_events: PublishedEvents, way: str
) -> None:
    insert(session, 1)
    publisher.publish_on_commit(session, 1)
    getattr(session, way)()
    if way == "invalidate":
        return
    insert(session, 2)
    publisher.publish_on_commit(session, 2)
    session.commit()
    assert numbers(sse_events) == [2]


def test_an_event_that_comes_before_any_statement_waits_for_the_commit_too(
    session: Session, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    publisher.publish_on_commit(session, 1)
    insert(session, 1)
    publisher.publish_on_commit(session, 2)
    assert sse_events == []
    session.commit()
    assert numbers(sse_events) == [1, 2]
    publisher.publish_on_commit(session, 3)
    session.commit()
    assert numbers(sse_events) == [1, 2, 3]


@pytest.mark.parametrize("way", ["rollback", "close", "reset", "invalidate"])
def test_an_event_that_comes_before_any_statement_is_dropped_too(
    session: Session, publisher: Publisher, sse_events: PublishedEvents, way: str
) -> None:
    """14.24."""
    publisher.publish_on_commit(session, 1)
    getattr(session, way)()
    publisher.publish_on_commit(session, 2)
    session.commit()
    assert numbers(sse_events) == [2]


def test_an_event_of_a_session_is_gone_when_its_registry_removes_it(
    engine: Engine, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    """14.24."""
    registry = scoped_session(sessionmaker(engine))
    session = registry()
    publisher.publish_on_commit(registry, 1)
    registry.remove()
    session.commit()
    assert sse_events == []


def test_the_call_begins_a_transaction_as_add_does(session: Session, publisher: Publisher) -> None:
    """14.24: what waits has a transaction that it waits for."""
    publisher.publish_on_commit(session, 1)
    assert session.in_transaction()
    with pytest.raises(InvalidRequestError, match="already begun"):
        session.begin()


def test_a_session_that_begins_nothing_by_itself_must_have_begun(
    engine: Engine, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    """14.24: as ``add`` of such a session."""
    with Session(engine, autobegin=False) as session:
        with pytest.raises(UsageError, match=r"session\.begin\(\) before publish_on_commit"):
            publisher.publish_on_commit(session, 1)
        with session.begin():
            publisher.publish_on_commit(session, 2)
    assert numbers(sse_events) == [2]


def test_a_session_that_was_closed_for_good_takes_no_event(engine: Engine, publisher: Publisher) -> None:
    """14.24: the event would wait for ever."""
    session = Session(engine, close_resets_only=False)
    session.close()
    with pytest.raises(InvalidRequestError, match="permanently closed"):
        publisher.publish_on_commit(session, 1)


def test_a_commit_that_fails_sends_nothing(
    session: Session, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    insert(session, 1)
    session.commit()
    publisher.publish_on_commit(session, 1)
    with pytest.raises(IntegrityError):
        insert(session, 1)
    session.rollback()
    session.commit()
    assert sse_events == []


def test_a_commit_that_the_database_refuses_sends_nothing(
    engine: Engine,
    session: Session,
    publisher: Publisher,
    sse_events: PublishedEvents,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @event.listens_for(engine, "commit")
    def refuse(_: object) -> None:
        raise RuntimeError("refused")

    insert(session, 1)
    publisher.publish_on_commit(session, 1)
    with pytest.raises(RuntimeError, match="refused"):
        session.commit()
    event.remove(engine, "commit", refuse)
    session.rollback()
    session.commit()
    assert sse_events == []
    assert "published" not in caplog.text


def test_a_savepoint_that_is_rolled_back_takes_its_events_with_it(
    session: Session, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    publisher.publish_on_commit(session, 1)
    with session.begin_nested():
        publisher.publish_on_commit(session, 2)
        with session.begin_nested() as inner:
            publisher.publish_on_commit(session, 3)
            inner.rollback()
        publisher.publish_on_commit(session, 4)
    with session.begin_nested() as other:
        publisher.publish_on_commit(session, 5)
        other.rollback()
    publisher.publish_on_commit(session, 6)
    assert sse_events == []
    session.commit()
    assert numbers(sse_events) == [1, 2, 4, 6]


def test_data_is_what_it_was_at_the_call_and_is_checked_there(
    session: Session, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    data = {"state": "before"}
    publisher.publish_on_commit(session, data)
    data["state"] = "after"
    with pytest.raises(InvalidMessageError):
        publisher.publish_on_commit(session, "x", type="two\nlines")
    session.commit()
    assert sse_events == [published(data={"state": "before"})]


def test_a_broker_that_is_away_does_not_undo_the_commit(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    with start_valkey() as broker:
        away = Publisher(broker.url)
        broker.kill()
        insert(session, 1)
        away.publish_on_commit(session, "a secret", channel="orders")
        session.commit()
        away.close()
    assert session.execute(text("SELECT id FROM number")).scalars().all() == [1]
    assert "committed, but not published on ['orders']" in caplog.text
    assert "secret" not in caplog.text


def test_two_publishers_of_one_session_send_what_is_theirs(
    session: Session, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    other = Publisher("memory://other")
    for number, each in enumerate([publisher, other, other, publisher]):
        each.publish_on_commit(session, number)
    session.commit()
    assert numbers(sse_events) == [0, 1, 2, 3]


def test_a_publisher_that_fails_in_any_way_does_not_undo_the_commit(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """15.10."""

    def fail(_: object) -> None:
        raise LookupError("unexpected")

    insert(session, 1)
    send_on_commit(session, fail, PUBLICATION)
    session.commit()
    assert session.execute(text("SELECT id FROM number")).scalars().all() == [1]
    (record,) = [each for each in caplog.records if each.name.startswith("flask_sse")]
    assert record.message == "committed, but not published on ['orders'] (1 event): LookupError: unexpected"
    assert record.exc_info


def test_what_must_end_the_program_is_raised_after_the_commit_and_the_log_has_all_that_was_not_published(
    session: Session, publisher: Publisher, sse_events: PublishedEvents, caplog: pytest.LogCaptureFixture
) -> None:
    """15.10."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    insert(session, 1)
    publisher.publish_on_commit(session, 1)
    send_on_commit(session, interrupt, PUBLICATION)
    publisher.publish_on_commit(session, 2, channel="later")
    with pytest.raises(KeyboardInterrupt):
        session.commit()
    assert numbers(sse_events) == [1]
    assert "not published on ['later', 'orders'] (2 events): KeyboardInterrupt" in caplog.text
    assert session.execute(text("SELECT id FROM number")).scalars().all() == [1]


def test_the_log_says_how_many_a_broker_did_not_take(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """15.10."""

    def fail(publications: list[Publication]) -> None:
        raise BrokerUnavailableError("redis", "away", published=range(2))

    for number in range(20):
        send_on_commit(session, fail, PUBLICATION._replace(channel=f"c{number:02}"))
    session.commit()
    shown = [f"c{number:02}" for number in range(2, 12)]
    assert (
        f"not published on {shown} and 8 more (18 events): redis did not take the event: away" in caplog.text
    )


# -- beside listeners of others ----------------------------------------------------------------------


@contextmanager
def listener(target: Any, name: str, listen: Callable[..., object]) -> Iterator[None]:
    event.listen(target, name, listen)
    try:
        yield
    finally:
        event.remove(target, name, listen)


def fail(*_: object) -> None:
    raise RuntimeError("a listener failed")


@pytest.fixture(params=["session", "sessionmaker", "class"])
def target(request: pytest.FixtureRequest, engine: Engine) -> Iterator[tuple[Any, Session]]:
    """Where others may listen, and a session that calls them."""
    maker = sessionmaker(engine)
    with maker() as session:
        yield {"session": session, "sessionmaker": maker, "class": Session}[request.param], session


@pytest.mark.parametrize("before", [[], [1]])
def test_an_event_that_is_published_when_the_commit_was_made_goes_with_the_others(
    target: tuple[Any, Session], publisher: Publisher, sse_events: PublishedEvents, before: list[int]
) -> None:
    """15.10."""
    listened_at, session = target

    def publish(session: Session) -> None:
        publisher.publish_on_commit(session, 2)

    with listener(listened_at, "after_commit", publish):
        insert(session, 1)
        for number in before:
            publisher.publish_on_commit(session, number)
        session.commit()
    assert numbers(sse_events) == [*before, 2]
    session.commit()
    assert numbers(sse_events) == [*before, 2]


def test_an_event_that_is_published_when_a_savepoint_was_released_waits_for_the_transaction(
    target: tuple[Any, Session], publisher: Publisher, sse_events: PublishedEvents
) -> None:
    """15.10."""
    listened_at, session = target
    state = {"number": 0}

    def publish(session: Session) -> None:
        if session.in_nested_transaction():
            state["number"] += 1
            publisher.publish_on_commit(session, state["number"])

    with listener(listened_at, "after_commit", publish):
        with session.begin_nested():
            insert(session, 1)
        session.rollback()
        with session.begin_nested():
            insert(session, 1)
        assert sse_events == []
        session.commit()
    assert numbers(sse_events) == [2]


def test_an_event_that_is_published_when_a_transaction_has_ended_waits_for_the_next(
    target: tuple[Any, Session], publisher: Publisher, sse_events: PublishedEvents
) -> None:
    """15.10: of all that may be called while a transaction ends."""
    listened_at, session = target

    def publish(session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            publisher.publish_on_commit(session, 1)

    insert(session, 1)
    with listener(listened_at, "after_transaction_end", publish):
        session.commit()
    assert sse_events == []
    session.commit()
    assert numbers(sse_events) == [1]


@pytest.mark.parametrize("name", ["after_commit", "after_transaction_end"])
def test_an_event_of_a_commit_after_which_a_listener_raises_is_sent(
    target: tuple[Any, Session], publisher: Publisher, sse_events: PublishedEvents, name: str
) -> None:
    """15.10: also where that one listened first."""
    listened_at, session = target
    with listener(listened_at, name, fail):
        insert(session, 1)
        publisher.publish_on_commit(session, 1)
        with pytest.raises(RuntimeError, match="a listener failed"):
            session.commit()
    session.close()
    assert numbers(sse_events) == [1]
    assert session.execute(text("SELECT id FROM number")).scalars().all() == [1]


def test_the_log_has_an_event_whose_session_is_left_open_by_a_listener_that_raises(
    engine: Engine, publisher: Publisher, sse_events: PublishedEvents, caplog: pytest.LogCaptureFixture
) -> None:
    """15.10."""
    session = Session(engine)
    insert(session, 1)
    publisher.publish_on_commit(session, 1, channel="orders")
    with listener(session, "after_commit", fail), pytest.raises(RuntimeError, match="a listener failed"):
        session.commit()
    del session
    gc.collect()
    assert sse_events == []
    assert (
        "committed, but not published on ['orders'] (1 event): a listener of SQLAlchemy raised" in caplog.text
    )


@pytest.mark.parametrize("way", ["close", "garbage"])
def test_the_log_has_an_event_of_a_commit_that_a_listener_ahead_of_ours_hides(
    engine: Engine,
    publisher: Publisher,
    sse_events: PublishedEvents,
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    """15.10: the data is committed, and nothing but the log can tell why no page hears of it."""
    session = Session(engine)
    insert(session, 1)
    publisher.publish_on_commit(session, 1, channel="orders")
    event.listen(Session, "after_commit", fail, insert=True)
    try:
        with pytest.raises(RuntimeError, match="a listener failed"):
            session.commit()
    finally:
        event.remove(Session, "after_commit", fail)
    if way == "garbage":
        del session
        gc.collect()
    else:
        getattr(session, way)()
    assert sse_events == []
    assert "not published on ['orders'] (1 event): commit() raised" in caplog.text
    with Session(engine) as later:
        assert later.execute(text("SELECT id FROM number")).scalars().all() == [1]


def test_what_is_given_up_needs_no_line_in_the_log(
    engine: Engine, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session(engine)
    for end in (session.rollback, session.close):
        publisher.publish_on_commit(session, 1)
        end()
    publisher.publish_on_commit(session, 1)
    del session, end
    gc.collect()
    assert "published" not in caplog.text


FIRST_USE = """
from flask_sse import Publisher
from flask_sse.testing import capture
{before}
publisher = Publisher("memory://first")
{after}
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session
with capture() as events, Session(create_engine("sqlite://")) as session:
    event.listen({target}, "after_commit", lambda session: publisher.publish_on_commit(session, 1))
    try:
        session.commit()
    finally:
        print(len(events))
"""


def use_first(**parts: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", FIRST_USE.format(**parts)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENT_SECONDS, check=False)


@pytest.mark.parametrize("target", ["Session", "session"])
def test_the_first_event_of_a_process_may_be_published_when_the_commit_was_made(target: str) -> None:
    """15.10."""
    code = FIRST_USE.format(before="import sqlalchemy.orm", after="", target=target)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENT_SECONDS, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize("target", ["Session", "session"])
def test_an_event_that_came_too_early_to_know_of_the_commit_is_refused(target: str) -> None:
    """15.10: never lost in silence."""
    code = FIRST_USE.format(before="", after="import sqlalchemy.orm", target=target)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENT_SECONDS, check=False
    )
    assert done.stdout == "0\n"
    assert "UsageError: the first publish_on_commit() of a process cannot come while" in done.stderr


# -- kinds of sessions -------------------------------------------------------------------------------


def test_a_registry_as_that_of_flask_sqlalchemy_will_do(engine: Engine, sse_events: PublishedEvents) -> None:
    registry = scoped_session(sessionmaker(engine))
    with local_app() as app, app.app_context():
        sse.publish_on_commit(registry, {"n": 1}, type="new")
        registry.commit()
        registry.remove()
        sse.publish_on_commit(registry, {"n": 2}, type="new")
        registry.remove()
    assert sse_events == [published(data={"n": 1}, type="new")]


def test_a_session_may_have_the_info_of_another_one(
    engine: Engine, session: Session, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    """15.10."""
    publisher.publish_on_commit(session, 1)
    with Session(engine, info=session.info) as other:
        publisher.publish_on_commit(other, 2)
        other.commit()
    assert numbers(sse_events) == [2]
    session.commit()
    assert numbers(sse_events) == [2, 1]


Mode = Literal["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]


@pytest.fixture(params=["transaction", "savepoint"])
def outer(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Connection]:
    """A connection with a transaction, or a savepoint in it, that no session has begun."""
    with engine.connect() as connection:
        connection.begin()
        if request.param == "savepoint":
            connection.begin_nested()
        yield connection


@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "create_savepoint"])
@pytest.mark.parametrize("end", [Connection.rollback, Connection.commit])
def test_what_an_outer_transaction_may_still_roll_back_is_not_published(
    outer: Connection,
    sse_events: PublishedEvents,
    caplog: pytest.LogCaptureFixture,
    mode: Mode,
    end: Callable[[Connection], None],
) -> None:
    """15.10."""
    publisher = Publisher("memory://commit")
    with Session(outer, join_transaction_mode=mode) as session:
        publisher.publish_on_commit(session, 1, channel="orders")
        insert(session, 1)
        with session.begin_nested():
            publisher.publish_on_commit(session, 2, channel="orders")
        session.commit()
    end(outer)
    assert sse_events == []
    assert "not published on ['orders'] (2 events): the session joined a transaction" in caplog.text


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_session_commits_on_the_connection_of_another_one_is_published(
    engine: Engine, publisher: Publisher, sse_events: PublishedEvents, begun: bool
) -> None:
    """15.10: where it is the session's to commit."""
    with engine.connect() as connection:
        if begun:
            connection.begin()
        with Session(connection, join_transaction_mode="control_fully") as session:
            publisher.publish_on_commit(session, 1)
            insert(session, 1)
            session.commit()
    assert numbers(sse_events) == [1]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM number")).scalars().all() == [1]


def test_an_asynchronous_session_will_do(publisher: Publisher, sse_events: PublishedEvents) -> None:
    async def work() -> None:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))
            publisher.publish_on_commit(session, 1)
            assert sse_events == []
            await session.commit()
        await engine.dispose()

    asyncio.run(work())
    assert numbers(sse_events) == [1]


@pytest.mark.parametrize("wrong", [None, object(), "session"])
def test_what_is_no_session_is_refused(publisher: Publisher, wrong: object) -> None:
    with pytest.raises(UsageError, match="a session of SQLAlchemy is needed"):
        publisher.publish_on_commit(wrong, 1)


# -- whatever happens --------------------------------------------------------------------------------


class BesideADatabase(RuleBasedStateMachine):
    """Each event goes with a row: what was published is what the database has, in the order of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.captured = capture()
        self.events = self.captured.__enter__()
        self.engine = make_engine()
        self.session = Session(self.engine)
        self.publisher = Publisher("memory://beside")
        self.savepoints: list[Any] = []
        self.number = 0

    @rule()
    def publish(self) -> None:
        """The event may be what begins the transaction."""
        self.number += 1
        self.publisher.publish_on_commit(self.session, self.number)
        insert(self.session, self.number)

    @rule(way=st.sampled_from(["rollback", "close", "reset"]))
    def publish_and_give_up(self, way: str) -> None:
        """No statement follows the event, nor comes before it where the session was at rest."""
        self.number += 1
        self.publisher.publish_on_commit(self.session, self.number)
        self.end(way)

    @precondition(lambda self: len(self.savepoints) < 4)
    @rule()
    def set_savepoint(self) -> None:
        self.savepoints.append(self.session.begin_nested())

    @precondition(lambda self: self.savepoints)
    @rule(depth=st.integers(0, 3))
    def release(self, depth: int) -> None:
        """Also one around others, which end with it."""
        depth %= len(self.savepoints)
        self.savepoints[depth].commit()
        del self.savepoints[depth:]

    @precondition(lambda self: self.savepoints)
    @rule(depth=st.integers(0, 3))
    def roll_back_to(self, depth: int) -> None:
        depth %= len(self.savepoints)
        self.savepoints[depth].rollback()
        del self.savepoints[depth:]

    @rule(fails=st.booleans())
    def commit_beside_a_listener(self, fails: bool) -> None:
        """One that publishes for a row when it was committed, and that may raise then."""

        def listen(session: Session) -> None:
            if not session.in_nested_transaction():
                self.publisher.publish_on_commit(session, self.number)
                if fails:
                    raise RuntimeError("a listener failed")

        self.number += 1
        insert(self.session, self.number)
        with listener(self.session, "after_commit", listen):
            if fails:
                with pytest.raises(RuntimeError, match="a listener failed"):
                    self.session.commit()
            else:
                self.session.commit()
        self.end("close")

    @rule(way=st.sampled_from(["commit", "commit", "rollback", "close", "reset"]))
    def end(self, way: str) -> None:
        getattr(self.session, way)()
        self.savepoints.clear()
        with self.engine.connect() as connection:
            committed = connection.execute(text("SELECT id FROM number ORDER BY id")).scalars().all()
        assert numbers(self.events) == committed

    def teardown(self) -> None:
        self.end("close")
        self.engine.dispose()
        self.captured.__exit__(None, None, None)


TestBesideADatabase = BesideADatabase.TestCase
TestBesideADatabase.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)
