"""Events of real two-phase commits: two databases of a PostgreSQL server say what was committed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import create_engine, delete, event, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from tests.support.postgres import Postgres

from flask_sse import Publisher
from flask_sse.testing import PublishedEvents, capture


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)


class Payment(Base):
    __tablename__ = "payment"
    id: Mapped[int] = mapped_column(primary_key=True)


# Checked by PREPARE TRANSACTION, so one of two databases may refuse there.
REFUSE_LATE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.id < 0 THEN RAISE EXCEPTION 'refused'; END IF; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON payment DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION refuse();
"""


class Shop:
    """Orders in one database, payments in another; a session commits both or none."""

    def __init__(self, server: Postgres) -> None:
        self.orders = create_engine(server.url)
        with self.orders.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("CREATE DATABASE payments"))
        self.payments = create_engine(server.url_of("payments"))
        Base.metadata.create_all(self.orders, [Base.metadata.tables["order"]])
        Base.metadata.create_all(self.payments, [Base.metadata.tables["payment"]])
        with self.payments.begin() as connection:
            connection.execute(text(REFUSE_LATE))

    def session(self) -> Session:
        return Session(twophase=True, binds={Order: self.orders, Payment: self.payments})

    def committed(self) -> list[int]:
        """The orders, for each of which there is a payment."""
        with Session(binds={Order: self.orders, Payment: self.payments}) as session:
            orders = session.scalars(select(Order.id).order_by(Order.id)).all()
            assert orders == session.scalars(select(Payment.id).order_by(Payment.id)).all()
            return list(orders)

    def clear(self) -> None:
        self.resolve()
        with Session(binds={Order: self.orders, Payment: self.payments}) as session, session.begin():
            session.execute(delete(Order))
            session.execute(delete(Payment))

    def resolve(self) -> None:
        """Roll back what was prepared and left, as an operator does.

        SQLAlchemy leaves it where the other database refused the first phase, or the second one failed.
        """
        for engine in (self.orders, self.payments):
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                left = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
                for gid in connection.execute(text(left)).scalars().all():
                    connection.exec_driver_sql(f"ROLLBACK PREPARED '{gid}'")

    def prepared(self) -> int:
        """How many transactions wait for their second phase."""
        with self.orders.connect() as connection:
            return len(connection.execute(text("SELECT gid FROM pg_prepared_xacts")).all())

    def close(self) -> None:
        self.orders.dispose()
        self.payments.dispose()


@pytest.fixture(scope="module")
def server() -> Iterator[Shop]:
    with Postgres() as server:
        shop = Shop(server)
        yield shop
        shop.close()


@pytest.fixture
def shop(server: Shop) -> Shop:
    server.clear()
    return server


@pytest.fixture
def publisher(sse_events: PublishedEvents) -> Publisher:
    return Publisher("memory://two-phase")


def sell(session: Session, publisher: Publisher, number: int, *, paid: int | None = None) -> None:
    """Add an order, its payment and its event."""
    session.add_all([Order(id=number), Payment(id=number if paid is None else paid)])
    session.flush()
    publisher.publish_on_commit(session, number)


def numbers(events: PublishedEvents) -> list[int]:
    return [each.data for each in events]


def test_events_are_sent_after_the_second_phase(
    shop: Shop, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    with shop.session() as session:
        sell(session, publisher, 1)
        session.prepare()
        assert shop.prepared() == 2
        publisher.publish_on_commit(session, 2)
        assert sse_events == []
        session.commit()
        assert numbers(sse_events) == [1, 2]
        session.commit()
    assert shop.committed() == [1]
    assert numbers(sse_events) == [1, 2]


def test_a_database_that_refuses_the_first_phase_takes_the_event_of_the_other_one_with_it(
    shop: Shop, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    with shop.session() as session:
        sell(session, publisher, 1, paid=-1)
        with pytest.raises(SQLAlchemyError):
            session.commit()
        session.invalidate()
        sell(session, publisher, 2)
        session.commit()
    assert numbers(sse_events) == shop.committed() == [2]


@pytest.mark.parametrize("way", ["rollback", "close", "reset"])
def test_what_was_prepared_may_still_be_rolled_back(
    shop: Shop, publisher: Publisher, sse_events: PublishedEvents, way: str
) -> None:
    with shop.session() as session:
        sell(session, publisher, 1)
        session.prepare()
        getattr(session, way)()
        session.commit()
    assert sse_events == shop.committed() == []


def test_a_second_phase_that_fails_sends_nothing(
    shop: Shop, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("refused")

    engines = (shop.orders, shop.payments)
    for engine in engines:
        event.listen(engine, "commit_twophase", refuse)
    session = shop.session()
    sell(session, publisher, 1)
    with pytest.raises(RuntimeError, match="refused"):
        session.commit()
    session.invalidate()
    for engine in engines:
        event.remove(engine, "commit_twophase", refuse)
    shop.resolve()
    assert sse_events == shop.committed() == []


def test_savepoints_of_a_two_phase_transaction_take_their_events_with_them(
    shop: Shop, publisher: Publisher, sse_events: PublishedEvents
) -> None:
    with shop.session() as session:
        sell(session, publisher, 1)
        with session.begin_nested() as savepoint:
            sell(session, publisher, 2)
            savepoint.rollback()
        with session.begin_nested():
            sell(session, publisher, 3)
        session.prepare()
        session.commit()
    assert numbers(sse_events) == shop.committed() == [1, 3]


class BesideTwoDatabases(RuleBasedStateMachine):
    """What was published is what both databases have, in the order of the calls."""

    shop: Shop

    def __init__(self) -> None:
        super().__init__()
        self.captured = capture()
        self.events = self.captured.__enter__()
        self.shop.clear()
        self.session = self.shop.session()
        self.publisher = Publisher("memory://two-phase")
        self.number = 0
        self.is_prepared = False

    @precondition(lambda self: not self.is_prepared)
    @rule()
    def sell(self) -> None:
        self.number += 1
        sell(self.session, self.publisher, self.number)

    @precondition(lambda self: not self.is_prepared)
    @rule(way=st.sampled_from(["commit", "rollback"]))
    def sell_in_a_savepoint(self, way: str) -> None:
        with self.session.begin_nested() as savepoint:
            self.sell()
            getattr(savepoint, way)()

    @precondition(lambda self: not self.is_prepared)
    @rule()
    def sell_what_is_refused(self) -> None:
        self.number += 1
        sell(self.session, self.publisher, self.number, paid=-self.number)
        with pytest.raises(SQLAlchemyError):
            self.session.commit()
        self.session.invalidate()
        self.shop.resolve()

    @precondition(lambda self: not self.is_prepared)
    @rule()
    def prepare(self) -> None:
        self.session.prepare()
        self.is_prepared = True

    @rule(way=st.sampled_from(["commit", "commit", "rollback", "close", "reset"]))
    def end(self, way: str) -> None:
        getattr(self.session, way)()
        self.is_prepared = False
        assert numbers(self.events) == self.shop.committed()

    def teardown(self) -> None:
        self.end("close")
        self.captured.__exit__(None, None, None)


def test_beside_two_databases(shop: Shop) -> None:
    machine = type("Beside", (BesideTwoDatabases,), {"shop": shop})
    run_state_machine_as_test(
        machine, settings=settings(deadline=None, max_examples=15, stateful_step_count=15)
    )
