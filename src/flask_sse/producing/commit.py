"""Events that belong to a transaction: published when it has been committed, and otherwise not at all.

Rules:

* The listeners are on the class ``Session``, not on one session, and first in line. Those of the class are
  called before those of a session, and one that raises keeps all after it from being called.
* ``after_commit`` notes that a transaction or a savepoint was committed. ``after_transaction_end`` sends,
  when the connection is back in its pool: a broker that is away must not use up the pool.
* What waits is kept for the transaction, not in ``session.info``, which applications copy between sessions.
* Nothing here raises out of ``commit()``, for the data is committed. The log has what was not published.

Called in the thread of the session.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize

from ..brokers.base import Publication
from ..errors import BrokerUnavailableError, SSEError, UsageError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

logger = logging.getLogger(__name__)

# A line of the log names so many channels at most.
SHOWN_CHANNELS = 10

Send = Callable[[list[Publication]], object]


@dataclass(slots=True)
class _Pending:
    """The events of one transaction or savepoint, and what became of it."""

    events: list[tuple[Send, Publication]] = field(default_factory=list)
    # Between ``before_commit`` and what tells how it ended. A listener that raises ahead of ours keeps that.
    is_committing: bool = False
    is_committed: bool = False
    is_joined: bool = False


_pending: WeakKeyDictionary[SessionTransaction, _Pending] = WeakKeyDictionary()


def send_on_commit(session: Any, send: Send, publication: Publication) -> None:
    """Send an event when the session commits.

    Args:
        session: Of SQLAlchemy: a ``Session``, a ``scoped_session`` as Flask-SQLAlchemy's, or an
            ``AsyncSession``.
        send: Sends several events in one go; from any thread.
        publication: The event, checked.

    Raises:
        UsageError: If it is no session, or one without autobegin that has begun no transaction.
    """
    session = _plain(session)
    transaction = _current(session) or _begin(session)
    _listen(transaction)
    _add(transaction, [(send, publication)])


def listen_to_sessions() -> None:
    """Listen to all sessions of this process, if it uses SQLAlchemy.

    It is called before there are requests, as far as possible: SQLAlchemy adds listeners to the list that a
    commit of another thread may be going through, which would raise there.
    """
    if "sqlalchemy.orm" not in sys.modules or _is_listening():
        return
    from sqlalchemy import event  # noqa: PLC0415 - the application has it
    from sqlalchemy.orm import Session  # noqa: PLC0415 - see above

    # No lock, which a forked child might inherit locked: to be called twice does no harm.
    event.listen(Session, "after_transaction_end", _ended, insert=True)
    event.listen(Session, "after_commit", _committed, insert=True)
    event.listen(Session, "after_rollback", _rolled_back, insert=True)
    # Last of the class: one before it that raises keeps the transaction from being committed.
    event.listen(Session, "before_commit", _committing)


def _is_listening() -> bool:
    from sqlalchemy import event  # noqa: PLC0415 - see above
    from sqlalchemy.orm import Session  # noqa: PLC0415 - see above

    return event.contains(Session, "after_commit", _committed)


def _listen(transaction: SessionTransaction) -> None:
    if not (transaction.is_active or _is_listening()):
        # It may be committed: that was signalled before a listener was here.
        raise UsageError(
            "the first publish_on_commit() of a process cannot come while a transaction ends: "
            "import sqlalchemy.orm before you register the blueprint or make the Publisher"
        )
    listen_to_sessions()


def _plain(session: Any) -> Session:
    """Return the session behind a registry or an asynchronous one."""
    from sqlalchemy.orm import Session  # noqa: PLC0415 - it is there, if the application has a session

    found = session.registry() if hasattr(session, "registry") else session
    found = getattr(found, "sync_session", found)
    if not isinstance(found, Session):
        raise UsageError(f"a session of SQLAlchemy is needed, not {type(session).__name__}")
    return found


def _current(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


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


def _add(transaction: SessionTransaction, events: Sequence[tuple[Send, Publication]]) -> None:
    pending = _pending.setdefault(transaction, _Pending())
    if not pending.events:
        # A listener that raises leaves a transaction committed but open, and its session may never be closed.
        finalize(transaction, _abandon, pending)
    pending.events.extend(events)


def _committing(session: Session) -> None:
    transaction = _current(session)
    if transaction is not None and transaction in _pending:
        _pending[transaction].is_committing = True


def _rolled_back(session: Session) -> None:
    transaction = _current(session)
    if transaction is not None and transaction in _pending:
        _pending[transaction].is_committing = False


def _committed(session: Session) -> None:
    # Comes for savepoints, too, and only here it is known that one was not rolled back.
    transaction = _current(session)
    if transaction is None:
        return
    pending = _pending.setdefault(transaction, _Pending())
    pending.is_committed = True
    if transaction.parent is None:
        # The session's own transactions have ended by now. What is open was begun by other code, as
        # ``join_transaction_mode`` allows, who may still roll it back.
        pending.is_joined = any(connection.in_transaction() for connection in _connections(transaction))


def _ended(_: Session, transaction: SessionTransaction) -> None:
    pending = _pending.pop(transaction, None)
    if pending is None:
        return
    events, pending.events = pending.events, []
    if not events:
        return
    if not pending.is_committed:
        if pending.is_committing:
            _log_unknown(events)
    elif transaction.parent is not None:
        _add(_savepoint_or_root(transaction.parent), events)
    elif pending.is_joined:
        logger.warning(
            "not published on %s: the session joined a transaction that was begun outside of it, and "
            "commit() left that open; publish after the commit of that transaction",
            _described([publication for _, publication in events]),
        )
    else:
        _send_beside_the_loop(events)


def _connections(transaction: SessionTransaction) -> Any:
    if hasattr(transaction, "connections"):  # of SQLAlchemy 2.1.7
        return transaction.connections
    return {connection for connection, *_ in transaction._connections.values()}  # noqa: SLF001 - the only way before


def _savepoint_or_root(transaction: SessionTransaction) -> SessionTransaction:
    while transaction.parent is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction


def _send_beside_the_loop(events: list[tuple[Send, Publication]]) -> None:
    """Send, and let the event loop run meanwhile if an asynchronous session commits on it.

    Who cancels such a commit ends the wait, not the sending.
    """
    loop = _loop_of_greenlet()
    if loop is None:
        _send(events)
        return
    try:
        sending = loop.run_in_executor(None, copy_context().run, _send, events)
    except RuntimeError:  # the loop is being closed, and its executor was first
        _send(events)
        return
    from sqlalchemy.util import concurrency  # noqa: PLC0415 - there is a session

    wait = getattr(concurrency, "await_", None) or concurrency.await_only  # its name before SQLAlchemy 2.1
    wait(asyncio.shield(sending))


def _loop_of_greenlet() -> asyncio.AbstractEventLoop | None:
    """Return the running loop if SQLAlchemy runs this in a greenlet, which may wait without blocking it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    if "greenlet" not in sys.modules:
        return None
    from sqlalchemy.util.concurrency import in_greenlet  # noqa: PLC0415 - there is a session

    return loop if in_greenlet() else None


def _send(events: list[tuple[Send, Publication]]) -> None:
    groups = [
        (send, [publication for _, publication in group]) for send, group in groupby(events, itemgetter(0))
    ]
    while groups:
        send, publications = groups.pop(0)
        try:
            send(publications)
        except Exception as error:  # noqa: BLE001 - a caller that committed must not get an error as if it had not
            _log_unsent(publications, error)
        except BaseException as error:
            _log_unsent([*publications, *(each for _, later in groups for each in later)], error)
            raise


def _log_unsent(publications: list[Publication], error: BaseException) -> None:
    if isinstance(error, BrokerUnavailableError):
        publications = publications[len(error.published) :]
    reason = error if isinstance(error, SSEError) else f"{type(error).__name__}: {error}"
    # The texts of our own errors say it all; where another one comes from is not known.
    unexpected = None if isinstance(error, SSEError) else error
    logger.error(
        "committed, but not published on %s: %s", _described(publications), reason, exc_info=unexpected
    )


def _log_unknown(events: Sequence[tuple[Send, Publication]]) -> None:
    logger.error(
        "not published on %s: commit() raised, by the database or a listener of SQLAlchemy, before it was "
        "known here whether it committed",
        _described([publication for _, publication in events]),
    )


def _abandon(pending: _Pending) -> None:
    if pending.events and pending.is_committing and not pending.is_committed:
        _log_unknown(pending.events)
    elif pending.events and pending.is_committed:
        logger.error(
            "committed, but not published on %s: a listener of SQLAlchemy raised, the session is still open",
            _described([publication for _, publication in pending.events]),
        )


def _described(publications: list[Publication]) -> str:
    channels = sorted({publication.channel for publication in publications})
    more = f" and {len(channels) - SHOWN_CHANNELS} more" if len(channels) > SHOWN_CHANNELS else ""
    events = "1 event" if len(publications) == 1 else f"{len(publications)} events"
    return f"{channels[:SHOWN_CHANNELS]!a}{more} ({events})"
