"""History in memory: what ``memory://`` keeps. No I/O, no clock of its own.

Rules of this file: ``now`` is the wall clock in seconds. It may step back; ids go on rising all the same.
All channels together keep no more than ``max_bytes``: the channel that was published to longest ago loses
its events first, and who still needed them is told, as with any other event that is kept no longer.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from ..wire.cursor import BEFORE_ALL, EARLIEST, FROM_NOW, Cursor, Stamp, order, read_cursor
from .base import (
    KEY_SECONDS,
    LISTENING_SECONDS,
    PAGE_BYTES,
    PAGE_EVENTS,
    REMEMBERED_LIVES,
    Entry,
    Page,
    Publication,
    Receipt,
    new_epoch,
)

MAX_BYTES = 64 * 1024 * 1024
MAX_KEYS = 100_000
# What an entry takes beside its envelope, and what a channel takes beside its entries.
ENTRY_BYTES = 500
CHANNEL_BYTES = 1200
# How much later than promised something may be let go.
SLOT_SECONDS = 5.0
_BATCH = 500

T = TypeVar("T")


class _Kept(NamedTuple):
    entry: Entry
    own_id: str | None
    expires_at: float


class _Channel:
    def __init__(self, name: str, epoch: str) -> None:
        self.name = name
        self.epoch = epoch
        self.top = BEFORE_ALL
        self.kept: deque[_Kept] = deque()
        # How many of the kept events have an id, and which one it is, if it is the only one.
        self.own_ids: dict[str, tuple[int, str | None]] = {}
        self.forgotten_at = 0.0
        self.slot = 0

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.top)


class History:
    """The kept events of all channels."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        # In the order of the last publication.
        self._channels: OrderedDict[str, _Channel] = OrderedDict()
        # When to look at which channel again, in slots of time; each stands in one of them.
        self._slots: defaultdict[int, set[str]] = defaultdict(set)
        self._results: OrderedDict[tuple[str, str], tuple[Receipt, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._channels)

    def append(self, publication: Publication, now: float) -> Stamp | None:
        """Keep an event; ``None`` where its channel has no history."""
        history = publication.history
        if not history.size:
            return None
        channel = self._channel(publication.channel, history.seconds * REMEMBERED_LIVES, now)
        milliseconds, sequence = order(channel.top)
        clock = int(now * 1000)
        event_id = f"{clock}-0" if clock > milliseconds else f"{milliseconds}-{sequence + 1}"
        stamp = Stamp(channel.epoch, event_id, channel.top)
        entry = Entry(event_id, channel.top, publication.envelope)
        channel.top = event_id
        self._keep(channel, _Kept(entry, publication.own_id, now + history.seconds))
        self._channels.move_to_end(channel.name)
        while len(channel.kept) > history.size:
            self._drop_first(channel)
        self._make_room()
        return stamp

    def _keep(self, channel: _Channel, kept: _Kept) -> None:
        channel.kept.append(kept)
        self._bytes += _size(kept.entry)
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
        return self._channel(channel, LISTENING_SECONDS, now).cursor

    def read(self, name: str, since: str, now: float) -> Page:
        """Return what follows ``since``, as ``BrokerFeed.read`` promises it."""
        channel = self._channel(name, LISTENING_SECONDS, now)
        start = self._start(channel, since)
        if start is None or since == FROM_NOW:
            return Page(channel.epoch, channel.top, start, (), complete=True)
        entries: list[Entry] = []
        size = 0
        for kept in channel.kept:
            if order(kept.entry.id) <= order(start):
                continue
            if len(entries) == PAGE_EVENTS or size > PAGE_BYTES:
                return Page(channel.epoch, channel.top, start, entries, complete=False)
            entries.append(kept.entry)
            size += len(kept.entry.envelope)
        return Page(channel.epoch, channel.top, start, entries, complete=True)

    def _start(self, channel: _Channel, since: str) -> str | None:
        if since == FROM_NOW:
            return channel.top
        if since == EARLIEST:
            return channel.kept[0].entry.previous if channel.kept else channel.top
        cursor = read_cursor(since)
        if cursor is not None:
            return cursor.id if cursor.epoch == channel.epoch else None
        return channel.own_ids.get(since, (0, None))[1]

    # -- to and from another process --------------------------------------------------------------

    def dump(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield all that is kept, in pieces: values that JSON can carry, and bytes."""
        for channel in self._channels.values():
            fields = {"channel": channel.name, "epoch": channel.epoch, "top": channel.top}
            for some in _batches(channel.kept):
                rows = [
                    (*entry[:2], own_id, expires_at, len(entry.envelope))
                    for entry, own_id, expires_at in some
                ]
                body = b"".join(kept.entry.envelope for kept in some)
                yield {**fields, "forgotten_at": channel.forgotten_at, "kept": rows}, body
        for results in _batches(self._results.items()):
            yield {"results": [(*name, *receipt, expires_at) for name, (receipt, expires_at) in results]}, b""

    def load(self, fields: dict[str, Any], body: bytes) -> None:
        """Take a piece of what another one has dumped, in the same order."""
        for channel, key, receivers, cursor, expires_at in fields.get("results", ()):
            receipt = Receipt(receivers, Cursor(*cursor) if cursor else None)
            self._results[channel, key] = (receipt, expires_at)
        if "channel" not in fields:
            return
        channel = self._channels.get(fields["channel"])
        if channel is None:
            channel = self._add(_Channel(fields["channel"], fields["epoch"]))
        channel.top, channel.forgotten_at = fields["top"], fields["forgotten_at"]
        at = 0
        for event_id, previous, own_id, expires_at, size in fields["kept"]:
            entry = Entry(event_id, previous, body[at : at + size])
            at += size
            self._keep(channel, _Kept(entry, own_id, expires_at))

    # -- time --------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Let go of what is over; call it every few seconds."""
        for slot in [slot for slot in self._slots if slot <= now // SLOT_SECONDS]:
            for name in self._slots.pop(slot):
                self._expire(self._channels[name], now)
        while self._results and next(iter(self._results.values()))[1] <= now:
            self._results.popitem(last=False)

    def _expire(self, channel: _Channel, now: float) -> None:
        while channel.kept and channel.kept[0].expires_at <= now:
            self._drop_first(channel)
        if channel.kept or channel.forgotten_at > now:
            self._look_again(channel)
        else:
            self._forget(channel)

    def _look_again(self, channel: _Channel) -> None:
        due = channel.kept[0].expires_at if channel.kept else channel.forgotten_at
        channel.slot = int(due // SLOT_SECONDS) + 1
        self._slots[channel.slot].add(channel.name)

    def _channel(self, name: str, lives_seconds: float, now: float) -> _Channel:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._add(_Channel(name, new_epoch()))
            self._make_room()
        channel.forgotten_at = max(channel.forgotten_at, now + lives_seconds)
        return channel

    def _add(self, channel: _Channel) -> _Channel:
        self._channels[channel.name] = channel
        self._bytes += CHANNEL_BYTES
        self._look_again(channel)  # soon, and then when its first event is over
        return channel

    def _drop_first(self, channel: _Channel) -> None:
        kept = channel.kept.popleft()
        self._bytes -= _size(kept.entry)
        if kept.own_id is not None:
            count, only = channel.own_ids.pop(kept.own_id)
            if count > 1:
                channel.own_ids[kept.own_id] = (count - 1, only)

    def _forget(self, channel: _Channel) -> None:
        del self._channels[channel.name]
        self._slots[channel.slot].discard(channel.name)
        if not self._slots[channel.slot]:
            del self._slots[channel.slot]
        self._bytes -= CHANNEL_BYTES

    def _make_room(self) -> None:
        while self._bytes > self._max_bytes:
            channel = next(iter(self._channels.values()))
            if channel.kept:
                self._drop_first(channel)
            elif len(self._channels) > 1:
                self._forget(channel)
            else:
                return


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield all items, some hundred at a time, and at least one batch."""
    iterator = iter(items)
    yield list(itertools.islice(iterator, _BATCH))
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


def _size(entry: Entry) -> int:
    return len(entry.envelope) + ENTRY_BYTES
