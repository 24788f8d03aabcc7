"""Sequencer: the events of one channel in order, with a report of each gap. No I/O, no clock.

Rules of this file: the broker's connection may lose, repeat and reorder events; only the link from each event
to the one before it proves their order. What does not fit is held while the history is read from the last
known position, and then delivered in its place. Names of the races (R1, R2, ...) are those of the design.

An event without a stamp (a channel without history, or a publisher that keeps none, such as 1.0) has no
place in the history: it is delivered when it arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...brokers.base import Page
from ...wire.cursor import EARLIEST, FROM_NOW, Cursor, Stamp, order

# The most that is held of one channel; beyond that it is dropped, and read again.
MAX_HELD_EVENTS = 1000
MAX_HELD_BYTES = 4 * 1024 * 1024

NEW_EPOCH = "the history began again"
NOT_KEPT = "the history does not reach back so far"
FOREIGN = "it is not of this history"
TOO_MANY = "too many arrived while the history was read"


class OrderedEvent(NamedTuple):
    """An event in its place; ``cursor`` is ``None`` where it has no place in the history."""

    cursor: Cursor | None
    envelope: bytes


class Gap(NamedTuple):
    """Events may be missing between two positions."""

    reason: str
    since: Cursor
    to: Cursor


class Dropped(NamedTuple):
    """Something arrived that is not delivered."""

    reason: str
    events: int


Step = OrderedEvent | Gap | Dropped


class Sequencer:
    """Puts the events of one channel in order.

    Args:
        position: Up to where all is delivered; ``None`` if that is not known.
        begin: Where to begin then: with what is published from now on, or with the earliest event that is
            kept. In the latter case a gap is read from there as well: no reader can fetch the state that the
            events lead to, so all that is kept is needed.

    Attributes:
        position: Behind the last event that was taken; ``None`` until it is known.
    """

    def __init__(self, position: Cursor | None = None, begin: str = FROM_NOW) -> None:
        self.position = position
        self._begin = begin
        self._held: list[tuple[Stamp | None, bytes]] = []
        self._held_bytes = 0
        self._asked = ""
        self._reading = False
        self._again = False
        # How many of those that are held arrived before the read was asked for: its answer has them, if
        # they are of this history at all.
        self._answerable = 0

    @property
    def is_current(self) -> bool:
        """Whether an event is delivered as soon as it arrives."""
        return self.position is not None and not self._reading

    @property
    def must_read(self) -> bool:
        """Whether ``catch_up`` is to be called: something does not fit, or more follows."""
        return not self._reading and (self._again or bool(self._held))

    def catch_up(self) -> str | None:
        """Begin to read; return from where, or ``None`` if a read is on its way."""
        if self._reading:
            # It was asked for before the reason to ask came up, so its answer may be too old.
            self._again = True
            return None
        self._reading = True
        self._again = False
        self._answerable = len(self._held)
        self._asked = str(self.position or self._begin)
        return self._asked

    def follow(self, stamp: Stamp) -> bool:
        """Take an event that links to the last one, as nearly all do; ``False`` if it does not."""
        if self._reading or not self._follows(stamp):
            return False
        self.position = stamp.cursor
        return True

    def live(self, stamp: Stamp | None, envelope: bytes) -> Iterator[Step]:
        """Take an event from the broker's connection; look at ``must_read`` afterwards."""
        if self.is_current:
            yield from self._take(stamp, envelope)
        else:
            yield from self._hold(stamp, envelope)

    def page(self, page: Page) -> Iterator[Step]:
        """Take the answer to a read; look at ``must_read`` afterwards."""
        self._reading = False
        if self.position is None:
            self.position = Cursor(page.epoch, page.top if page.since is None else page.since)
        if page.epoch == self.position.epoch and page.is_proven:
            for entry in page.entries:
                self.position = Cursor(page.epoch, entry.id)
                yield OrderedEvent(self.position, entry.envelope)
            if not page.complete:
                self._again = True
                return
        else:
            yield from self._cross_gap(page, self.position)
            if self._again:
                return
        yield from self._take_held()

    def _cross_gap(self, page: Page, since: Cursor) -> Iterator[Step]:
        self.position = Cursor(page.epoch, page.top)
        yield Gap(NOT_KEPT if page.epoch == since.epoch else NEW_EPOCH, since, self.position)
        if self._begin != EARLIEST:
            return
        if self._asked != EARLIEST:
            self.position, self._again = None, True
            return
        # Already from the beginning: what is there is taken, whatever is missing in between.
        for entry in page.entries:
            yield OrderedEvent(Cursor(page.epoch, entry.id), entry.envelope)
        self.position, self._again = page.end, not page.complete

    def _take_held(self) -> Iterator[Step]:
        held, self._held, self._held_bytes = self._held, [], 0
        for number, (stamp, envelope) in enumerate(held):
            if self._held:
                yield from self._hold(stamp, envelope)
            elif number < self._answerable and stamp and not (self._is_known(stamp) or self._follows(stamp)):
                yield Dropped(FOREIGN, 1)
            else:
                yield from self._take(stamp, envelope)

    def _take(self, stamp: Stamp | None, envelope: bytes) -> Iterator[Step]:
        if stamp is None:
            yield OrderedEvent(None, envelope)
        elif self._follows(stamp):
            self.position = stamp.cursor
            yield OrderedEvent(self.position, envelope)
        elif self._is_known(stamp):
            return  # a page had it already (R2)
        else:
            yield from self._hold(stamp, envelope)

    def _is_known(self, stamp: Stamp) -> bool:
        position = self.position
        return position is not None and (
            stamp.epoch == position.epoch and order(stamp.id) <= order(position.id)
        )

    def _follows(self, stamp: Stamp) -> bool:
        return self.position == (stamp.epoch, stamp.previous)

    def _hold(self, stamp: Stamp | None, envelope: bytes) -> Iterator[Step]:
        self._held.append((stamp, envelope))
        self._held_bytes += len(envelope)
        if len(self._held) > MAX_HELD_EVENTS or self._held_bytes > MAX_HELD_BYTES:
            # The next page has all of them but those without a stamp.
            lost = sum(stamp is None for stamp, _ in self._held)
            self._held, self._held_bytes, self._answerable = [], 0, 0
            self._again = True
            if lost:
                yield Dropped(TOO_MANY, lost)
