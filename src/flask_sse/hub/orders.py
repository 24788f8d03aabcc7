"""What the core orders: the server carries it out after every call. No I/O.

In this order, but for three of which there may be thousands, so that they take turns with other work:
``GoOn``, ``Read`` and ``End`` are carried out behind the others that are there, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .dismissal import Dismissal


@dataclass(frozen=True, slots=True)
class Write:
    """Write bytes to a stream, and its response head before the first ones."""

    member: Any
    data: bytes


@dataclass(frozen=True, slots=True)
class GoOn:
    """Call ``Core.go_on`` once the stream has no backlog."""

    member: Any


@dataclass(frozen=True, slots=True)
class End:
    """Write the last bytes of a stream and end it."""

    member: Any
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
class Complain:
    """Say that something came over a channel that is not delivered."""

    channel: str
    reason: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """Note when a revocation came, keep it where it survives the hub, and call ``Core.revoke``."""

    dismissal: Dismissal
    is_news: bool


@dataclass(frozen=True, slots=True)
class CheckAll:
    """Call ``Core.check_all``, now that all revocations of before are known."""


@dataclass(frozen=True, slots=True)
class WarnOfLoss:
    """Say that the broker has lost revocations that it should have."""

    count: int


Order = (
    Write | GoOn | End | Subscribe | Unsubscribe | Read | Cancel | Complain | Revoke | CheckAll | WarnOfLoss
)
