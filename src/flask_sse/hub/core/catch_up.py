"""Catch-up: brings streams and channels to the end of their histories. No I/O, no clock.

A stream *joins* a group when it is at the positions of its channels; from then on it gets what they deliver.
It was registered with its channels before its history is read, so nothing falls between the last page and the
first live event: what arrives meanwhile is in the channel's live buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic

from ...brokers.base import Page
from ...channels import CONTROL_CHANNEL
from ...wire.cursor import order
from ...wire.frame import Frame
from ..protocol.hub_events import BROKER_AWAY, stream_open
from ..protocol.stream_request import ENVELOPES
from .actions import Action, Cancel, Continue, Counters
from .channel import Channel
from .channel_registry import ChannelRegistry
from .groups import Groups
from .history_reads import HistoryRead, HistoryReads
from .lifetimes import Lifetimes
from .resume import LiveBuffer, Replay, Resume, join_cursors
from .run_watcher import RunWatcher
from .subscriber import S


class CatchUp(Generic[S]):
    """Reads histories for streams and channels that are behind.

    Args:
        outbox: Where actions for the server go.
        counters: Where what happens is counted.
        channels: All channels.
        groups: Where streams are that have caught up.
        history_reads: Reads of all channels.
        lifetimes: Writes to single streams.
        run_watcher: Knows which runs are lost.
    """

    def __init__(
        self,
        *,
        outbox: deque[Action],
        counters: Counters,
        channels: ChannelRegistry[S],
        groups: Groups[S],
        history_reads: HistoryReads[S],
        lifetimes: Lifetimes[S],
        run_watcher: RunWatcher[S],
    ) -> None:
        self._outbox = outbox
        self._counters = counters
        self._channels = channels
        self._groups = groups
        self._history_reads = history_reads
        self._lifetimes = lifetimes
        self._run_watcher = run_watcher

    # -- streams -----------------------------------------------------------------------------------

    def advance(self, subscriber: S, now: float) -> None:
        """Bring a stream as far as it can get now."""
        channels = [self._channels[name] for name in subscriber.channels]
        if subscriber.group is not None or not all(channel.is_ready for channel in channels):
            return
        if subscriber.resume is not None and not self._catch_up(subscriber, subscriber.resume, now):
            return
        self._lifetimes.write(subscriber, b"", now)
        self.join(subscriber, channels)
        self._run_watcher.report_lost(subscriber, channels)

    def begin_late(self, subscriber: S, now: float) -> None:
        """Begin a stream whose channels are not ready; its first comment says so."""
        self._lifetimes.write(subscriber, b"" if subscriber.mode == ENVELOPES else BROKER_AWAY, now)
        if not subscriber.history_channels:
            self.join(subscriber, [self._channels[name] for name in subscriber.channels])

    def join(self, subscriber: S, channels: Sequence[Channel[S]]) -> None:
        """Add a stream to the group of those with the same channels."""
        for channel in channels:
            channel.stop_waiting(subscriber)
        self._groups.join(subscriber, channels)

    def leave(self, subscriber: S) -> None:
        """Forget a stream, and the reads that only it waits for."""
        for number in subscriber.resume.awaited.values() if subscriber.resume is not None else ():
            if self._history_reads.leave(number, subscriber):
                self._outbox.append(Cancel(number))
        for name in subscriber.channels:
            self._channels[name].stop_waiting(subscriber)

    def _catch_up(self, subscriber: S, resume: Resume, now: float) -> bool:
        """Bring a stream with history to the positions of its channels; return whether it is there."""
        if resume.awaited:
            return False
        if resume.is_fresh:
            positions = {name: self._channels[name].position for name in resume.channels}
            last_event_id = join_cursors(resume.channels, positions)
            self._lifetimes.write(subscriber, stream_open(resume.channels, last_event_id), now)
            return True
        if resume.replays:
            # One page at a time, each when the client has read the one before: a backlog of all pages of
            # all clients would take the memory of the hub.
            self._counters.resets += resume.next_is_gap
            self._lifetimes.write(subscriber, resume.encode_next_replay(), now)
            self._outbox.append(Continue(subscriber))
            return False
        # Every channel is asked, so that all pages that are missing are read at once.
        current = [
            self._is_current(subscriber, resume, self._channels[name], now) for name in resume.channels
        ]
        if not all(current):
            return False
        self._counters.resumed += 1
        return True

    def _is_current(self, subscriber: S, resume: Resume, channel: Channel[S], now: float) -> bool:
        name, target = channel.name, channel.position
        position = resume.positions.get(name)
        if position is None and resume.since[name] == str(target):
            position = resume.positions[name] = target
        if position is None:
            self._read_for(subscriber, resume, channel, resume.since[name])
            return False
        if position == target:
            return True
        if channel.live_buffer is not None and (events := channel.live_buffer.after(position)) is not None:
            self._lifetimes.write(subscriber, resume.encode_buffered(name, events), now)
            return True
        # A stream that is behind reads on. One that is not comes from a hub that was ahead of this one
        # (R8), or the history is not the one we knew; then the channel reads on. A read that brought nothing
        # is not tried again, but the other one is.
        is_behind = position.epoch == target.epoch and order(position.id) < order(target.id)
        if is_behind == resume.is_odd_try(name, position):
            self._read_for(subscriber, resume, channel, str(position))
        else:
            self.read_channel(channel)
        return False

    def _read_for(self, subscriber: S, resume: Resume, channel: Channel[S], since: str) -> None:
        # The buffer is there before the read begins, so that its end and the page overlap.
        if channel.live_buffer is None:
            channel.live_buffer = LiveBuffer(channel.position)
        replay = self._history_reads.recent(channel.name, since)
        if replay is not None:
            resume.add_replay(replay)
            self._outbox.append(Continue(subscriber))
            return
        read, is_new = self._history_reads.share(channel.name, since)
        resume.awaited[channel.name] = read.number
        read.subscribers.add(subscriber)
        if is_new:
            self._outbox.append(read.action)

    def add_page(self, read: HistoryRead[S], page: Page, frames: Sequence[Frame | None], now: float) -> None:
        """Give a page to all streams that wait for it."""
        replay = Replay(read.channel, read.since, page, frames)
        self._history_reads.keep(replay, now)
        channel = self._channels.get(read.channel)
        if channel is not None:
            channel.note_replay(replay.events)
        for subscriber in read.subscribers:
            if subscriber.resume is not None:
                subscriber.resume.add_replay(replay)
                self._outbox.append(Continue(subscriber))

    # -- channels ----------------------------------------------------------------------------------

    def read_channel(self, channel: Channel[S]) -> None:
        """Read the history of a channel from its position on, if no read is on its way."""
        if not channel.streams and channel.name != CONTROL_CHANNEL:
            # Its position is too old to be of use to the next stream, and no stream waits.
            self._channels.drop(channel.name)
            return
        since = channel.sequencer.catch_up() if channel.sequencer is not None else None
        if since is not None:
            read = self._history_reads.start(channel.name, since)
            channel.pending_read = read.number
            self._outbox.append(read.action)

    def stop_reading(self, channel: Channel[S]) -> None:
        """Cancel the read of a channel without streams, and drop the channel."""
        if channel.pending_read is None:
            return
        # It may be asked for again and again, and whether the page arrives matters to no stream.
        self._history_reads.finish(channel.pending_read)
        self._outbox.append(Cancel(channel.pending_read))
        if channel.name in self._channels:
            self._channels.drop(channel.name)

    def note_ready(self, channel: Channel[S]) -> None:
        """Let the streams of a channel continue that wait for it, if it is ready."""
        if channel.is_ready:
            self._outbox.extend(map(Continue, channel.waiting))
