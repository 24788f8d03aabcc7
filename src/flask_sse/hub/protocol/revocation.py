"""Revocation: what an application publishes to end streams, for every hub of its broker. No I/O, no clock.

It is an event of a channel that no page can ask for, with a history of its own: a hub that lost its
connection reads on from its position, as it does with any other channel.

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

# The longest time for which a right is valid without another check, so how long a revocation is remembered.
REMEMBERED_SECONDS = 24 * 3600.0
HISTORY = History(size=10_000, seconds=REMEMBERED_SECONDS)
# No clock shows a later time (the year 5138); a number that is larger cannot be computed with.
MAX_AT_SECONDS = 1e11
_KEYS = {"subject", "channel", "reason", "at"}


@dataclass(frozen=True, slots=True)
class Revocation:
    """Which streams are to end.

    Attributes:
        subject: Those of this subject; ``None`` for those of all subjects.
        channel: Those that listen to this channel; ``None`` for those of any channel.
        reason: What their clients receive.
        at: When it was published, in seconds of the sender's wall clock: older tickets are revoked.
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
            raise InvalidMessageError("envelope", envelope[:80], "it is no revocation")
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
        """Tell whether it is about a stream over these channels, whenever that was opened."""
        return (
            grant.issued_at is not None
            and self.subject in (None, grant.subject)
            and (self.channel is None or self.channel in channels)
        )


@dataclass(frozen=True, slots=True)
class ReceivedRevocation:
    """A revocation as a hub received it.

    Attributes:
        revocation: The revocation.
        received_at: When the hub received it, in seconds of the wall clock of its machine.
        is_live: Whether it was published while a hub was there; ``False`` where a hub read it from the
            history or from its file when it began.
    """

    revocation: Revocation
    received_at: float
    is_live: bool

    def fields(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ReceivedRevocation:
        """Understand ``fields`` of another hub.

        Raises:
            ValueError: If they are none.
        """
        revocation = Revocation.of(fields.get("revocation"))
        received_at, is_live = fields.get("received_at"), fields.get("is_live")
        if revocation is None or not isinstance(received_at, float) or not isinstance(is_live, bool):
            raise ValueError("fields that are no revocation")
        return cls(revocation, received_at, is_live)
