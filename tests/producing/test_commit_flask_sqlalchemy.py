"""Events of Flask-SQLAlchemy's session, and teardown functions that commit or raise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from tests.support.local import close, make_app

from flask_sse import sse
from flask_sse.testing import PublishedEvents


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)


class Shop:
    """An application with a database of orders, each of which has an event."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder}/shop.db"
        self.app = make_app(SSE_BROKER_URL="memory://", SQLALCHEMY_DATABASE_URI=url)
        self.app.add_url_rule("/<int:number>/<end>", view_func=self.order)
        self.db = SQLAlchemy(model_class=Base)
        self.engine = create_engine(url)
        Base.metadata.create_all(self.engine)

    def order(self, number: int, end: str) -> str:
        sse.publish_on_commit(self.db.session, number)
        self.db.session.add(Order(id=number))
        if end == "commit":
            self.db.session.commit()
        if end == "fail":
            raise LookupError("the view failed")
        return ""

    def orders(self) -> list[int]:
        with Session(self.engine) as session:
            return list(session.scalars(select(Order.id).order_by(Order.id)))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.engine.dispose()
    for engine in shop.db._app_engines[shop.app].values():
        engine.dispose()
    close(shop.app)


def numbers(events: PublishedEvents) -> list[int]:
    return [each.data for each in events]


def test_events_are_sent_with_what_a_view_commits(shop: Shop, sse_events: PublishedEvents) -> None:
    shop.db.init_app(shop.app)
    client = shop.app.test_client()
    for path, status in (("1/commit", 200), ("2/leave", 200), ("3/fail", 500), ("4/commit", 200)):
        assert client.get(f"/{path}").status_code == status
    assert numbers(sse_events) == shop.orders() == [1, 4]


@pytest.mark.parametrize("registered", ["before the database's", "after the database's"])
@pytest.mark.parametrize("kind", ["teardown_request", "teardown_appcontext"])
def test_a_teardown_function_that_raises_changes_nothing_of_what_is_sent(
    shop: Shop, sse_events: PublishedEvents, kind: str, registered: str
) -> None:
    """15, "must hold": also where the session of the request is not removed then."""

    def fail(_: BaseException | None) -> None:
        raise RuntimeError("the teardown failed")

    if registered == "before the database's":
        getattr(shop.app, kind)(fail)
    shop.db.init_app(shop.app)
    if registered == "after the database's":
        getattr(shop.app, kind)(fail)
    client = shop.app.test_client()
    for path in ("1/commit", "2/leave", "3/fail", "4/commit"):
        with pytest.raises(RuntimeError, match="the teardown failed"):
            client.get(f"/{path}")
    sent = numbers(sse_events)
    assert sent == shop.orders()
    assert {1, 4} <= set(sent)


def test_a_teardown_function_may_commit(shop: Shop, sse_events: PublishedEvents) -> None:
    shop.db.init_app(shop.app)

    @shop.app.teardown_request
    def commit(error: BaseException | None) -> None:
        if error is None:
            shop.db.session.commit()

    client = shop.app.test_client()
    for path in ("1/leave", "2/fail", "3/leave"):
        client.get(f"/{path}")
    assert numbers(sse_events) == shop.orders() == [1, 3]
