"""Pages of the history: which are on their way, for whom, and which have just been read. No I/O, no clock.

Many clients come back at once and name the same position. They share one read, and who comes a moment later
gets the page that is still here. It may be older than the history is now: what it has is true nevertheless,
and the stream reads on from its end. A page that tells of a gap, or was found by anything but a cursor, may
be wrong a moment later and is not kept; one that has what the history has lost is not kept any longer.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile
from typing import Generic

from ...wire.cursor import Cursor, order, read_cursor
from .actions import Read
from .groups import M
from .resume import Replay

KEPT_PAGES = 32
KEPT_SECONDS = 5.0


class HistoryRead(Generic[M]):
    """A read that was asked for, and the streams that wait for it; none where the channel itself does.

    Attributes:
        number: Names its answer.
    """

    def __init__(self, number: int, channel: str, since: str) -> None:
        self.number = number
        self.channel = channel
        self.since = since
        self.subscribers: set[M] = set()

    @property
    def order(self) -> Read:
        """What asks the broker for it."""
        return Read(self.number, self.channel, self.since)


class HistoryReads(Generic[M]):
    """All reads of one hub."""

    def __init__(self) -> None:
        self._awaited: dict[int, HistoryRead[M]] = {}
        self._shared: dict[tuple[str, str], HistoryRead[M]] = {}
        self._recent: OrderedDict[tuple[str, str], tuple[Replay, float]] = OrderedDict()
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._awaited) + len(self._recent)

    def begin(self, channel: str, since: str) -> HistoryRead[M]:
        """Begin to read for a channel."""
        self._last_number += 1
        reading = self._awaited[self._last_number] = HistoryRead(self._last_number, channel, since)
        return reading

    def share(self, channel: str, since: str) -> tuple[HistoryRead[M], bool]:
        """Return the read that streams wait for which go on from there, and whether it has only begun."""
        reading = self._shared.get((channel, since))
        if reading is not None:
            return reading, False
        reading = self._shared[channel, since] = self.begin(channel, since)
        return reading, True

    @property
    def awaited(self) -> int:
        """How many answers are awaited."""
        return len(self._awaited)

    def channel_of(self, number: int) -> str | None:
        """Return which channel a read is about; ``None`` if its answer is not awaited."""
        reading = self._awaited.get(number)
        return reading.channel if reading is not None else None

    def leave(self, number: int, subscriber: M) -> bool:
        """Forget a stream that waits for a read; return whether no other does, and the read is over."""
        reading = self._awaited[number]
        reading.subscribers.discard(subscriber)
        if reading.subscribers:
            return False
        self.end(number)
        return True

    def end(self, number: int) -> HistoryRead[M]:
        """Take a read that is answered, or whose answer is not awaited any more."""
        reading = self._awaited.pop(number)
        if self._shared.get((reading.channel, reading.since)) is reading:
            del self._shared[reading.channel, reading.since]
        return reading

    def forget_lost(self, channel: str, top: Cursor) -> None:
        """Let go of pages that reach beyond the end of the history: it was set back or began anew."""
        for key, (replay, _) in list(self._recent.items()):
            end = replay.end
            if key[0] == channel and (end.epoch != top.epoch or order(end.id) > order(top.id)):
                del self._recent[key]

    def keep(self, replay: Replay, now: float) -> None:
        """Keep a page for streams that come a moment later."""
        if replay.gap or not replay.events or read_cursor(replay.since) is None:
            return
        self._recent[replay.channel, replay.since] = (replay, now)
        if len(self._recent) > KEPT_PAGES:
            self._recent.popitem(last=False)

    def recent(self, channel: str, since: str) -> Replay | None:
        """Return the page that follows a position, if it has just been read."""
        replay, _ = self._recent.get((channel, since), (None, 0.0))
        return replay

    def forget_old(self, now: float) -> None:
        """Let go of pages for which nobody is likely to come any more."""
        old = takewhile(lambda kept: now - kept[1][1] >= KEPT_SECONDS, self._recent.items())
        for key, _ in list(old):
            del self._recent[key]
