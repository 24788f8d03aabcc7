"""History reads: pages on their way, and pages that were just read (single flight). No I/O, no clock.

Many clients reconnect at once and name the same position. They share one read, and a client that connects a
moment later gets the page that is still here. The history may be longer by now: what the page has is true
nevertheless, and the stream reads on from its end. A page that reports a gap, or was found by anything but a
cursor, may be wrong a moment later and is not kept; one that has what the history has lost is dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile
from typing import Generic

from ...wire.cursor import Cursor, order, read_cursor
from .actions import Read
from .resume import Replay
from .subscriber import S

KEPT_PAGES = 32
KEPT_SECONDS = 5.0


class HistoryRead(Generic[S]):
    """A read that was asked for, and the streams that wait for it; none where the channel itself does.

    Attributes:
        number: Names its answer.
    """

    def __init__(self, number: int, channel: str, since: str) -> None:
        self.number = number
        self.channel = channel
        self.since = since
        self.subscribers: set[S] = set()

    @property
    def action(self) -> Read:
        """The action that asks the broker for it."""
        return Read(self.number, self.channel, self.since)


class HistoryReads(Generic[S]):
    """All reads of one hub."""

    def __init__(self) -> None:
        self._awaited: dict[int, HistoryRead[S]] = {}
        self._shared: dict[tuple[str, str], HistoryRead[S]] = {}
        self._recent: OrderedDict[tuple[str, str], tuple[Replay, float]] = OrderedDict()
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._awaited) + len(self._recent)

    def start(self, channel: str, since: str) -> HistoryRead[S]:
        """Start a read for a channel, or for its run."""
        self._last_number += 1
        read = self._awaited[self._last_number] = HistoryRead(self._last_number, channel, since)
        return read

    def share(self, channel: str, since: str) -> tuple[HistoryRead[S], bool]:
        """Return the read for all streams that resume at a position, and whether it has just been started."""
        read = self._shared.get((channel, since))
        if read is not None:
            return read, False
        read = self._shared[channel, since] = self.start(channel, since)
        return read, True

    @property
    def awaited(self) -> int:
        """How many answers are awaited."""
        return len(self._awaited)

    def channel_of(self, number: int) -> str | None:
        """Return which channel a read is about; ``None`` if its answer is not awaited."""
        read = self._awaited.get(number)
        return read.channel if read is not None else None

    def leave(self, number: int, subscriber: S) -> bool:
        """Forget a stream that waits for a read; return whether it was the last one."""
        read = self._awaited[number]
        read.subscribers.discard(subscriber)
        if read.subscribers:
            return False
        self.finish(number)
        return True

    def finish(self, number: int) -> HistoryRead[S]:
        """Remove and return a read that is answered, or whose answer is not awaited any more."""
        read = self._awaited.pop(number)
        if self._shared.get((read.channel, read.since)) is read:
            del self._shared[read.channel, read.since]
        return read

    def drop_beyond(self, channel: str, top: Cursor) -> None:
        """Drop pages that reach beyond the end of the history: it was set back or began again."""
        for key, (replay, _) in list(self._recent.items()):
            end = replay.end
            if key[0] == channel and (end.epoch != top.epoch or order(end.id) > order(top.id)):
                del self._recent[key]

    def keep(self, replay: Replay, now: float) -> None:
        """Keep a page for streams that connect a moment later."""
        if replay.gap or not replay.events or read_cursor(replay.since) is None:
            return
        self._recent[replay.channel, replay.since] = (replay, now)
        if len(self._recent) > KEPT_PAGES:
            self._recent.popitem(last=False)

    def recent(self, channel: str, since: str) -> Replay | None:
        """Return the page that follows a position, if it has just been read."""
        replay, _ = self._recent.get((channel, since), (None, 0.0))
        return replay

    def drop_old(self, now: float) -> None:
        """Drop pages that clients of the same storm have read by now."""
        old = takewhile(lambda kept: now - kept[1][1] >= KEPT_SECONDS, self._recent.items())
        for key, _ in list(old):
            del self._recent[key]
