"""Events that belong to a transaction: published when it has been committed, and else not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ..brokers.base import Publication
from ..errors import SSEError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

logger = logging.getLogger(__name__)

_INFO = "flask_sse.events"

Send = Callable[[list[Publication]], object]


def send_on_commit(session: Any, send: Send, publication: Publication) -> None:
    """Send an event when the session commits.

    Args:
        session: Of SQLAlchemy: a ``Session``, a ``scoped_session`` as Flask-SQLAlchemy's, or an
            ``AsyncSession``.
        send: Sends several events in one go.
        publication: The event, checked.

    Raises:
        UsageError: If it is no session, or one without autobegin that has begun no transaction.
    """
    session = _plain(session)
    transaction = _current(session) or _begin(session)
    if _INFO not in session.info:
        session.info[_INFO] = _Waiting(session)
    session.info[_INFO].add(transaction, send, publication)


def _plain(session: Any) -> Session:
    """Return the session behind a registry or an asynchronous one."""
    from sqlalchemy.orm import Session  # noqa: PLC0415 - it is there, if the application has a session

    found = session.registry() if hasattr(session, "registry") else session
    found = getattr(found, "sync_session", found)
    if not isinstance(found, Session):
        raise UsageError(f"a session of SQLAlchemy is needed, not {type(session).__name__}")
    return found


def _begin(session: Session) -> SessionTransaction:
    """Begin the transaction that the event belongs to, as ``session.add`` does.

    Without one nothing would tell that the application gave the event up: ``rollback()``, ``close()`` and
    ``reset()`` of a session that has begun no transaction raise no event of SQLAlchemy. No connection is
    taken yet.
    """
    if not session.autobegin:
        raise UsageError(
            "the session has begun no transaction, and autobegin is disabled on it: "
            "call session.begin() before publish_on_commit()"
        )
    return session.begin()


class _Waiting:
    """The events that wait for the transactions of one session, savepoints included."""

    def __init__(self, session: Session) -> None:
        from sqlalchemy import event  # noqa: PLC0415 - see above

        self._events: dict[SessionTransaction, list[tuple[Send, Publication]]] = {}
        self._committed: set[SessionTransaction] = set()
        event.listen(session, "after_commit", self._committing)
        event.listen(session, "after_transaction_end", self._ended)

    def add(self, transaction: SessionTransaction, send: Send, publication: Publication) -> None:
        self._events.setdefault(transaction, []).append((send, publication))

    def _committing(self, session: Session) -> None:
        # Comes for savepoints, too, and only here can be told that one was not rolled back.
        transaction = _current(session)
        if transaction is not None:
            self._committed.add(transaction)

    def _ended(self, _: Session, transaction: SessionTransaction) -> None:
        events = self._events.pop(transaction, [])
        if transaction not in self._committed:
            return
        self._committed.discard(transaction)
        if transaction.parent is None:
            _send(events)
        elif events:
            self._events.setdefault(_savepoint_or_root(transaction.parent), []).extend(events)


def _current(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _savepoint_or_root(transaction: SessionTransaction) -> SessionTransaction:
    while transaction.parent is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction


def _send(events: list[tuple[Send, Publication]]) -> None:
    for send, group in groupby(events, itemgetter(0)):
        publications = [publication for _, publication in group]
        try:
            send(publications)
        except SSEError as error:
            # The data is committed: who committed it must not be told that it is not.
            channels = ascii(sorted({publication.channel for publication in publications}))
            logger.error("committed, but not published on %s: %s", channels, error)  # noqa: TRY400 - says it all
