"""Admission: limits by subject and address, and streams beyond a limit on probation. No I/O, no clock.

The web server of a relayed stream learns that its client has left when it writes to it, and the hub learns it
from the web server. So a page that reloads would be rejected because of its own old stream. Such a stream
waits for a moment, *on probation*, while the hub writes comments to the relayed streams that count against
its limit: the web server of a page that has left ends the stream at the second comment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Generic

from ..protocol.requests import STREAM_CHANNELS
from .subscriber import Owner, S

# A few probes, one per tick.
PROBATION_SECONDS = 2.0


class Admission(Generic[S]):
    """Counts the streams of subjects and addresses.

    Attributes:
        rejected: How many streams were rejected, by the limit that they exceeded.
        probation: Streams beyond a limit that wait.
    """

    def __init__(self) -> None:
        self.rejected = {"subject": 0, "address": 0, "channels": 0, STREAM_CHANNELS: 0, "reads": 0}
        self._subjects: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self.probation: Probation[S] = Probation()
        self._relayed: dict[Owner, set[S]] = {}

    def exceeded_by(self, subscriber: S) -> Owner | None:
        """Return the owner whose limit a new stream would exceed; ``None`` if it may be opened."""
        counts = {"subject": self._subjects, "address": self._addresses}
        for owner, most in subscriber.limits.items():
            what, name = owner
            if counts[what][name] >= most:
                return owner
        return None

    def relayed_of(self, owner: Owner) -> Collection[S]:
        """Return the relayed streams that count against the limit of a subject or address."""
        return self._relayed.get(owner, ())

    def may_wait(self, subscriber: S, owner: Owner) -> bool:
        """Tell whether a stream beyond a limit may wait: a relayed stream may be of a page that has left."""
        has_room = self.probation.has_room(owner, subscriber.limits[owner])
        return has_room and bool(self.relayed_of(owner))

    def streams_to_probe(self) -> set[S]:
        """Return the relayed streams because of which others wait."""
        owners = {owner for subscriber in self.probation for owner in subscriber.limits}
        return {each for owner in owners for each in self.relayed_of(owner)}

    def add(self, subscriber: S) -> None:
        """Count one more stream."""
        if subscriber.is_relayed:
            for owner in subscriber.limits:
                self._relayed.setdefault(owner, set()).add(subscriber)
        for counts, name in self._counts(subscriber):
            counts[name] += 1

    def remove(self, subscriber: S) -> None:
        """Count one stream less."""
        if subscriber.is_relayed:
            for owner in subscriber.limits:
                self._relayed[owner].discard(subscriber)
                if not self._relayed[owner]:
                    del self._relayed[owner]
        for counts, name in self._counts(subscriber):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]

    def _counts(self, subscriber: S) -> list[tuple[Counter[str], str]]:
        named = ((self._subjects, subscriber.grant.subject), (self._addresses, subscriber.grant.address))
        return [(counts, name) for counts, name in named if name is not None]


class Probation(Generic[S]):
    """Streams that wait, by the subject or address whose limit they exceed."""

    def __init__(self) -> None:
        self._waiting: dict[Owner, dict[S, float]] = {}
        self._owners: dict[S, Owner] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def __iter__(self) -> Iterator[S]:
        return iter(tuple(self._owners))

    def has_room(self, owner: Owner, most: int) -> bool:
        """Tell whether one more stream may wait: no more may wait than may be open."""
        return len(self._waiting.get(owner, ())) < most

    def add(self, subscriber: S, owner: Owner, now: float) -> None:
        """Let a stream wait."""
        self._waiting.setdefault(owner, {})[subscriber] = now + PROBATION_SECONDS
        self._owners[subscriber] = owner

    def remove(self, subscriber: S) -> bool:
        """Let a stream wait no more; return whether it did."""
        owner = self._owners.pop(subscriber, None)
        if owner is None:
            return False
        del self._waiting[owner][subscriber]
        if not self._waiting[owner]:
            del self._waiting[owner]
        return True

    def is_over(self, subscriber: S, now: float) -> bool:
        """Tell whether a stream that waits has waited long enough."""
        return self._waiting[self._owners[subscriber]][subscriber] <= now
