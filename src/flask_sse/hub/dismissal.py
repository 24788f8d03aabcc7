"""Dismissal: an order of an application to end streams, on its way through the broker to every hub.

It is an event of a channel that no page can ask for, with a history of its own: a hub that lost its
connection reads on from where it was, as it does with any other channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidMessageError
from ..settings import History
from ..wire.envelope import pack, unpack
from ..wire.message import Message
from .claim import Claim

# How long a right lasts at most that nobody looks at again, so how long an order must be remembered.
REMEMBERED_SECONDS = 24 * 3600.0
HISTORY = History(size=10_000, seconds=REMEMBERED_SECONDS)
_KEYS = {"subject", "channel", "reason", "at"}


@dataclass(frozen=True, slots=True)
class Dismissal:
    """Which streams are to end.

    Attributes:
        subject: Those of this subject; ``None`` for those of everybody.
        channel: Those that listen to this channel; ``None`` for those of any.
        reason: What their pages are told.
        at: When it was ordered, in seconds of the wall clock: rights found out before are worth nothing.
    """

    subject: str | None
    channel: str | None
    reason: str
    at: float

    def envelope(self) -> bytes:
        """Return what the broker carries."""
        fields = {"subject": self.subject, "channel": self.channel, "reason": self.reason, "at": self.at}
        return pack(Message(fields))

    @classmethod
    def read(cls, envelope: bytes) -> Dismissal:
        """Understand what the broker brings.

        Raises:
            InvalidMessageError: If it is none.
        """
        data = unpack(envelope).data
        texts_are_right = isinstance(data, dict) and data.keys() == _KEYS and isinstance(data["reason"], str)
        if not (
            texts_are_right
            and all(data[name] is None or isinstance(data[name], str) for name in ("subject", "channel"))
            and (data["subject"] is not None or data["channel"] is not None)
            and type(data["at"]) in (int, float)
        ):
            raise InvalidMessageError("envelope", envelope[:80], "it orders nothing that can be done")
        return cls(**data)

    def concerns(self, claim: Claim, channels: Sequence[str]) -> bool:
        """Tell whether a stream over these channels is to end; one that was let in later is not."""
        return (
            claim.issued_at is not None
            and claim.issued_at <= self.at
            and self.subject in (None, claim.subject)
            and (self.channel is None or self.channel in channels)
        )
