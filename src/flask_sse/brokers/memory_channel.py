"""One channel of the history in memory: its kept events, in their order, and the ids that lead to them.

No I/O, no clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from ..wire.cursor import BEFORE_ALL, EARLIEST, FROM_NOW, order, read_cursor
from .base import PAGE_BYTES, PAGE_EVENTS, Entry, Page

# What an entry takes beside its envelope.
ENTRY_BYTES = 500


class KeptEvent(NamedTuple):
    """One event, and when it expires, in seconds of the wall clock."""

    entry: Entry
    own_id: str | None
    expires_at: float

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.entry.envelope) + ENTRY_BYTES


class _KeptEvents:
    """Kept events in their order.

    Each is found by binary search, as in a list, and the first one is removed in constant time, as from a
    deque, which has no search by position: removed ones leave ``None`` until they are half of the list.
    """

    def __init__(self) -> None:
        self._events: list[KeptEvent | None] = []
        self._first = 0

    def __len__(self) -> int:
        return len(self._events) - self._first

    def __iter__(self) -> Iterator[KeptEvent]:
        return self._from(self._first)

    def _from(self, number: int) -> Iterator[KeptEvent]:
        while number < len(self._events):
            kept = self._events[number]
            if kept is not None:
                yield kept
            number += 1

    @property
    def first(self) -> KeptEvent:
        return next(iter(self))

    def append(self, kept: KeptEvent) -> None:
        self._events.append(kept)

    def popleft(self) -> KeptEvent:
        first = self.first
        self._events[self._first] = None
        self._first += 1
        if self._first > len(self._events) // 2:
            del self._events[: self._first]
            self._first = 0
        return first

    def behind(self, position: tuple[int, int]) -> Iterator[KeptEvent]:
        """Yield what follows a position."""
        return self._from(bisect_right(self._events, position, lo=self._first, key=_order_of))


def _order_of(kept: KeptEvent | None) -> tuple[int, int]:
    return order(kept.entry.id) if kept is not None else (0, 0)


class MemoryChannel:
    """What is kept of one channel.

    Attributes:
        name: Its name.
        epoch: Of its history.
        top: The id of the last event of all.
        kept: The events that are kept.
        forgotten_at: When the channel itself is removed, if it has no events then.
        slot: The slot of time in which it is looked at again; ``None`` for none.
        place: The channels among which it waits to make room; ``None`` if it never does.
    """

    def __init__(self, name: str, epoch: str) -> None:
        self.name = name
        self.epoch = epoch
        self.top = BEFORE_ALL
        self.kept = _KeptEvents()
        self.forgotten_at = 0.0
        self.slot: int | None = None
        self.place: OrderedDict[str, MemoryChannel] | None = None
        # How many of the kept events have an id, and which one it is, if it is the only one: of two with the
        # same id it is not known which one a client has seen.
        self._own_ids: dict[str, tuple[int, str | None]] = {}

    def keep(self, event: KeptEvent) -> None:
        """Keep an event behind all others."""
        self.kept.append(event)
        if event.own_id is not None:
            count, _ = self._own_ids.get(event.own_id, (0, None))
            self._own_ids[event.own_id] = (count + 1, None if count else event.entry.id)

    def drop_first(self) -> KeptEvent:
        """Remove the oldest event and return it."""
        event = self.kept.popleft()
        if event.own_id is not None:
            count, only = self._own_ids.pop(event.own_id)
            if count > 1:
                self._own_ids[event.own_id] = (count - 1, only)
        return event

    def page(self, since: str) -> Page:
        """Return what follows ``since``, as ``BrokerFeed.read`` promises it."""
        start = self._start(since)
        if start is None or since == FROM_NOW:
            return Page(self.epoch, self.top, start, (), complete=True)
        entries: list[Entry] = []
        size = 0
        for event in self.kept.behind(order(start)):
            if len(entries) == PAGE_EVENTS or size > PAGE_BYTES:
                return Page(self.epoch, self.top, start, entries, complete=False)
            entries.append(event.entry)
            size += len(event.entry.envelope)
        return Page(self.epoch, self.top, start, entries, complete=True)

    def _start(self, since: str) -> str | None:
        if since == FROM_NOW:
            return self.top
        if since == EARLIEST:
            return self.kept.first.entry.previous if self.kept else self.top
        cursor = read_cursor(since)
        if cursor is not None:
            return cursor.id if cursor.epoch == self.epoch else None
        return self._own_ids.get(since, (0, None))[1]
