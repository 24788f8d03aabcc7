"""A broker that is only a list for each channel: the truth beside which the hub's order is checked.

It never forgets which event followed which, also where the history it keeps is trimmed, lost or set back.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from flask_sse.brokers.base import Entry, Page
from flask_sse.wire.cursor import BEFORE_ALL, EARLIEST, FROM_NOW, Cursor, Stamp, order, read_cursor
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message

# What no message is.
UNREADABLE = b"\xff none"
PAGE_EVENTS = 2


class Published(NamedTuple):
    """One event: what the connection of a hub would carry of it."""

    channel: str
    stamp: Stamp | None
    envelope: bytes


class _Channel:
    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.top = BEFORE_ALL
        self.kept: list[Entry] = []
        # An id that was given twice belongs to no event, also when one of the two is trimmed.
        self.own_ids: dict[str, str | None] = {}


class ModelBroker:
    """Keeps the history of channels as brokers do.

    Args:
        page_events: Events of one page.
    """

    def __init__(self, page_events: int = PAGE_EVENTS) -> None:
        self._page_events = page_events
        self._epochs = (f"epoch{''.join(letters)}" for letters in itertools.product("abcdefgh", repeat=3))
        self._numbers = itertools.count()
        self._channels: dict[str, _Channel] = {}
        self._previous: dict[tuple[str, Cursor], Cursor] = {}
        self._beginnings: set[tuple[str, Cursor]] = set()
        self._unreadable: set[tuple[str, Cursor]] = set()
        self._own_ids: dict[tuple[str, str], list[Cursor]] = {}
        self._published: dict[int, Published] = {}

    # -- what a broker does ----------------------------------------------------------------------

    def publish(
        self, channel: str, *, own_id: str | None = None, stamped: bool = True, readable: bool = True
    ) -> Published:
        """Publish an event, whose data is a number that no other has.

        Args:
            channel: Where.
            own_id: The id that the application gives it.
            stamped: Whether the history has it; that of a publisher of 1.0 is not stamped.
            readable: Whether it is an event at all.
        """
        number = next(self._numbers)
        envelope = pack(Message(number, id=own_id)) if readable else UNREADABLE
        stamp = self._keep(channel, number, envelope, own_id) if stamped else None
        if stamp is not None and not readable:
            self._unreadable.add((channel, stamp.cursor))
        published = self._published[number] = Published(channel, stamp, envelope)
        return published

    def _keep(self, name: str, number: int, envelope: bytes, own_id: str | None) -> Stamp:
        channel = self._channel(name)
        # Ids of which the text and the number are ordered differently.
        stamp = Stamp(channel.epoch, f"{8 + number // 4}-{8 + number % 4}", channel.top)
        channel.kept.append(Entry(stamp.id, stamp.previous, envelope))
        channel.top = stamp.id
        self._previous[name, stamp.cursor] = Cursor(stamp.epoch, stamp.previous)
        if own_id is not None:
            channel.own_ids[own_id] = None if own_id in channel.own_ids else stamp.id
            self._own_ids.setdefault((name, own_id), []).append(stamp.cursor)
        return stamp

    def read(self, name: str, since: str) -> Page:
        """Return a page, as ``BrokerFeed.read`` promises it."""
        channel = self._channel(name)
        start = self._start(channel, since)
        if start is None:
            return Page(channel.epoch, channel.top, None, (), complete=True)
        follow = [entry for entry in channel.kept if order(entry.id) > order(start)]
        page = follow[: self._page_events]
        return Page(channel.epoch, channel.top, start, page, complete=len(page) == len(follow))

    def _start(self, channel: _Channel, since: str) -> str | None:
        if since == FROM_NOW:
            return channel.top
        if since == EARLIEST:
            return channel.kept[0].previous if channel.kept else channel.top
        cursor = read_cursor(since)
        if cursor is not None:
            return cursor.id if cursor.epoch == channel.epoch else None
        own = channel.own_ids.get(since)
        return own if any(entry.id == own for entry in channel.kept) else None

    def top(self, channel: str) -> Cursor:
        """Return the position behind the last event."""
        return Cursor(self._channel(channel).epoch, self._channel(channel).top)

    def _channel(self, name: str) -> _Channel:
        if name not in self._channels:
            channel = self._channels[name] = _Channel(next(self._epochs))
            self._beginnings.add((name, Cursor(channel.epoch, BEFORE_ALL)))
        return self._channels[name]

    # -- what happens to a broker ----------------------------------------------------------------

    def trim(self, channel: str, size: int) -> None:
        """Keep so many events."""
        kept = self._channel(channel).kept
        del kept[: max(0, len(kept) - size)]

    def flush(self, channel: str) -> None:
        """Lose the channel altogether."""
        self._channels.pop(channel, None)

    def fall_back(self, channel: str, events: int) -> None:
        """Lose the last events and nothing else, as a replica does that is promoted while it lags."""
        kept = self._channel(channel).kept
        lost = kept[max(0, len(kept) - events) :]
        if lost:
            del kept[-len(lost) :]
            self._channel(channel).top = lost[0].previous

    # -- what is true ----------------------------------------------------------------------------

    def event(self, number: int) -> Published:
        """Return what was published with a number."""
        return self._published[number]

    def positions(self, channel: str) -> list[Cursor]:
        """Return all positions that the channel ever had behind an event."""
        return [cursor for name, cursor in self._previous if name == channel]

    def is_position(self, channel: str, cursor: Cursor) -> bool:
        """Tell whether a channel ever stood there."""
        return (channel, cursor) in self._beginnings or (channel, cursor) in self._previous

    def owners(self, channel: str, own_id: str) -> list[Cursor]:
        """Return the positions behind all events that ever had an application's own id."""
        return self._own_ids.get((channel, own_id), [])

    def kept(self, channel: str) -> list[Cursor]:
        """Return the positions of the events that are kept and can be read."""
        epoch = self._channel(channel).epoch
        cursors = [Cursor(epoch, entry.id) for entry in self._channel(channel).kept]
        return [cursor for cursor in cursors if (channel, cursor) not in self._unreadable]

    def shown(self, channel: str, cursor: Cursor) -> Cursor:
        """Return the last position that nobody can tell from this one: between them is no event."""
        while (channel, cursor) in self._unreadable:
            cursor = self._previous[channel, cursor]
        return cursor

    def before(self, channel: str, cursor: Cursor) -> Cursor:
        """Return the position before an event, as ``shown`` has it."""
        return self.shown(channel, self._previous[channel, cursor])

    def can_prove(self, channel: str, since: str) -> bool:
        """Tell whether all that follows is kept, so that whoever goes on from there needs no reset."""
        page = self.read(channel, since)
        while page.is_proven and not page.complete:
            page = self.read(channel, str(page.end))
        return page.is_proven
