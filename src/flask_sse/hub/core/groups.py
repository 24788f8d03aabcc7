"""Groups: streams that caught up with their channels, and what is ready to be written. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic

from ...wire.keyed_chunks import join
from .channel import Channel
from .subscriber import Group, Key, S


class Groups(Generic[S]):
    """All groups, and what became ready for them in this turn of the loop."""

    def __init__(self) -> None:
        self._groups: dict[Key, Group[S]] = {}
        self._channels: dict[Key, Sequence[Channel[S]]] = {}
        self._dirty: deque[Group[S]] = deque()
        self._ready: deque[tuple[bytes, set[S]]] = deque()

    @property
    def has_pending(self) -> bool:
        """Whether ``flush`` has something to yield."""
        return bool(self._ready or self._dirty)

    def join(self, subscriber: S, channels: Sequence[Channel[S]]) -> None:
        """Add a stream that is at the positions of its channels; it gets what they deliver from now on."""
        key = (subscriber.mode, tuple(sorted(subscriber.channels)), subscriber.history_channels)
        group = self._groups.get(key) or self._begin(key, channels)
        if group.pending:
            # What was published before this stream joined is not for it: its own bytes include that already.
            self._ready.append((join(group.pending), set(group.subscribers)))
            group.pending = []
        group.subscribers.add(subscriber)
        subscriber.group = group
        # From here on all streams of a group are alike, so they share the key and keep no copy of it.
        subscriber.resume = None
        subscriber.mode, subscriber.channels, subscriber.history_channels = group.key

    def _begin(self, key: Key, channels: Sequence[Channel[S]]) -> Group[S]:
        _, _, with_history = key
        cursors = {channel.name: channel.position for channel in channels if channel.name in with_history}
        group = self._groups[key] = Group(key, cursors)
        self._channels[key] = channels
        for channel in channels:
            channel.groups_of(group).append(group)
        return group

    def leave(self, subscriber: S) -> None:
        """Forget a stream; a group without streams ends."""
        group = subscriber.group
        if group is None:
            return
        group.subscribers.discard(subscriber)
        for _, subscribers in self._ready:
            subscribers.discard(subscriber)
        if not group.subscribers:
            del self._groups[group.key]
            for channel in self._channels.pop(group.key):
                channel.groups_of(group).remove(group)

    def queue(self, group: Group[S], data: bytes) -> None:
        """Write bytes to a group at the end of this turn."""
        if not group.pending:
            self._dirty.append(group)
        group.pending.append(data)

    def flush(self, now: float) -> Iterator[tuple[bytes, set[S]]]:
        """Yield what became ready since the last call: bytes, and the streams to write them to.

        The set is the group's own: collect streams to remove and remove them afterwards.
        """
        # Taken one by one, so that what fails in between leaves the rest where it was.
        while self._ready:
            yield self._ready.popleft()
        while self._dirty:
            group = self._dirty.popleft()
            if not group.pending:
                continue
            data = join(group.pending)
            group.pending = []
            group.written_at = now
            yield data, group.subscribers
