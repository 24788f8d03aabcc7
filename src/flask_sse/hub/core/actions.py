"""Actions and counters: what the core hands to its server. No I/O, no clock.

The server carries the actions out after every call, in their order. There may be thousands of ``Continue``,
``Read`` and ``End``, so these take turns with other work: they are carried out behind all others that are
there, in the order among themselves.
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
    """Tell the broker that this hub needs no more events of a channel."""

    channel: str


@dataclass(frozen=True, slots=True)
class Read:
    """Ask the broker for a page of the history; the answer goes to ``Core.page`` with the number."""

    number: int
    channel: str
    since: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Tell the broker that no stream waits for a page any more."""

    number: int


@dataclass(frozen=True, slots=True)
class ReportDropped:
    """Log that something arrived on a channel that is not delivered."""

    channel: str
    reason: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """Note when a revocation arrived, write it where it survives the hub, and call ``Core.revoke``."""

    revocation: Revocation
    is_live: bool


@dataclass(frozen=True, slots=True)
class CheckAll:
    """Call ``Core.check_all``: all revocations from before this hub are known now."""


@dataclass(frozen=True, slots=True)
class WarnRevocationsLost:
    """Log that the broker has lost revocations that it should have."""

    count: int


Action = (
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


@dataclass(slots=True)
class Counters:
    """What happened since the hub began."""

    events: int = 0
    deliveries: int = 0
    foreign_dropped: int = 0
    opened: int = 0
    resumed: int = 0
    resets: int = 0
    revoked: int = 0
    lost_runs: int = 0
