"""Revocation: an application takes rights away, on its way through the broker to every hub.

It is an event of a channel that no page can ask for, with a history of its own: a hub that lost its
connection reads on from where it was, as it does with any other channel.

Rules of this file: a revocation ends all streams that it names and that a hub holds when it arrives, whatever
any clock says. For streams that come later it is compared by the clock of the machine that the hub shares
with its applications. The clock of the revocation's sender decides on tickets, which may come from another
machine. Where a hub began after the revocation it decides which rights are to be checked again, and ends no
stream for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...errors import InvalidMessageError
from ...settings import History
from ...wire.envelope import pack, unpack
from ...wire.message import Message
from .grant import Grant

# How long a right lasts at most that nobody looks at again, so how long an order must be remembered.
REMEMBERED_SECONDS = 24 * 3600.0
HISTORY = History(size=10_000, seconds=REMEMBERED_SECONDS)
# No clock shows a later time (the year 5138); a number that is larger cannot be computed with.
MAX_AT_SECONDS = 1e11
_KEYS = {"subject", "channel", "reason", "at"}


@dataclass(frozen=True, slots=True)
class Revocation:
    """Which streams are to end.

    Attributes:
        subject: Those of this subject; ``None`` for those of everybody.
        channel: Those that listen to this channel; ``None`` for those of any.
        reason: What their pages are told.
        at: When it was ordered, in seconds of the sender's wall clock: older tickets are revoked.
    """

    subject: str | None
    channel: str | None
    reason: str
    at: float

    def envelope(self) -> bytes:
        """Return what the broker carries."""
        return pack(Message(asdict(self)))

    @classmethod
    def read(cls, envelope: bytes) -> Revocation:
        """Understand what the broker brings.

        Raises:
            InvalidMessageError: If it is none.
        """
        revocation = cls.of(unpack(envelope).data)
        if revocation is None:
            raise InvalidMessageError("envelope", envelope[:80], "it orders nothing that can be done")
        return revocation

    @classmethod
    def of(cls, data: Any) -> Revocation | None:
        """Return the revocation that a JSON value is; ``None`` if it is none."""
        texts_are_right = isinstance(data, dict) and data.keys() == _KEYS and isinstance(data["reason"], str)
        if not (
            texts_are_right
            and all(data[name] is None or isinstance(data[name], str) for name in ("subject", "channel"))
            and (data["subject"] is not None or data["channel"] is not None)
            and type(data["at"]) in (int, float)
            and 0 <= data["at"] <= MAX_AT_SECONDS
        ):
            return None
        return cls(**{**data, "at": float(data["at"])})

    def names(self, grant: Grant, channels: Sequence[str]) -> bool:
        """Tell whether it is about a stream over these channels, whenever that was let in."""
        return (
            grant.issued_at is not None
            and self.subject in (None, grant.subject)
            and (self.channel is None or self.channel in channels)
        )


@dataclass(frozen=True, slots=True)
class Arrival:
    """A revocation as a hub got it.

    Attributes:
        revocation: What it says.
        arrived_at: When the hub got it, in seconds of the wall clock of its machine.
        is_news: Whether it was published while a hub was there; not, where a hub found it in the history or
            in its file when it began.
    """

    revocation: Revocation
    arrived_at: float
    is_news: bool

    def fields(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Arrival:
        """Understand ``fields`` of another hub.

        Raises:
            ValueError: If they are none.
        """
        revocation = Revocation.of(fields.get("revocation"))
        arrived_at, is_news = fields.get("arrived_at"), fields.get("is_news")
        if revocation is None or not isinstance(arrived_at, float) or not isinstance(is_news, bool):
            raise ValueError("fields that are no revocation")
        return cls(revocation, arrived_at, is_news)
