"""History in memory: what ``memory://`` keeps. No I/O, no clock of its own.

Rules of this file: ``now`` is the wall clock in seconds. It may step back; ids go on rising all the same.
All channels together keep no more than ``max_bytes``. Channels without events go first, then the channel that
was published to longest ago loses its events, and who still needed them is told, as with any other event that
is kept no longer.

Visitors name channels, so one that nothing was ever published to takes no room from the others: there are at
most ``MAX_UNUSED``, for minutes. Channels that the hub listens to are *pinned*: they stay whatever happens,
and the hub has a limit for them. The control channel, which carries revocations, is not even short of its
events: it has a limit of its own.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from ..channels import CONTROL_CHANNEL
from ..wire.cursor import BEFORE_ALL, EARLIEST, FROM_NOW, Cursor, Stamp, order, read_cursor
from .base import (
    KEY_SECONDS,
    PAGE_BYTES,
    PAGE_EVENTS,
    UNUSED_SECONDS,
    Entry,
    Page,
    Publication,
    Receipt,
    listening_seconds,
    remembered_seconds,
)
from .epoch import new_epoch

MAX_BYTES = 64 * 1024 * 1024
MAX_KEYS = 100_000
# Channels that nothing was ever published to and nobody listens to, 12 MB of them.
MAX_UNUSED = 10_000
# What an entry takes beside its envelope, and what a channel takes beside its entries.
ENTRY_BYTES = 500
CHANNEL_BYTES = 1200
# How much later than promised something may be let go.
SLOT_SECONDS = 5.0
# What one call of ``expire`` lets go of, some milliseconds of work.
EXPIRE_BATCH = 2000
_BATCH = 500

T = TypeVar("T")


class _Kept(NamedTuple):
    entry: Entry
    own_id: str | None
    expires_at: float


class _Line:
    """Kept events in their order: each is found as fast as in a list, and the first one taken off as fast."""

    def __init__(self) -> None:
        self._events: list[_Kept | None] = []
        self._first = 0

    def __len__(self) -> int:
        return len(self._events) - self._first

    def __iter__(self) -> Iterator[_Kept]:
        return self._from(self._first)

    def _from(self, number: int) -> Iterator[_Kept]:
        while number < len(self._events):
            kept = self._events[number]
            if kept is not None:
                yield kept
            number += 1

    @property
    def first(self) -> _Kept:
        return next(iter(self))

    def append(self, kept: _Kept) -> None:
        self._events.append(kept)

    def popleft(self) -> _Kept:
        first = self.first
        self._events[self._first] = None
        self._first += 1
        if self._first > len(self._events) // 2:
            del self._events[: self._first]
            self._first = 0
        return first

    def behind(self, position: tuple[int, int]) -> Iterator[_Kept]:
        """Yield what follows a position."""
        return self._from(bisect_right(self._events, position, lo=self._first, key=_order_of))


def _order_of(kept: _Kept | None) -> tuple[int, int]:
    return order(kept.entry.id) if kept is not None else (0, 0)


class _Channel:
    def __init__(self, name: str, epoch: str) -> None:
        self.name = name
        self.epoch = epoch
        self.top = BEFORE_ALL
        self.kept = _Line()
        # How many of the kept events have an id, and which one it is, if it is the only one.
        self.own_ids: dict[str, tuple[int, str | None]] = {}
        self.forgotten_at = 0.0
        self.slot: int | None = None
        # Where it stands among those that make room; ``None`` if it never does.
        self.place: OrderedDict[str, _Channel] | None = None

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.top)


class History:
    """The kept events of all channels."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._channels: dict[str, _Channel] = {}
        self._pinned: set[str] = set()
        # Which channels make room, in their order: by the last publication, or by when they came there. Those
        # with events and those whose events are over count in ``_bytes``.
        self._with_events: OrderedDict[str, _Channel] = OrderedDict()
        self._spent: OrderedDict[str, _Channel] = OrderedDict()
        self._unused: OrderedDict[str, _Channel] = OrderedDict()
        # When to look at which channel again, in slots of time; each stands in one of them at most.
        self._slots: defaultdict[int, set[str]] = defaultdict(set)
        self._results: OrderedDict[tuple[str, str], tuple[Receipt, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._channels)

    def append(self, publication: Publication, now: float) -> Stamp | None:
        """Keep an event; ``None`` where its channel has no history."""
        history = publication.history
        if not history.size:
            return None
        channel = self._channel(publication.channel)
        channel.forgotten_at = max(channel.forgotten_at, now + remembered_seconds(channel.name, history))
        milliseconds, sequence = order(channel.top)
        clock = int(now * 1000)
        event_id = f"{clock}-0" if clock > milliseconds else f"{milliseconds}-{sequence + 1}"
        stamp = Stamp(channel.epoch, event_id, channel.top)
        entry = Entry(event_id, channel.top, publication.envelope)
        channel.top = event_id
        self._keep(channel, _Kept(entry, publication.own_id, now + history.seconds))
        while len(channel.kept) > history.size:
            self._drop_first(channel)
        self._place(channel)
        if channel.place is not None:
            channel.place.move_to_end(channel.name)
        self._make_room()
        return stamp

    def _keep(self, channel: _Channel, kept: _Kept) -> None:
        channel.kept.append(kept)
        self._bytes += _size(kept.entry)
        if len(channel.kept) == 1:
            self._look_again(channel)
        if kept.own_id is not None:
            count, _ = channel.own_ids.get(kept.own_id, (0, None))
            channel.own_ids[kept.own_id] = (count + 1, None if count else kept.entry.id)

    def result(self, publication: Publication, now: float) -> Receipt | None:
        """Return what became of the first publication with the same channel and key."""
        if publication.key is None:
            return None
        receipt, expires_at = self._results.get((publication.channel, publication.key), (None, 0.0))
        return receipt if expires_at > now else None

    def remember(self, publication: Publication, receipt: Receipt, now: float) -> None:
        """Keep what became of a publication with a key."""
        if publication.key is None:
            return
        self._results[publication.channel, publication.key] = (receipt, now + KEY_SECONDS)
        self._results.move_to_end((publication.channel, publication.key))
        if len(self._results) > MAX_KEYS:
            self._results.popitem(last=False)

    def cursor(self, channel: str, now: float) -> Cursor:
        """Return the position behind the last event; a history begins where there is none."""
        return self._asked(channel, now).cursor

    def read(self, name: str, since: str, now: float) -> Page:
        """Return what follows ``since``, as ``BrokerFeed.read`` promises it."""
        channel = self._asked(name, now)
        start = self._start(channel, since)
        if start is None or since == FROM_NOW:
            return Page(channel.epoch, channel.top, start, (), complete=True)
        entries: list[Entry] = []
        size = 0
        for kept in channel.kept.behind(order(start)):
            if len(entries) == PAGE_EVENTS or size > PAGE_BYTES:
                return Page(channel.epoch, channel.top, start, entries, complete=False)
            entries.append(kept.entry)
            size += len(kept.entry.envelope)
        return Page(channel.epoch, channel.top, start, entries, complete=True)

    def _start(self, channel: _Channel, since: str) -> str | None:
        if since == FROM_NOW:
            return channel.top
        if since == EARLIEST:
            return channel.kept.first.entry.previous if channel.kept else channel.top
        cursor = read_cursor(since)
        if cursor is not None:
            return cursor.id if cursor.epoch == channel.epoch else None
        return channel.own_ids.get(since, (0, None))[1]

    # -- who listens -------------------------------------------------------------------------------

    def pin(self, name: str) -> None:
        """Keep a channel until it is unpinned: the hub listens to it."""
        self._pinned.add(name)
        if name in self._channels:
            self._place(self._channels[name])

    def unpin(self, name: str, now: float) -> None:
        """Let a channel go in its time: the hub listens to it no more."""
        self._pinned.discard(name)
        if name in self._channels:
            self._place(self._asked(name, now))
            self._make_room()

    # -- to and from another process --------------------------------------------------------------

    def dump(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield all that is kept, in pieces: values that JSON can carry, and bytes."""
        without_events = (channel for channel in self._channels.values() if not channel.kept)
        for channel in itertools.chain(without_events, self._with_events.values()):
            fields = {"channel": channel.name, "epoch": channel.epoch, "top": channel.top}
            for some in _batches(channel.kept):
                rows = [
                    (*entry[:2], own_id, expires_at, len(entry.envelope))
                    for entry, own_id, expires_at in some
                ]
                body = b"".join(kept.entry.envelope for kept in some)
                yield {**fields, "forgotten_at": channel.forgotten_at, "kept": rows}, body
        for results in _batches(self._results.items()):
            rows = [
                # Other releases know five fields, so there are six only where there is an own id.
                (*name, receivers, cursor, expires_at, *(() if own_id is None else (own_id,)))
                for name, ((receivers, cursor, own_id), expires_at) in results
            ]
            yield {"results": rows}, b""

    def load(self, fields: dict[str, Any], body: bytes) -> None:
        """Take a piece of what another one has dumped, in the same order."""
        for channel, key, receivers, cursor, expires_at, *own_id in fields.get("results", ()):
            receipt = Receipt(receivers, Cursor(*cursor) if cursor else None, *own_id)
            self._results[channel, key] = (receipt, expires_at)
        if "channel" not in fields:
            return
        channel = self._channels.get(fields["channel"])
        if channel is None:
            channel = self._channels[fields["channel"]] = _Channel(fields["channel"], fields["epoch"])
        channel.top, channel.forgotten_at = fields["top"], fields["forgotten_at"]
        at = 0
        for event_id, previous, own_id, expires_at, size in fields["kept"]:
            entry = Entry(event_id, previous, body[at : at + size])
            at += size
            self._keep(channel, _Kept(entry, own_id, expires_at))
        self._look_again(channel)
        # Room is made later, when the hub has pinned what it listens to.
        self._place(channel)

    # -- time --------------------------------------------------------------------------------------

    def expire(self, now: float) -> bool:
        """Let go of what is over; call it every few seconds, and again at once if it returns ``False``."""
        left = EXPIRE_BATCH
        for slot in sorted(slot for slot in self._slots if slot <= now // SLOT_SECONDS):
            names = self._slots[slot]
            while names and left > 0:
                left -= 1 + self._expire(self._channels[next(iter(names))], now, left)
        while left > 0 and self._results and next(iter(self._results.values()))[1] <= now:
            self._results.popitem(last=False)
            left -= 1
        return left > 0

    def expire_channel(self, name: str, now: float) -> None:
        """Let go of what is over in one channel, whose events must not be found a moment longer."""
        if name in self._channels:
            self._expire(self._channels[name], now, EXPIRE_BATCH)

    def _expire(self, channel: _Channel, now: float, most: int) -> int:
        dropped = 0
        while channel.kept and channel.kept.first.expires_at <= now and dropped < most:
            self._drop_first(channel)
            dropped += 1
        self._place(channel)
        if not channel.kept and channel.name in self._pinned:
            self._look_no_more(channel)
        elif channel.kept or channel.forgotten_at > now:
            self._look_again(channel)
        else:
            self._forget(channel)
        return dropped

    def _look_again(self, channel: _Channel) -> None:
        self._look_no_more(channel)
        due = channel.kept.first.expires_at if channel.kept else channel.forgotten_at
        channel.slot = int(due // SLOT_SECONDS) + 1
        self._slots[channel.slot].add(channel.name)

    def _look_no_more(self, channel: _Channel) -> None:
        if channel.slot is not None:
            self._slots[channel.slot].discard(channel.name)
            if not self._slots[channel.slot]:
                del self._slots[channel.slot]
            channel.slot = None

    def _channel(self, name: str) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(name, new_epoch())
        return channel

    def _asked(self, name: str, now: float) -> _Channel:
        """Return a channel whose position somebody asks for; its history begins now if there is none."""
        channel = self._channel(name)
        seconds = UNUSED_SECONDS if channel.top == BEFORE_ALL else listening_seconds(name)
        channel.forgotten_at = max(channel.forgotten_at, now + seconds)
        if channel.slot is None and name not in self._pinned:
            self._look_again(channel)
            self._place(channel)
            self._make_room()
        return channel

    def _drop_first(self, channel: _Channel) -> None:
        kept = channel.kept.popleft()
        self._bytes -= _size(kept.entry)
        if kept.own_id is not None:
            count, only = channel.own_ids.pop(kept.own_id)
            if count > 1:
                channel.own_ids[kept.own_id] = (count - 1, only)

    # -- room --------------------------------------------------------------------------------------

    def _place(self, channel: _Channel) -> None:
        """Put a channel where it belongs now: behind those like it, if it was not among them."""
        if channel.name == CONTROL_CHANNEL:
            place = None
        elif channel.kept:
            place = self._with_events
        elif channel.name in self._pinned:
            place = None
        else:
            place = self._unused if channel.top == BEFORE_ALL else self._spent
        if place is channel.place:
            return
        self._leave_place(channel)
        channel.place = place
        if place is not None:
            place[channel.name] = channel
            self._bytes += self._own_bytes(channel)

    def _leave_place(self, channel: _Channel) -> None:
        if channel.place is not None:
            self._bytes -= self._own_bytes(channel)
            del channel.place[channel.name]
            channel.place = None

    def _own_bytes(self, channel: _Channel) -> int:
        return 0 if channel.place is self._unused else CHANNEL_BYTES

    def _forget(self, channel: _Channel) -> None:
        del self._channels[channel.name]
        self._look_no_more(channel)
        self._leave_place(channel)

    def _make_room(self) -> None:
        while len(self._unused) > MAX_UNUSED:
            self._forget(next(iter(self._unused.values())))
        while self._bytes > self._max_bytes and (self._spent or self._with_events):
            if self._spent:
                self._forget(next(iter(self._spent.values())))
                continue
            channel = next(iter(self._with_events.values()))
            self._drop_first(channel)
            if not channel.kept:
                self._place(channel)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield all items, some hundred at a time, and at least one batch."""
    iterator = iter(items)
    yield list(itertools.islice(iterator, _BATCH))
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


def _size(entry: Entry) -> int:
    return len(entry.envelope) + ENTRY_BYTES
