"""Admission: which streams the hub takes in, by whose they are and how many there are. No I/O, no clock."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable
from typing import NamedTuple

from ..protocol.requests import STREAM_CHANNELS
from ..protocol.revocation import HISTORY, REMEMBERED_SECONDS, Arrival, Revocation
from .groups import Subscriber
from .idle_channels import Owner

# How long a request takes at most from the check of its right until its stream reaches the hub. A clock that
# says more was set meanwhile, and what it says is not believed.
MAX_REQUEST_SECONDS = 600.0

_Key = tuple[str | None, str | None]


class Verdict(NamedTuple):
    """A stream that a revocation names may not be open.

    Attributes:
        reason: What its page is told.
        is_final: Whether the page is not to come back. Otherwise it is not known whether its right is older
            than the revocation, so that it is to reconnect, and the application checks the right again.
    """

    reason: str
    is_final: bool


class _Latest:
    """What all revocations with the same subject and channel amount to."""

    __slots__ = ("arrived_at", "at", "count", "is_news", "reason")

    def __init__(self) -> None:
        self.count = 0
        self.at = 0.0
        self.arrived_at = 0.0
        self.is_news = False
        self.reason = ""

    def add(self, arrival: Arrival) -> None:
        self.count += 1
        # A sender whose clock is ahead revokes tickets for no longer than any ticket lives.
        self.at = max(self.at, min(arrival.revocation.at, arrival.arrived_at + REMEMBERED_SECONDS))
        self.arrived_at = max(self.arrived_at, arrival.arrived_at)
        self.is_news = self.is_news or arrival.is_news
        self.reason = arrival.revocation.reason

    def verdict(self, issued_at: float, *, by_ticket: bool) -> Verdict | None:
        is_older = issued_at <= self.at
        if by_ticket:
            return Verdict(self.reason, is_final=True) if is_older else None
        if not 0 <= self.arrived_at - issued_at <= MAX_REQUEST_SECONDS:
            return None
        if self.is_news:
            return Verdict(self.reason, is_final=is_older)
        # It came before this hub began, so that only clocks can tell, and they may be wrong.
        return Verdict(self.reason, is_final=False) if is_older else None


class Admission:
    """Counts the streams of subjects and addresses, and remembers revocations.

    Attributes:
        rejected: How many streams were rejected, by the limit that they exceeded.
    """

    def __init__(self) -> None:
        self.rejected = {"subject": 0, "address": 0, "channels": 0, STREAM_CHANNELS: 0, "reads": 0}
        self._subjects: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._relayed: dict[Owner, set[Subscriber]] = {}
        # In the order in which they came; by number alone, so that no clock makes the hub forget one.
        self._arrivals: OrderedDict[Revocation, Arrival] = OrderedDict()
        self._latest: dict[_Key, _Latest] = {}

    def exceeded_by(self, subscriber: Subscriber) -> Owner | None:
        """Return whose streams a new one would be one too many of; ``None`` if it may come in."""
        counts = {"subject": self._subjects, "address": self._addresses}
        for owner, most in subscriber.limits.items():
            what, name = owner
            if counts[what][name] >= most:
                return owner
        return None

    def relayed_of(self, owner: Owner) -> Collection[Subscriber]:
        """Return those of the streams of a subject or address that are relayed and have a limit."""
        return self._relayed.get(owner, ())

    def enter(self, subscriber: Subscriber) -> None:
        """Count a stream in."""
        if subscriber.is_relayed:
            for owner in subscriber.limits:
                self._relayed.setdefault(owner, set()).add(subscriber)
        for counts, name in self._counts(subscriber):
            counts[name] += 1

    def leave(self, subscriber: Subscriber) -> None:
        """Count a stream out."""
        if subscriber.is_relayed:
            for owner in subscriber.limits:
                self._relayed[owner].discard(subscriber)
                if not self._relayed[owner]:
                    del self._relayed[owner]
        for counts, name in self._counts(subscriber):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]

    def _counts(self, subscriber: Subscriber) -> list[tuple[Counter[str], str]]:
        named = ((self._subjects, subscriber.grant.subject), (self._addresses, subscriber.grant.address))
        return [(counts, name) for counts, name in named if name is not None]

    # -- revocations ---------------------------------------------------------------------------

    @property
    def arrivals(self) -> Iterable[Arrival]:
        """All revocations that are remembered, the earliest first."""
        return self._arrivals.values()

    def knows(self, revocation: Revocation) -> bool:
        """Tell whether a revocation came before: the broker may bring one several times."""
        return revocation in self._arrivals

    def remember(self, arrival: Arrival) -> None:
        """Note a revocation that is not known yet."""
        revocation = arrival.revocation
        self._arrivals[revocation] = arrival
        self._latest.setdefault((revocation.subject, revocation.channel), _Latest()).add(arrival)
        if len(self._arrivals) > HISTORY.size:
            first, _ = self._arrivals.popitem(last=False)
            key = (first.subject, first.channel)
            self._latest[key].count -= 1
            if not self._latest[key].count:
                del self._latest[key]

    def verdict(self, subscriber: Subscriber) -> Verdict | None:
        """Return what revocations that came earlier say of a stream; ``None`` if it may be open."""
        grant = subscriber.grant
        if grant.issued_at is None:
            return None
        verdicts = []
        for subject in {None, grant.subject}:
            for channel in (None, *subscriber.channels):
                latest = self._latest.get((subject, channel))
                if latest is not None:
                    verdicts.append(latest.verdict(grant.issued_at, by_ticket=grant.by_ticket))
        return max(filter(None, verdicts), key=lambda verdict: verdict.is_final, default=None)
