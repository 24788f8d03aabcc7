"""Delivery: the way of an event from the broker to the groups of its channel (fan-out). No I/O, no clock.

All that became ready in one turn of the loop is joined into one write per stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic

from ...channels import CONTROL_CHANNEL
from ...errors import InvalidMessageError
from ...wire.cursor import Cursor, Stamp
from ...wire.frame import Frame
from ...wire.run import is_run
from ..protocol.hub_events import stream_reset
from ..protocol.packet import max_body_bytes
from ..protocol.stream_request import ENVELOPES
from .actions import Action, Counters, End, ReportDropped, Write
from .catch_up import CatchUp
from .channel import Channel
from .channel_registry import ChannelRegistry
from .groups import Groups
from .history_reads import HistoryReads
from .lifetimes import Lifetimes
from .revocations import Revocations
from .run_watcher import RunWatcher
from .runs import EndFrame, frame_of
from .sequencer import Dropped, Gap, Step
from .subscriber import S

# In place of a revocation that was received live: of it, only the place in the history is still of interest.
RECEIVED = b""


class Delivery(Generic[S]):
    """Puts events in their order and queues them for groups; ``Core`` adds the rest.

    A base class of ``Core`` and not a part of it, because each event passes here: one call less for each.

    Args:
        max_event_bytes: Largest event that a publisher may send.
        draw: Returns a random number from 0 to 1, without 1.

    Attributes:
        outbox: The actions that the server carries out next.
        counters: What happened so far.
        channels: All channels.
        revocations: Those that are remembered.
        seen: The last events, with their channels, while the live page is open; ``None`` otherwise.
    """

    def __init__(self, max_event_bytes: int, draw: Callable[[], float]) -> None:
        self.outbox: deque[Action] = deque()
        self.counters = Counters()
        self.channels: ChannelRegistry[S] = ChannelRegistry(self.outbox)
        self.seen: deque[tuple[str, bytes]] | None = None
        self._max_envelope_bytes = max_body_bytes(max_event_bytes)
        self._groups: Groups[S] = Groups()
        self._history_reads: HistoryReads[S] = HistoryReads()
        self._lifetimes: Lifetimes[S] = Lifetimes(self.outbox, self.counters, draw)
        self.revocations: Revocations[S] = Revocations(self.outbox, self.counters, self._lifetimes)
        self._run_watcher = RunWatcher(
            self.outbox, self.counters, self._groups, self._history_reads, self._lifetimes
        )
        self._catch_up = CatchUp(
            outbox=self.outbox,
            counters=self.counters,
            channels=self.channels,
            groups=self._groups,
            history_reads=self._history_reads,
            lifetimes=self._lifetimes,
            run_watcher=self._run_watcher,
        )

    def deliver(self, name: str, stamp: Stamp | None, envelope: bytes) -> int:
        """Queue an event for the streams of a channel; ``flush`` writes it.

        Returns:
            How many streams get it, or will when its place in the history is known.
        """
        channel = self.channels.get(name)
        if channel is None:
            return 0
        if name == CONTROL_CHANNEL:
            self._deliver_revocation(channel, stamp, envelope)
            return 0
        dropped_before = self.counters.foreign_dropped
        if channel.live_groups:
            self._queue_live(channel, envelope)
        sequencer = channel.sequencer
        if sequencer is not None:
            if stamp is not None and sequencer.follow(stamp):
                self._queue(channel, sequencer.position, envelope)
            else:
                self._deliver(channel, sequencer.live(stamp, envelope))
        if self.counters.foreign_dropped > dropped_before:
            return 0
        return sum(len(group.subscribers) for group in (*channel.history_groups, *channel.live_groups))

    def _deliver_revocation(self, channel: Channel[S], stamp: Stamp | None, envelope: bytes) -> None:
        # At once: it needs no other before it, and its place in the history may be known late or never.
        self.revocations.receive(envelope)
        if channel.sequencer is not None and stamp is not None:
            self._deliver(channel, channel.sequencer.live(stamp, RECEIVED))

    def _deliver(self, channel: Channel[S], steps: Iterable[Step]) -> None:
        for step in steps:
            if isinstance(step, Gap):
                self._report_gap(channel, step)
            elif isinstance(step, Dropped):
                self.counters.foreign_dropped += step.events
                self.outbox.append(ReportDropped(channel.name, step.reason))
            elif channel.name != CONTROL_CHANNEL:
                self._queue(channel, step.cursor, step.envelope)
            elif step.envelope != RECEIVED:
                self.revocations.receive_from_history(step.envelope)
        if channel.sequencer is not None and channel.sequencer.must_read:
            self._catch_up.read_channel(channel)

    def _queue_live(self, channel: Channel[S], envelope: bytes) -> None:
        frame = self._frame(channel.name, envelope)
        if frame is None:
            return
        self._count(channel, envelope)
        for group in channel.live_groups:
            self.counters.deliveries += len(group.subscribers)
            self._groups.queue(group, group.encode(envelope, frame))

    def _queue(self, channel: Channel[S], cursor: Cursor | None, envelope: bytes) -> None:
        if not (channel.history_groups or channel.waiting):
            channel.note_event_without_streams(envelope)
            return
        frame = self._frame(channel.name, envelope)
        if cursor is not None:
            channel.note_delivered(cursor, frame)
        if isinstance(frame, EndFrame):
            self._run_watcher.note_end(channel)
        if frame is None:
            return
        self._count(channel, envelope)
        for group in channel.history_groups:
            self.counters.deliveries += len(group.subscribers)
            self._groups.queue(group, group.encode(envelope, frame))
        if cursor is None:
            # No page will have it, so streams that catch up get it now.
            for subscriber, resume in channel.catching_up():
                self.outbox.append(Write(subscriber, resume.encode_live(frame)))

    def _count(self, channel: Channel[S], envelope: bytes) -> None:
        self.counters.events += 1
        channel.events += 1
        if self.seen is not None:
            self.seen.append((channel.name, envelope))

    def _frame(self, name: str, envelope: bytes) -> Frame | None:
        try:
            if len(envelope) > self._max_envelope_bytes:
                raise InvalidMessageError("envelope", envelope[:80], "it is too large")
            return frame_of(name, envelope) if is_run(name) else Frame.of_envelope(envelope)
        except InvalidMessageError as error:
            self.counters.foreign_dropped += 1
            self.outbox.append(ReportDropped(name, str(error)))
            return None

    def _report_gap(self, channel: Channel[S], gap: Gap) -> None:
        if channel.name == CONTROL_CHANNEL:
            self.outbox.append(ReportDropped(CONTROL_CHANNEL, f"revocations may be lost: {gap.reason}"))
        if channel.live_buffer is not None:
            channel.live_buffer.restart(gap.to)
        if channel.run is not None:
            channel.run.note_gap()
        for group in channel.history_groups:
            group.cursors[channel.name] = gap.to
            self.counters.resets += len(group.subscribers)
            if group.mode == ENVELOPES:
                # A block cannot report it, so the end of the stream has to.
                self.outbox.extend(End(subscriber, b"") for subscriber in group.subscribers)
            else:
                since, last_event_id = str(gap.since), group.last_event_id
                self._groups.queue(
                    group, stream_reset(channel.name, gap.reason, since, gap.to, last_event_id)
                )

    def write_to_channel(self, name: str, data: bytes) -> None:
        """Write bytes that are no event of an application to all streams of a channel without history."""
        for group in self.channels[name].live_groups:
            self._groups.queue(group, data)

    @property
    def has_pending(self) -> bool:
        """Whether ``flush`` has something to yield."""
        return self._groups.has_pending

    def flush(self, now: float) -> Iterator[tuple[bytes, set[S]]]:
        """Yield what became ready since the last call; see ``Groups.flush``."""
        return self._groups.flush(now)
