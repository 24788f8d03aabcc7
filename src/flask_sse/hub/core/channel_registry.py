"""Channel registry: a hub's channels, from their first stream until a while after their last one. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from itertools import islice, takewhile
from typing import Generic

from ...channels import CONTROL_CHANNEL, STATUS_CHANNEL
from ...wire.cursor import EARLIEST, FROM_NOW, Cursor
from .actions import Action, Subscribe, Unsubscribe
from .channel import Channel
from .runs import State
from .sequencer import Sequencer
from .subscriber import Owner, S

CHANNEL_LINGER_SECONDS = 60.0
COMPARED = 1000
_OURS = {CONTROL_CHANNEL, STATUS_CHANNEL}


class ChannelRegistry(Generic[S]):
    """All channels by their names.

    Args:
        outbox: Where actions for the broker go.
    """

    def __init__(self, outbox: deque[Action]) -> None:
        self._outbox = outbox
        self._channels: dict[str, Channel[S]] = {}
        self._idle = _IdleChannels()
        # Names by the number of streams.
        self._by_streams: dict[int, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel[S]]:
        return iter(self._channels.values())

    def __contains__(self, name: object) -> bool:
        return name in self._channels

    def __getitem__(self, name: str) -> Channel[S]:
        return self._channels[name]

    def get(self, name: str) -> Channel[S] | None:
        """Return a channel, if it is there."""
        return self._channels.get(name)

    @property
    def busy_count(self) -> int:
        """How many channels of the application have streams."""
        ours = sum(map(self.has_streams, _OURS))
        return len(self._channels) - len(self._idle) - ours

    def has_streams(self, name: str) -> bool:
        """Tell whether a channel has streams, or is one that the hub itself listens to."""
        return name in self._channels and name not in self._idle

    def busiest(self, most: int) -> list[Channel[S]]:
        """Return the channels of the application with most streams.

        Of those with the same number of streams, those with most events of the first ``COMPARED``.
        """
        found: list[Channel[S]] = []
        for streams in sorted(self._by_streams, reverse=True):
            some = [self[name] for name in islice(self._by_streams[streams], COMPARED) if name not in _OURS]
            found += nlargest(most - len(found), some, key=lambda channel: channel.events)
            if len(found) == most:
                break
        return found

    def open(self, name: str) -> Channel[S]:
        """Return a channel; ask the broker for one that is not there yet."""
        if name not in self._channels:
            channel = self._channels[name] = Channel(name)
            self._by_streams.setdefault(0, {})[name] = None
            if name == STATUS_CHANNEL:
                channel.confirmed = True  # the hub itself publishes there
            else:
                self._outbox.append(Subscribe(name))
        return self._channels[name]

    def open_control_channel(self) -> None:
        """Listen to revocations; before any stream is added."""
        channel = self.open(CONTROL_CHANNEL)
        if channel.sequencer is None:
            # Also those from before this hub began, because tickets live longer than hubs.
            channel.sequencer = Sequencer(begin=EARLIEST)

    def add_stream(self, name: str) -> Channel[S]:
        """Count one more stream of a channel, and return it."""
        channel = self.open(name)
        self._idle.discard(name)
        self._count(channel, 1)
        return channel

    def _count(self, channel: Channel[S], more: int) -> None:
        self._uncount(channel)
        channel.streams += more
        self._by_streams.setdefault(channel.streams, {})[channel.name] = None

    def _uncount(self, channel: Channel[S]) -> None:
        names = self._by_streams[channel.streams]
        del names[channel.name]
        if not names:
            del self._by_streams[channel.streams]

    def remove_stream(
        self, names: Sequence[str], now: float, limits: Mapping[Owner, int]
    ) -> list[Channel[S]]:
        """Count one stream less of its channels; return those that have none any more.

        Args:
            names: The channels.
            now: The time, in seconds.
            limits: For each owner of the stream, how many idle channels are kept.
        """
        idle = []
        for name in names:
            channel = self._channels[name]
            self._count(channel, -1)
            if not channel.streams:
                self._idle.add(name, now, limits)
                idle.append(channel)
        for owner, most in limits.items():
            for name in self._idle.excess_of(owner, most):
                self.drop(name)
        return idle

    def make_room(self, names: Sequence[str], most: int) -> bool:
        """Drop idle channels where a new stream would make it too many; return whether there is room."""
        new = sum(name not in self for name in names)
        excess = len(self) + new - most if new else 0
        idle = self._idle.oldest(excess, spared=names)
        if len(idle) < excess:
            return False
        for name in idle:
            self.drop(name)
        return True

    def lose_broker(self) -> None:
        """Note that no channel of the broker is subscribed any more."""
        for channel in self:
            channel.confirmed = channel.name == STATUS_CHANNEL

    def drop_expired(self, now: float, most: int) -> int:
        """Drop channels that have had no streams for a while, so many at most; return how many."""
        over = takewhile(lambda name: self._has_expired(name, now), self._idle)
        names = list(islice(over, most))
        for name in names:
            self.drop(name)
        return len(names)

    def drop(self, name: str) -> None:
        """Forget a channel that has no streams, and unsubscribe from it."""
        self._idle.discard(name)
        self._uncount(self._channels.pop(name))
        if name != STATUS_CHANNEL:
            self._outbox.append(Unsubscribe(name))

    def _has_expired(self, name: str, now: float) -> bool:
        return now - self._idle.since(name) >= CHANNEL_LINGER_SECONDS

    # -- handover --------------------------------------------------------------------------------

    def positions(self) -> dict[str, str]:
        """Return the positions of the channels that have streams and a history."""
        return {
            name: str(channel.position)
            for name, channel in self._channels.items()
            if name not in self._idle
            and channel.sequencer is not None
            and channel.sequencer.position is not None
        }

    def ended_runs(self) -> dict[str, State]:
        """Return the channels with streams whose run is over or lost."""
        states = {
            name: channel.run.state
            for name, channel in self._channels.items()
            if name not in self._idle and channel.run is not None
        }
        return {name: state for name, state in states.items() if state in {State.OVER, State.LOST}}

    def restore(self, positions: Mapping[str, str]) -> None:
        """Begin at the positions of the predecessor, before any stream is added.

        Events since then may be missing, so each channel is read from there when the broker confirms it.
        """
        for name, position in positions.items():
            begin = EARLIEST if name == CONTROL_CHANNEL else FROM_NOW
            self.open(name).sequencer = Sequencer(Cursor.of(position), begin)


class _IdleChannels:
    """Names of channels without streams, in the order in which they lost the last one.

    Channel names come from visitors, so those that one visitor leaves behind are counted as well.
    """

    def __init__(self) -> None:
        self._since: dict[str, tuple[float, tuple[Owner, ...]]] = {}
        self._left_by: dict[Owner, dict[str, None]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._since

    def __iter__(self) -> Iterator[str]:
        return iter(self._since)

    def __len__(self) -> int:
        return len(self._since)

    def add(self, name: str, now: float, owners: Iterable[Owner]) -> None:
        """Note that a channel is idle from now on, and the owners of its last stream."""
        self._since[name] = (now, tuple(owners))
        for owner in self._since[name][1]:
            self._left_by.setdefault(owner, {})[name] = None

    def discard(self, name: str) -> None:
        """Remove a channel that has a stream again, or is dropped."""
        _, owners = self._since.pop(name, (0.0, ()))
        for owner in owners:
            del self._left_by[owner][name]
            if not self._left_by[owner]:
                del self._left_by[owner]

    def since(self, name: str) -> float:
        """Return when a channel became idle."""
        return self._since[name][0]

    def oldest(self, count: int, spared: Container[str]) -> list[str]:
        """Return so many that have been idle for longest, without the spared; fewer if there are fewer."""
        return list(islice((name for name in self._since if name not in spared), max(count, 0)))

    def excess_of(self, owner: Owner, most: int) -> list[str]:
        """Return the oldest that one owner left behind, beyond the latest ``most``."""
        names = self._left_by.get(owner, {})
        return list(islice(names, max(len(names) - most, 0)))
