"""Channel registry: a hub's channels, from their first stream until a while after their last one. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from heapq import nlargest
from itertools import islice, takewhile
from typing import Generic

from ...channels import CONTROL_CHANNEL, STATUS_CHANNEL
from ...wire.cursor import EARLIEST, FROM_NOW, Cursor
from .actions import Order, Subscribe, Unsubscribe
from .groups import Channel, M
from .idle_channels import Idle, Owner
from .runs import State
from .sequencer import Sequencer

CHANNEL_LINGER_SECONDS = 60.0
COMPARED = 1000
_OURS = {CONTROL_CHANNEL, STATUS_CHANNEL}


class ChannelRegistry(Generic[M]):
    """All channels by their names.

    Args:
        outbox: Where it orders what the broker is asked for.
    """

    def __init__(self, outbox: deque[Order]) -> None:
        self._outbox = outbox
        self._channels: dict[str, Channel[M]] = {}
        self._idle = Idle()
        # Names by the number of streams.
        self._by_streams: dict[int, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel[M]]:
        return iter(self._channels.values())

    def __contains__(self, name: object) -> bool:
        return name in self._channels

    def __getitem__(self, name: str) -> Channel[M]:
        return self._channels[name]

    def get(self, name: str) -> Channel[M] | None:
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

    def busiest(self, most: int) -> list[Channel[M]]:
        """Return the channels of the application that have most streams.

        Of those with the same number of streams, those with most events of the first ``COMPARED``.
        """
        found: list[Channel[M]] = []
        for streams in sorted(self._by_streams, reverse=True):
            some = [self[name] for name in islice(self._by_streams[streams], COMPARED) if name not in _OURS]
            found += nlargest(most - len(found), some, key=lambda channel: channel.events)
            if len(found) == most:
                break
        return found

    def open(self, name: str) -> Channel[M]:
        """Return a channel; ask the broker for one that is not there yet."""
        if name not in self._channels:
            channel = self._channels[name] = Channel(name)
            self._by_streams.setdefault(0, {})[name] = None
            if name == STATUS_CHANNEL:
                channel.confirmed = True  # it is the hub that speaks there
            else:
                self._outbox.append(Subscribe(name))
        return self._channels[name]

    def obey(self) -> None:
        """Listen to what applications order; before any stream is taken in."""
        channel = self.open(CONTROL_CHANNEL)
        if channel.sequencer is None:
            # Also what was ordered before this hub began, for tickets live longer than hubs.
            channel.sequencer = Sequencer(begin=EARLIEST)

    def enter(self, name: str) -> Channel[M]:
        """Count one more stream of a channel, and return it."""
        channel = self.open(name)
        self._idle.discard(name)
        self._count(channel, 1)
        return channel

    def _count(self, channel: Channel[M], more: int) -> None:
        self._no_longer_counted(channel)
        channel.streams += more
        self._by_streams.setdefault(channel.streams, {})[channel.name] = None

    def _no_longer_counted(self, channel: Channel[M]) -> None:
        names = self._by_streams[channel.streams]
        del names[channel.name]
        if not names:
            del self._by_streams[channel.streams]

    def leave(self, names: Sequence[str], now: float, limits: Mapping[Owner, int]) -> list[Channel[M]]:
        """Count one stream less of some channels; return those that have none any more.

        Args:
            names: Which ones.
            now: The time, in seconds.
            limits: How many idle channels are kept for the owners of that stream.
        """
        idle = []
        for name in names:
            channel = self._channels[name]
            self._count(channel, -1)
            if not channel.streams:
                self._idle.add(name, now, limits)
                idle.append(channel)
        for owner, most in limits.items():
            for name in self._idle.beyond(owner, most):
                self.give_up_now(name)
        return idle

    def make_room(self, names: Sequence[str], most: int) -> bool:
        """Give idle channels up where a new stream would make it too many; return whether it may come."""
        new = sum(name not in self for name in names)
        excess = len(self) + new - most if new else 0
        idle = self._idle.oldest(excess, spared=names)
        if len(idle) < excess:
            return False
        for name in idle:
            self.give_up_now(name)
        return True

    def lost(self) -> None:
        """Note that nothing is heard of any channel."""
        for channel in self:
            channel.confirmed = channel.name == STATUS_CHANNEL

    def give_up(self, now: float, most: int) -> int:
        """Forget channels that have had no streams for a while, so many at most; return how many."""
        over = takewhile(lambda name: self._is_over(name, now), self._idle)
        names = list(islice(over, most))
        for name in names:
            self.give_up_now(name)
        return len(names)

    def give_up_now(self, name: str) -> None:
        """Forget a channel that has no streams."""
        self._idle.discard(name)
        self._no_longer_counted(self._channels.pop(name))
        if name != STATUS_CHANNEL:
            self._outbox.append(Unsubscribe(name))

    def _is_over(self, name: str, now: float) -> bool:
        return now - self._idle.since(name) >= CHANNEL_LINGER_SECONDS

    # -- another hub -----------------------------------------------------------------------------

    def positions(self) -> dict[str, str]:
        """Return where the channels stand that have streams and a history."""
        return {
            name: str(channel.position)
            for name, channel in self._channels.items()
            if name not in self._idle
            and channel.sequencer is not None
            and channel.sequencer.position is not None
        }

    def ended_runs(self) -> dict[str, State]:
        """Return the channels with streams that were told that their run is over or lost."""
        states = {
            name: channel.run.state
            for name, channel in self._channels.items()
            if name not in self._idle and channel.run is not None
        }
        return {name: state for name, state in states.items() if state in {State.OVER, State.LOST}}

    def restore(self, positions: Mapping[str, str]) -> None:
        """Begin where another hub stood, before any stream is taken in.

        Nothing counts as heard since then, so each channel is read from there when the broker confirms it.
        """
        for name, position in positions.items():
            begin = EARLIEST if name == CONTROL_CHANNEL else FROM_NOW
            self.open(name).sequencer = Sequencer(Cursor.of(position), begin)
