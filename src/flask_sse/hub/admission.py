"""Admission: which streams the hub takes in, by whose they are and how many there are. No I/O, no clock."""

from __future__ import annotations

from collections import Counter, OrderedDict

from .control import STREAM_CHANNELS
from .dismissal import HISTORY, REMEMBERED_SECONDS, Dismissal
from .group import Member


class Admission:
    """Counts the streams of subjects and addresses, and remembers who was sent away.

    Attributes:
        refused: How many were refused, by what they were too many of.
    """

    def __init__(self) -> None:
        self.refused = {"subject": 0, "address": 0, "channels": 0, STREAM_CHANNELS: 0}
        self._subjects: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        # The last one for each subject and channel that was named; in the order in which they came.
        self._dismissals: OrderedDict[tuple[str | None, str | None], Dismissal] = OrderedDict()

    def refuses(self, member: Member) -> str:
        """Return what a new stream would be one too many of; empty if it may come in."""
        counts = {"subject": self._subjects, "address": self._addresses}
        for (what, name), most in member.limits.items():
            if counts[what][name] >= most:
                self.refused[what] += 1
                return what
        return ""

    def dismissal_of(self, member: Member) -> Dismissal | None:
        """Return the order that makes the right of a new stream worthless; ``None`` if there is none."""
        for subject in {None, member.claim.subject}:
            for channel in (None, *member.channels):
                dismissal = self._dismissals.get((subject, channel))
                if dismissal is not None and dismissal.concerns(member.claim, member.channels):
                    return dismissal
        return None

    def enter(self, member: Member) -> None:
        """Count a stream in."""
        for counts, name in self._counts(member):
            counts[name] += 1

    def leave(self, member: Member) -> None:
        """Count a stream out."""
        for counts, name in self._counts(member):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]

    def _counts(self, member: Member) -> list[tuple[Counter[str], str]]:
        named = ((self._subjects, member.claim.subject), (self._addresses, member.claim.address))
        return [(counts, name) for counts, name in named if name is not None]

    def remember(self, dismissal: Dismissal) -> None:
        """Note that rights found out before are worth nothing."""
        key = (dismissal.subject, dismissal.channel)
        earlier = self._dismissals.pop(key, dismissal)
        self._dismissals[key] = max(earlier, dismissal, key=lambda each: each.at)
        while len(self._dismissals) > HISTORY.size or self._first_is_over(dismissal.at):
            self._dismissals.popitem(last=False)

    def _first_is_over(self, now: float) -> bool:
        return next(iter(self._dismissals.values())).at < now - REMEMBERED_SECONDS
