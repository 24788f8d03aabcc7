"""History in memory: what ``memory://`` keeps. No I/O, no clock.

Rules of this file: ``now`` is the wall clock in seconds. It may step back; ids rise all the same. All
channels together keep no more than ``max_bytes``. Channels without events are removed first, then the channel
whose last publication is the oldest loses its events, and streams that still needed them get a reset, as for
any other event that has expired.

Visitors name channels, so one without a publication takes no room from the others: there are at most
``MAX_UNUSED``, for minutes. Channels that the hub listens to are *pinned*: they are never removed, and the
hub has a limit for them. The control channel, which carries revocations, loses no events to others either: it
has a limit of its own.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from ..channels import CONTROL_CHANNEL
from ..wire.cursor import BEFORE_ALL, Cursor, Stamp, order
from .base import (
    UNUSED_SECONDS,
    Entry,
    Page,
    Publication,
    Receipt,
    listening_seconds,
    remembered_seconds,
)
from .epoch import new_epoch
from .keyed_receipts import KeyedReceipts
from .memory_channel import KeptEvent, MemoryChannel

MAX_BYTES = 64 * 1024 * 1024
# Channels without a publication and without streams, 12 MB of them.
MAX_UNUSED = 10_000
# What a channel takes beside its entries.
CHANNEL_BYTES = 1200
# How much later than promised something may be removed.
SLOT_SECONDS = 5.0
# What one call of ``expire`` removes, some milliseconds of work.
EXPIRE_BATCH = 2000
_BATCH = 500

T = TypeVar("T")


class MemoryHistory:
    """The kept events of all channels."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._channels: dict[str, MemoryChannel] = {}
        self._pinned: set[str] = set()
        # Which channels make room, in their order: by the last publication, or by when they came there. Those
        # with events and those whose events are over count in ``_bytes``.
        self._with_events: OrderedDict[str, MemoryChannel] = OrderedDict()
        self._spent: OrderedDict[str, MemoryChannel] = OrderedDict()
        self._unused: OrderedDict[str, MemoryChannel] = OrderedDict()
        # When to look at which channel again, in slots of time; each stands in one of them at most.
        self._slots: defaultdict[int, set[str]] = defaultdict(set)
        self._receipts = KeyedReceipts()

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
        self._keep(channel, KeptEvent(entry, publication.own_id, now + history.seconds))
        while len(channel.kept) > history.size:
            self._drop_first(channel)
        self._place(channel)
        if channel.place is not None:
            channel.place.move_to_end(channel.name)
        self._make_room()
        return stamp

    def _keep(self, channel: MemoryChannel, event: KeptEvent) -> None:
        channel.keep(event)
        self._bytes += event.size
        if len(channel.kept) == 1:
            self._look_again(channel)

    def receipt(self, publication: Publication, now: float) -> Receipt | None:
        """Return the receipt of the first publication with the same channel and key."""
        return self._receipts.get(publication, now)

    def remember(self, publication: Publication, receipt: Receipt, now: float) -> None:
        """Keep the receipt of a publication that has a key."""
        self._receipts.add(publication, receipt, now)

    def cursor(self, name: str, now: float) -> Cursor:
        """Return the position behind the last event; a history begins where there is none."""
        channel = self._in_use(name, now)
        return Cursor(channel.epoch, channel.top)

    def read(self, name: str, since: str, now: float) -> Page:
        """Return what follows ``since``, as ``BrokerFeed.read`` promises it."""
        return self._in_use(name, now).page(since)

    # -- channels with streams -------------------------------------------------------------------------------

    def pin(self, name: str) -> None:
        """Keep a channel until it is unpinned: the hub listens to it."""
        self._pinned.add(name)
        if name in self._channels:
            self._place(self._channels[name])

    def unpin(self, name: str, now: float) -> None:
        """Remove a channel in its time: the hub does not listen to it any more."""
        self._pinned.discard(name)
        if name in self._channels:
            self._place(self._in_use(name, now))
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
        for rows in _batches(self._receipts.rows()):
            yield {"results": rows}, b""

    def load(self, fields: dict[str, Any], body: bytes) -> None:
        """Take a piece of what another one has dumped, in the same order."""
        for row in fields.get("results", ()):
            self._receipts.load(row)
        if "channel" not in fields:
            return
        channel = self._channels.get(fields["channel"])
        if channel is None:
            channel = self._channels[fields["channel"]] = MemoryChannel(fields["channel"], fields["epoch"])
        channel.top, channel.forgotten_at = fields["top"], fields["forgotten_at"]
        at = 0
        for event_id, previous, own_id, expires_at, size in fields["kept"]:
            entry = Entry(event_id, previous, body[at : at + size])
            at += size
            self._keep(channel, KeptEvent(entry, own_id, expires_at))
        self._look_again(channel)
        # Room is made later, when the hub has pinned what it listens to.
        self._place(channel)

    # -- time --------------------------------------------------------------------------------------

    def expire(self, now: float) -> bool:
        """Remove what has expired; call it every few seconds, and again at once if it returns ``False``."""
        left = EXPIRE_BATCH
        for slot in sorted(slot for slot in self._slots if slot <= now // SLOT_SECONDS):
            names = self._slots[slot]
            while names and left > 0:
                left -= 1 + self._expire(self._channels[next(iter(names))], now, left)
        left -= self._receipts.expire(now, left)
        return left > 0

    def expire_channel(self, name: str, now: float) -> None:
        """Remove what has expired in one channel, because a page of it is read now."""
        if name in self._channels:
            self._expire(self._channels[name], now, EXPIRE_BATCH)

    def _expire(self, channel: MemoryChannel, now: float, most: int) -> int:
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

    def _look_again(self, channel: MemoryChannel) -> None:
        self._look_no_more(channel)
        due = channel.kept.first.expires_at if channel.kept else channel.forgotten_at
        channel.slot = int(due // SLOT_SECONDS) + 1
        self._slots[channel.slot].add(channel.name)

    def _look_no_more(self, channel: MemoryChannel) -> None:
        if channel.slot is not None:
            self._slots[channel.slot].discard(channel.name)
            if not self._slots[channel.slot]:
                del self._slots[channel.slot]
            channel.slot = None

    def _channel(self, name: str) -> MemoryChannel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = MemoryChannel(name, new_epoch())
        return channel

    def _in_use(self, name: str, now: float) -> MemoryChannel:
        """Return a channel whose position is asked for; its history begins now if there is none."""
        channel = self._channel(name)
        seconds = UNUSED_SECONDS if channel.top == BEFORE_ALL else listening_seconds(name)
        channel.forgotten_at = max(channel.forgotten_at, now + seconds)
        if channel.slot is None and name not in self._pinned:
            self._look_again(channel)
            self._place(channel)
            self._make_room()
        return channel

    def _drop_first(self, channel: MemoryChannel) -> None:
        self._bytes -= channel.drop_first().size

    # -- room --------------------------------------------------------------------------------------

    def _place(self, channel: MemoryChannel) -> None:
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

    def _leave_place(self, channel: MemoryChannel) -> None:
        if channel.place is not None:
            self._bytes -= self._own_bytes(channel)
            del channel.place[channel.name]
            channel.place = None

    def _own_bytes(self, channel: MemoryChannel) -> int:
        return 0 if channel.place is self._unused else CHANNEL_BYTES

    def _forget(self, channel: MemoryChannel) -> None:
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
