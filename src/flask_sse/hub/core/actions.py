"""What the core orders: the server carries it out after every call. No I/O.

In this order, but for three of which there may be thousands, so that they take turns with other work:
``Continue``, ``Read`` and ``End`` are carried out behind the others that are there, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..protocol.revocation import Revocation


@dataclass(frozen=True, slots=True)
class Write:
    """Write bytes to a stream, and its response head before the first ones."""

    subscriber: Any
    data: bytes


@dataclass(frozen=True, slots=True)
class Continue:
    """Call ``Core.continue_stream`` once the stream has no backlog."""

    subscriber: Any


@dataclass(frozen=True, slots=True)
class End:
    """Write the last bytes of a stream and end it."""

    subscriber: Any
    data: bytes


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Ask the broker for the events of a channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Tell the broker that nobody listens to a channel any more."""

    channel: str


@dataclass(frozen=True, slots=True)
class Read:
    """Ask the broker for a page of the history; its answer goes to ``Core.page`` with the number."""

    number: int
    channel: str
    since: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Tell the broker that no stream waits for a page any more."""

    number: int


@dataclass(frozen=True, slots=True)
class ReportDropped:
    """Say that something came over a channel that is not delivered."""

    channel: str
    reason: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """Note when a revocation came, keep it where it survives the hub, and call ``Core.revoke``."""

    revocation: Revocation
    is_news: bool


@dataclass(frozen=True, slots=True)
class CheckAll:
    """Call ``Core.check_all``, now that all revocations of before are known."""


@dataclass(frozen=True, slots=True)
class WarnRevocationsLost:
    """Say that the broker has lost revocations that it should have."""

    count: int


Order = (
    Write
    | Continue
    | End
    | Subscribe
    | Unsubscribe
    | Read
    | Cancel
    | ReportDropped
    | Revoke
    | CheckAll
    | WarnRevocationsLost
)
