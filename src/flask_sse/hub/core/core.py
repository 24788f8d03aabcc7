"""What the hub decides: who gets which bytes, and when. No I/O, no clock of its own.

Rules of this file: it is called from one thread, takes bytes and ``now`` (seconds of any monotonic
clock) and leaves *orders* in its outbox, which the server carries out after each call. It never touches a
socket; the subscribers it names are the objects it was given.

The way of a stream: it *begins* when its first bytes are written, and *joins* a group when it stands where
its channels stand. Streams of a group listen to the same channels in the same mode: an event is encoded
once, and all that became ready in one turn of the loop is joined into one write a stream.

A stream without history begins and joins when the broker has confirmed all its channels, so that whatever
is published after the client has seen its head arrives. One with history is first brought up to the
position of its channels. Either begins after a second at the latest, with a comment that says so where
the broker cannot be reached.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Generic

from ...brokers.base import Page
from ...channels import CONTROL_CHANNEL
from ...errors import InvalidMessageError
from ...wire.cursor import EARLIEST, Cursor, Stamp, order
from ...wire.encode import HEARTBEAT
from ...wire.envelope import pack
from ...wire.frame import Frame
from ...wire.run import LOST, ended, is_run
from ..protocol.block import encode_block
from ..protocol.hub_events import (
    BROKER_AWAY,
    REJECTED_RETRY_MS,
    authorize_again,
    goodbye,
    reconnect_in,
    rejection,
    stream_end,
    stream_open,
    stream_reset,
)
from ..protocol.packet import max_body_bytes
from ..protocol.revocation import Arrival, Revocation
from ..protocol.stream_request import ENVELOPES, FRAMES
from .actions import Cancel, CheckAll, Continue, End, Order, ReportDropped, Revoke, WarnRevocationsLost, Write
from .admission import Admission, Verdict
from .channel_registry import ChannelRegistry
from .groups import Channel, Group, Groups, M, SubscriberSnapshot
from .history_reads import HistoryRead, HistoryReads
from .idle_channels import Owner
from .probation import Probation
from .resume import Replay, Resume, Tail, joined
from .runs import LOST_RETRY_MS, OVER, EndFrame, Now, Run, State, frame_of, marks_in
from .sequencer import Dropped, Gap, Sequencer, Step
from .timer_wheel import TICK_SECONDS, TimerWheel

MAX_WAIT_SECONDS = 1.0
# Pages that are awaited. Beyond that many, the broker is slower than clients return.
MAX_READS = 50_000
# How often to look whether a run lives that has streams.
RUN_LOOK_SECONDS = 1.0
# How many streams, runs and channels are looked at in one step of ``tick``.
LOOKS_AT_ONCE = 250
EXPIRED = "expired"
# Before any time.
SOON = 0.0
LOST_ENVELOPE = pack(ended(LOST))
SLOW = "it was read too slowly"
# Stands for a revocation that was acted upon, where only its place in the history is of interest.
HEARD = b""


@dataclass(slots=True)
class Counters:
    """What happened since the hub began."""

    events: int = 0
    deliveries: int = 0
    foreign_dropped: int = 0
    opened: int = 0
    resumed: int = 0
    resets: int = 0
    revoked: int = 0
    lost_runs: int = 0


class Core(Generic[M]):
    """Channels, groups, heartbeats and ages of all streams of one hub.

    Args:
        max_event_bytes: Largest event that a publisher may send.
        max_channels: Most channels.
        draw: Returns a random number from 0 to 1, without 1.

    Attributes:
        outbox: What the server is to do now.
        counters: What happened so far.
        broker_away: Whether the broker cannot be reached.
        admission: Which streams come in.
        directory: Its channels.
        max_channels: Most channels.
        seen: The last events, with their channels, while somebody watches; ``None`` while nobody does.
    """

    def __init__(self, max_event_bytes: int, max_channels: int, draw: Callable[[], float]) -> None:
        self._draw = draw
        self.outbox: deque[Order] = deque()
        self.counters = Counters()
        self.broker_away = False
        self.admission = Admission()
        self.channels: ChannelRegistry[M] = ChannelRegistry(self.outbox)
        self.seen: deque[tuple[str, bytes]] | None = None
        self.max_channels = max_channels
        self._max_envelope_bytes = max_body_bytes(max_event_bytes)
        self._groups: Groups[M] = Groups()
        self._subscribers: set[M] = set()
        self._timers: TimerWheel[M] = TimerWheel()
        self._runs: TimerWheel[Channel[M]] = TimerWheel()
        self._history_reads: HistoryReads[M] = HistoryReads()
        self._probation: Probation[M] = Probation()
        # Whether what the control channel brings from here on was published while a hub was there.
        self._has_read_revocations = False
        # Revocations of a hub before this one that the broker has not brought again.
        self._unconfirmed: set[Revocation] = set()

    def __len__(self) -> int:
        return len(self._subscribers) + len(self._probation)

    @property
    def subscribers(self) -> frozenset[M]:
        """Every stream, waiting ones included."""
        return (
            frozenset((*self._subscribers, *self._probation))
            if self._probation
            else frozenset(self._subscribers)
        )

    def streams_of(self, name: str) -> list[M]:
        """Return all streams that listen to a channel."""
        return [subscriber for subscriber in self._subscribers if name in subscriber.channels]

    # -- streams come and go -------------------------------------------------------------------

    def refusal(self, subscriber: M) -> bytes | None:
        """Return the whole body of a stream that may not come in; ``None`` if it may."""
        verdict = self.admission.verdict(subscriber)
        if verdict is not None:
            return self._words_of(verdict, subscriber)
        owner = self.admission.exceeded_by(subscriber)
        if owner is not None and not self._may_wait(subscriber, owner):
            return self._beyond_limit(subscriber, owner)
        if not self.channels.make_room(subscriber.channels, self.max_channels):
            self.admission.rejected["channels"] += 1
            return self._rejection(subscriber, "too many channels")
        if subscriber.kept and self._history_reads.awaited >= MAX_READS:
            self.admission.rejected["reads"] += 1
            return self._rejection(subscriber, "the history is read too slowly")
        return None

    def _may_wait(self, subscriber: M, owner: Owner) -> bool:
        has_room = self._probation.has_room(owner, subscriber.limits[owner])
        return has_room and bool(self.admission.relayed_of(owner))

    def _beyond_limit(self, subscriber: M, owner: Owner) -> bytes:
        what, _ = owner
        self.admission.rejected[what] += 1
        return self._rejection(subscriber, f"too many streams of this {what}")

    def _rejection(self, subscriber: M, reason: str) -> bytes:
        return rejection(subscriber.mode, reason, self._draw_ms(REJECTED_RETRY_MS))

    def _draw_ms(self, range_ms: tuple[int, int]) -> int:
        low, high = range_ms
        return low + int(self._draw() * (high - low + 1))

    def _goodbye(self, subscriber: M) -> bytes:
        return goodbye(subscriber.mode, self._draw_ms(subscriber.rules.retry_ms))

    def add(self, subscriber: M, now: float) -> None:
        """Take a stream in, or let it wait until those that it is one too many of were probed."""
        owner = self.admission.exceeded_by(subscriber)
        if owner is not None:
            self._probation.put(subscriber, owner, now)
            return
        self._enter(subscriber, now)
        self._advance(subscriber, now)
        if not subscriber.has_begun:
            if self.broker_away:
                self._begin_late(subscriber, now)
            else:
                self._timers.put(subscriber, now + MAX_WAIT_SECONDS)

    def _enter(self, subscriber: M, now: float) -> list[Channel[M]]:
        self._subscribers.add(subscriber)
        self.admission.enter(subscriber)
        subscriber.come_in(now)
        channels = [self.channels.enter(name) for name in subscriber.channels]
        for channel in channels:
            if channel.run is not None and channel.tick is None:
                self._runs.put(channel, now + RUN_LOOK_SECONDS)
            channel.waiting.add(subscriber)
            if channel.name in subscriber.kept and channel.sequencer is None:
                channel.sequencer = Sequencer()
                if channel.confirmed:
                    self._read_channel(channel)
        return channels

    def remove(self, subscriber: M, now: float) -> None:
        """Forget a stream whose socket is gone."""
        if self._probation.drop(subscriber) or subscriber not in self._subscribers:
            return
        self._subscribers.discard(subscriber)
        self.admission.leave(subscriber)
        self._timers.drop(subscriber)
        self._groups.leave(subscriber)
        for number in subscriber.resume.awaited.values() if subscriber.resume is not None else ():
            if self._history_reads.leave(number, subscriber):
                self.outbox.append(Cancel(number))
        for name in subscriber.channels:
            self._no_longer_waiting(self.channels[name], subscriber)
        for channel in self.channels.leave(subscriber.channels, now, subscriber.limits):
            self._rest(channel)

    def _rest(self, channel: Channel[M]) -> None:
        """Do nothing more for a channel without streams than to hear of it for a while."""
        self._runs.drop(channel)
        if channel.run is not None:
            if channel.run.reading is not None:
                self._history_reads.end(channel.run.reading)
                self.outbox.append(Cancel(channel.run.reading))
            channel.run.rest()
        if channel.reading is not None:
            # It may be asked for again and again, and whether it comes matters to no stream.
            self._history_reads.end(channel.reading)
            self.outbox.append(Cancel(channel.reading))
            if channel.name in self.channels:
                self.channels.give_up_now(channel.name)

    def continue_stream(self, subscriber: M, now: float) -> None:
        """Note that a client has taken all that was written to it."""
        if subscriber.group is None and subscriber in self._subscribers:
            self._advance(subscriber, now)

    def _advance(self, subscriber: M, now: float) -> None:
        """Bring a stream as far as it can go now."""
        channels = [self.channels[name] for name in subscriber.channels]
        if subscriber.group is not None or not all(channel.is_ready for channel in channels):
            return
        if subscriber.resume is not None and not self._catch_up(subscriber, subscriber.resume, now):
            return
        self._write(subscriber, b"", now)
        self._join(subscriber, channels)
        self._tell_lost_runs(subscriber)

    def _tell_lost_runs(self, subscriber: M) -> None:
        """Tell a stream that comes late what the others were told when it was found out."""
        group = subscriber.group
        if group is None:
            return
        for channel in group.channels:
            if channel.name in group.kept and channel.run is not None and channel.run.state is State.LOST:
                self.outbox.append(Write(subscriber, _told_lost(channel.name, group)))

    def _catch_up(self, subscriber: M, resume: Resume, now: float) -> bool:
        """Bring a stream with history to the positions of its channels; return whether it is there."""
        if resume.awaited:
            return False
        if resume.is_fresh:
            positions = {name: self.channels[name].position for name in resume.kept}
            self._write(subscriber, stream_open(resume.kept, joined(resume.kept, positions)), now)
            return True
        if resume.replays:
            # One page at a time, each when the client has read the one before.
            self.counters.resets += resume.tells_gap
            self._write(subscriber, resume.write_replay(), now)
            self.outbox.append(Continue(subscriber))
            return False
        # Every channel is asked, so that all pages that are missing are read at once.
        there = [self._is_there(subscriber, resume, self.channels[name], now) for name in resume.kept]
        if not all(there):
            return False
        self.counters.resumed += 1
        return True

    def _is_there(self, subscriber: M, resume: Resume, channel: Channel[M], now: float) -> bool:
        name, position = channel.name, channel.position
        floor = resume.floors.get(name)
        if floor is None and resume.since[name] == str(position):
            floor = resume.floors[name] = position
        if floor is None:
            self._read_for(subscriber, resume, channel, resume.since[name])
            return False
        if floor == position:
            return True
        if channel.tail is not None and (events := channel.tail.behind(floor)) is not None:
            self._write(subscriber, resume.write_tail(name, events), now)
            return True
        # A stream that is behind reads on. One that is not comes from a hub that was ahead of this one
        # (R8), or the history is not the one we knew; then the channel reads on. What brought nothing is
        # not tried again, but the other.
        is_behind = floor.epoch == position.epoch and order(floor.id) < order(position.id)
        if is_behind == resume.tries(name, floor):
            self._read_for(subscriber, resume, channel, str(floor))
        else:
            self._read_channel(channel)
        return False

    def restore(self, subscriber: M, snapshot: SubscriberSnapshot, now: float) -> None:
        """Take a stream of another hub in; ``subscriber`` was made of what remains to be done."""
        owner = None if snapshot.has_begun else self.admission.exceeded_by(subscriber)
        if owner is not None:
            self._probation.put(subscriber, owner, now)
            return
        channels = self._enter(subscriber, now)
        subscriber.restore(snapshot, now)
        if snapshot.is_current:
            self._join(subscriber, channels)
        self._timers.put(
            subscriber, self._next_look(subscriber) if subscriber.has_begun else now + MAX_WAIT_SECONDS
        )

    # -- rights are revoked ----------------------------------------------------------------------

    def _hear_revocation(self, envelope: bytes, *, is_news: bool) -> None:
        try:
            revocation = Revocation.read(envelope)
        except InvalidMessageError as error:
            self.counters.foreign_dropped += 1
            self.outbox.append(ReportDropped(CONTROL_CHANNEL, str(error)))
            return
        self._unconfirmed.discard(revocation)
        if not self.admission.knows(revocation):
            self.outbox.append(Revoke(revocation, is_news))

    def revoke(self, arrival: Arrival) -> None:
        """Carry out what a ``Revoke`` asked for: end streams, and remember it for those that come later."""
        revocation = arrival.revocation
        if self.admission.knows(revocation):
            return
        self.admission.remember(arrival)
        if not arrival.is_news:
            return  # there may be thousands; ``check_all`` looks at each stream once
        for subscriber in self.subscribers:
            if revocation.names(subscriber.grant, subscriber.channels):
                self._end(subscriber, Verdict(revocation.reason, is_final=True))

    def check_all(self) -> None:
        """End streams that came before the hub had read what was revoked before it began."""
        for subscriber in self._subscribers:
            verdict = self.admission.verdict(subscriber)
            if verdict is not None:
                self._end(subscriber, verdict)

    def _end(self, subscriber: M, verdict: Verdict) -> None:
        self.counters.revoked += 1
        self.outbox.append(End(subscriber, self._words_of(verdict, subscriber)))

    def revoke_again(self, revocation: Revocation, now: float, *, is_expected: bool) -> None:
        """Take what a hub noted that was here before; ahead of streams that are not adopted.

        Args:
            revocation: What was revoked.
            now: In seconds of the wall clock.
            is_expected: Whether the broker has it in its history, if it lost nothing.
        """
        if not self.admission.knows(revocation):
            self.admission.remember(Arrival(revocation, now, is_news=False))
            if is_expected:
                self._unconfirmed.add(revocation)

    def restore_channels(
        self, positions: Mapping[str, str], runs: Mapping[str, State], arrivals: Iterable[Arrival]
    ) -> None:
        """Begin with what another hub knew, before any stream is taken in."""
        self.channels.restore(positions)
        self._has_read_revocations = CONTROL_CHANNEL in positions
        for arrival in arrivals:
            self.admission.remember(arrival)
        for name, state in runs.items():
            channel = self.channels.get(name)
            if channel is not None and channel.run is not None:
                channel.run.state = state

    def positions(self) -> dict[str, str]:
        """Return where the channels stand, for another hub."""
        positions = self.channels.positions()
        if not self._has_read_revocations:
            # The other one must know what it finds there from what is published later.
            positions.pop(CONTROL_CHANNEL, None)
        return positions

    # -- a stream begins and joins -------------------------------------------------------------

    def _begin(self, subscriber: M, now: float) -> bytes:
        rules = subscriber.rules
        # Below 1, so that a stream is never silent for longer than the setting says, and spread, so
        # that the heartbeats of many streams do not fall together.
        subscriber.pace = rules.heartbeat_seconds * (0.8 + 0.2 * self._draw())
        if rules.max_stream_seconds is not None:
            end = now + rules.max_stream_seconds * (0.8 + 0.2 * self._draw())
            subscriber.ends_at = end if subscriber.ends_at is None else min(subscriber.ends_at, end)
        subscriber.has_begun = True
        self._timers.put(subscriber, self._next_look(subscriber))
        self.counters.opened += 1
        if subscriber.mode == ENVELOPES:
            return encode_block(b"")
        return reconnect_in(
            self._draw_ms(rules.retry_ms), subscriber.resume.last_event_id if subscriber.resume else ""
        )

    def _begin_late(self, subscriber: M, now: float) -> None:
        self._write(subscriber, b"" if subscriber.mode == ENVELOPES else BROKER_AWAY, now)
        if not subscriber.kept:
            self._join(subscriber, [self.channels[name] for name in subscriber.channels])

    def _join(self, subscriber: M, channels: Sequence[Channel[M]]) -> None:
        for channel in channels:
            self._no_longer_waiting(channel, subscriber)
        self._groups.join(subscriber, channels)

    def _write(self, subscriber: M, data: bytes, now: float) -> None:
        if not subscriber.has_begun:
            data = self._begin(subscriber, now) + data
        if data:
            subscriber.quiet_since = now
            self.outbox.append(Write(subscriber, data))

    def _no_longer_waiting(self, channel: Channel[M], subscriber: M) -> None:
        channel.waiting.discard(subscriber)
        if not channel.waiting:
            channel.tail = None

    # -- the broker tells ----------------------------------------------------------------------

    def subscribed(self, name: str) -> None:
        """Note that the broker confirmed a channel, for the first time or once more."""
        self.broker_away = False
        channel = self.channels.get(name)
        if channel is None:
            return
        channel.confirmed = True
        if channel.sequencer is not None:
            # What came between two confirmations is lost (R4, R5, R6).
            self._read_channel(channel)
        else:
            self._now_ready(channel)

    def lost(self, now: float) -> None:
        """Note that the broker is away; streams that have not begun do, and say so."""
        self.broker_away = True
        self.channels.lost()
        for subscriber in self._unbegun():
            self._begin_late(subscriber, now)

    def _unbegun(self) -> list[M]:
        waiting = {subscriber for channel in self.channels for subscriber in channel.waiting}
        return [subscriber for subscriber in waiting if not subscriber.has_begun]

    def top(self, name: str, cursor: Cursor) -> None:
        """Note where the history of a channel ends, to find a last event that was lost (R5)."""
        channel = self.channels.get(name)
        if channel is not None and channel.sequencer is not None and channel.sequencer.position != cursor:
            self._read_channel(channel)

    def channel_read(self, number: int) -> str | None:
        """Return which channel a ``Read`` is about; ``None`` if its answer is not awaited any more."""
        return self._history_reads.channel_of(number)

    def page(self, number: int, page: Page, now: float) -> None:
        """Take the answer to a ``Read``; one that is not awaited any more changes nothing."""
        if self.channel_read(number) is None:
            return
        reading = self._history_reads.end(number)
        self._history_reads.forget_lost(reading.channel, Cursor(page.epoch, page.top))
        if reading.subscribers:
            self._page_for_members(reading, page, now)
            return
        channel = self.channels.get(reading.channel)
        if channel is None:
            return
        if channel.reading == number:
            self._page_for_channel(channel, page)
        elif channel.run is not None and channel.run.reading == number:
            self._page_about_run(channel, channel.run, page)

    def _page_for_channel(self, channel: Channel[M], page: Page) -> None:
        channel.reading = None
        if channel.sequencer is not None:
            self._deliver(channel, channel.sequencer.page(page))
        if (
            channel.name == CONTROL_CHANNEL
            and page.complete
            and channel.sequencer
            and channel.sequencer.position
        ):
            self._have_read_revocations()
        self._now_ready(channel)

    def _page_about_run(self, channel: Channel[M], run: Run, page: Page) -> None:
        run.read(marks_in(channel.name, page.entries))
        if page.since is not None and not page.complete:
            self._read_about_run(channel.name, run, str(page.end))
            return
        run.has_read(is_whole=page.since is not None)
        self._runs.put(channel, SOON)

    def _read_about_run(self, name: str, run: Run, since: str) -> None:
        reading = self._history_reads.begin(name, since)
        run.reading = reading.number
        self.outbox.append(reading.order)

    def _have_read_revocations(self) -> None:
        if not self._has_read_revocations:
            self._has_read_revocations = True
            self.outbox.append(CheckAll())
        if self._unconfirmed:
            self.outbox.append(WarnRevocationsLost(len(self._unconfirmed)))
            self._unconfirmed.clear()

    def _page_for_members(self, reading: HistoryRead[M], page: Page, now: float) -> None:
        frames = [self._frame(reading.channel, entry.envelope) for entry in page.entries]
        replay = Replay(reading.channel, reading.since, page, frames)
        self._history_reads.keep(replay, now)
        channel = self.channels.get(reading.channel)
        if channel is not None:
            channel.replayed(replay.events)
        for subscriber in reading.subscribers & self._subscribers:
            if subscriber.resume is not None:
                subscriber.resume.take(replay)
                self.outbox.append(Continue(subscriber))

    def _now_ready(self, channel: Channel[M]) -> None:
        if channel.is_ready:
            self.outbox.extend(map(Continue, channel.waiting))

    def _read_channel(self, channel: Channel[M]) -> None:
        if not channel.streams and channel.name != CONTROL_CHANNEL:
            # What is known of it is too old to be of use to the next stream, and no stream waits.
            self.channels.give_up_now(channel.name)
            return
        since = channel.sequencer.catch_up() if channel.sequencer is not None else None
        if since is not None:
            reading = self._history_reads.begin(channel.name, since)
            channel.reading = reading.number
            self.outbox.append(reading.order)

    def _read_for(self, subscriber: M, resume: Resume, channel: Channel[M], since: str) -> None:
        if channel.tail is None:
            channel.tail = Tail(channel.position)
        replay = self._history_reads.recent(channel.name, since)
        if replay is not None:
            resume.take(replay)
            self.outbox.append(Continue(subscriber))
            return
        reading, is_new = self._history_reads.share(channel.name, since)
        resume.awaited[channel.name] = reading.number
        reading.subscribers.add(subscriber)
        if is_new:
            self.outbox.append(reading.order)

    # -- events --------------------------------------------------------------------------------

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
        if channel.loose:
            self._give_as_it_comes(channel, envelope)
        sequencer = channel.sequencer
        if sequencer is not None:
            if stamp is not None and sequencer.follow(stamp):
                self._give(channel, sequencer.position, envelope)
            else:
                self._deliver(channel, sequencer.live(stamp, envelope))
        if self.counters.foreign_dropped > dropped_before:
            return 0
        return sum(len(group.subscribers) for group in (*channel.groups, *channel.loose))

    def _deliver_revocation(self, channel: Channel[M], stamp: Stamp | None, envelope: bytes) -> None:
        # At once: it needs no other before it, and its place in the history may be found out late or never.
        self._hear_revocation(envelope, is_news=True)
        if channel.sequencer is not None and stamp is not None:
            self._deliver(channel, channel.sequencer.live(stamp, HEARD))

    def _give_as_it_comes(self, channel: Channel[M], envelope: bytes) -> None:
        frame = self._frame(channel.name, envelope)
        if frame is None:
            return
        self._count(channel, envelope)
        for group in channel.loose:
            self.counters.deliveries += len(group.subscribers)
            self._groups.queue(group, group.bytes_of(envelope, frame))

    def _count(self, channel: Channel[M], envelope: bytes) -> None:
        self.counters.events += 1
        channel.events += 1
        if self.seen is not None:
            self.seen.append((channel.name, envelope))

    def tell(self, name: str, data: bytes) -> None:
        """Write to all streams of a channel what is no event of an application."""
        for group in self.channels[name].loose:
            self._groups.queue(group, data)

    def _deliver(self, channel: Channel[M], steps: Iterable[Step]) -> None:
        for step in steps:
            if isinstance(step, Gap):
                self._tell_gap(channel, step)
            elif isinstance(step, Dropped):
                self.counters.foreign_dropped += step.events
                self.outbox.append(ReportDropped(channel.name, step.reason))
            elif channel.name != CONTROL_CHANNEL:
                self._give(channel, step.cursor, step.envelope)
            elif step.envelope != HEARD:
                self._hear_revocation(step.envelope, is_news=self._has_read_revocations)
        if channel.sequencer is not None and channel.sequencer.must_read:
            self._read_channel(channel)

    def _give(self, channel: Channel[M], cursor: Cursor | None, envelope: bytes) -> None:
        if not (channel.groups or channel.waiting):
            channel.overhear(envelope)
            return
        frame = self._frame(channel.name, envelope)
        if cursor is not None:
            channel.move(cursor, frame)
        if isinstance(frame, EndFrame):
            self._runs.put(channel, SOON)
        if frame is None:
            return
        self._count(channel, envelope)
        for group in channel.groups:
            self.counters.deliveries += len(group.subscribers)
            self._groups.queue(group, group.bytes_of(envelope, frame))
        if cursor is None:
            self._give_to_those_on_their_way(channel, frame)

    def _give_to_those_on_their_way(self, channel: Channel[M], frame: Frame) -> None:
        """Write what no page will have."""
        for subscriber, resume in channel.on_their_way():
            self.outbox.append(Write(subscriber, resume.write_now(frame)))

    def _frame(self, name: str, envelope: bytes) -> Frame | None:
        try:
            if len(envelope) > self._max_envelope_bytes:
                raise InvalidMessageError("envelope", envelope[:80], "it is too large")
            return frame_of(name, envelope) if is_run(name) else Frame.of_envelope(envelope)
        except InvalidMessageError as error:
            self.counters.foreign_dropped += 1
            self.outbox.append(ReportDropped(name, str(error)))
            return None

    def _tell_gap(self, channel: Channel[M], gap: Gap) -> None:
        if channel.name == CONTROL_CHANNEL:
            self.outbox.append(ReportDropped(CONTROL_CHANNEL, f"revocations may be lost: {gap.reason}"))
        if channel.tail is not None:
            channel.tail.restart(gap.to)
        if channel.run is not None:
            channel.run.missed()
        for group in channel.groups:
            group.cursors[channel.name] = gap.to
            self.counters.resets += len(group.subscribers)
            if group.mode == ENVELOPES:
                # Its reader has no other way to learn it.
                self.outbox.extend(End(subscriber, b"") for subscriber in group.subscribers)
            else:
                since, last_event_id = str(gap.since), group.last_event_id
                self._groups.queue(
                    group, stream_reset(channel.name, gap.reason, since, gap.to, last_event_id)
                )

    def skip(self, subscriber: M) -> bytes:
        """Return what tells a stream that it goes on from now; empty if it cannot."""
        group = subscriber.group
        if group is None or set(group.kept) != set(subscriber.channels):
            return b""
        self.counters.resets += 1
        return b"".join(
            stream_reset(name, SLOW, "", group.cursors[name], group.last_event_id) for name in group.kept
        )

    @property
    def has_pending(self) -> bool:
        """Whether ``flush`` has something to yield."""
        return self._groups.has_pending

    def flush(self, now: float) -> Iterator[tuple[bytes, set[M]]]:
        """Yield what became ready since the last call; see ``Groups.flush``."""
        return self._groups.flush(now)

    # -- time ----------------------------------------------------------------------------------

    def stood_still(self, seconds: float) -> None:
        """Note for how long the hub did nothing; call it before ``tick``."""
        for channel in self.channels:
            if channel.run is not None:
                channel.run.stood_still(seconds)

    def tick(self, now: float) -> bool:
        """Order what time makes due, or some of it where that is much; return whether more is due.

        Call it every ``TICK_SECONDS``. Channels that stay without streams are given up here, too.
        """
        self._history_reads.forget_old(now)
        for waiting in self._probation:
            self._look_at_waiting(waiting, now)
        self._probe(now)
        with closing(self._timers.take(now)) as due:
            subscribers = list(islice(due, LOOKS_AT_ONCE))
        for subscriber in subscribers:
            self._look(subscriber, now)
        with closing(self._runs.take(now)) as due_runs:
            channels = list(islice(due_runs, LOOKS_AT_ONCE))
        for channel in channels:
            self._look_after_run(channel, now)
        given_up = self.channels.give_up(now, LOOKS_AT_ONCE)
        return LOOKS_AT_ONCE in (len(subscribers), len(channels), given_up)

    def _probe(self, now: float) -> None:
        """Write to the streams because of which others wait, so that web servers notice whose client left."""
        owners = {owner for subscriber in self._probation for owner in subscriber.limits}
        counted = {each for owner in owners for each in self.admission.relayed_of(owner)}
        # An event is as good a probe as a comment.
        quiet = (each for each in counted if each.has_begun and each.written_at <= now - TICK_SECONDS)
        for probed in islice(quiet, LOOKS_AT_ONCE):
            probed.quiet_since = now
            self.outbox.append(Write(probed, HEARTBEAT))

    def _look_at_waiting(self, subscriber: M, now: float) -> None:
        owner = self.admission.exceeded_by(subscriber)
        if owner is not None and not self._probation.is_over(subscriber, now):
            return
        self._probation.drop(subscriber)
        # Whatever else may have changed meanwhile is asked again.
        body = self.refusal(subscriber) if owner is None else self._beyond_limit(subscriber, owner)
        if body is None:
            self.add(subscriber, now)
        else:
            self.outbox.append(End(subscriber, body))

    def next_due(self) -> float | None:
        """Return when ``tick`` has something to do for a stream, if nothing else happens until then."""
        if self._probation:
            return SOON  # each tick may be its last
        runs = [channel.run.next_due() for channel in self.channels if channel.run and channel.groups]
        dues = [due for due in (self._timers.next_due(), *runs) if due is not None]
        return min(dues, default=None)

    def _look_after_run(self, channel: Channel[M], now: float) -> None:
        if channel.run is None:
            return
        hears = channel.hears_its_run and not self.broker_away
        self._runs.put(channel, now + RUN_LOOK_SECONDS)
        match channel.run.look(now, hears=hears):
            case Now.READ_HISTORY if channel.run.reading is None:
                self._read_about_run(channel.name, channel.run, EARLIEST)
            case Now.TELL_LOST:
                self.counters.lost_runs += 1
                for group in channel.groups:
                    self._groups.queue(group, _told_lost(channel.name, group))
                self._runs.put(channel, SOON)
            case Now.LOOK_SOON:
                self._runs.put(channel, SOON)
            case Now.END_STREAMS:
                self._end_streams_of_run(channel)

    def _end_streams_of_run(self, channel: Channel[M]) -> None:
        # Those that listen to other channels, too, go on for these. Where the end is still to be written, the
        # next look ends them.
        for group in channel.groups:
            if not group.pending and group.mode != ENVELOPES and len(group.channels) == 1:
                self.outbox.extend(
                    End(subscriber, self._end_of_run(channel)) for subscriber in group.subscribers
                )

    def drain(self, seconds: float, now: float) -> None:
        """End all streams, spread evenly over a time: their clients must not come back all at once."""
        for subscriber in self._probation:
            self._probation.drop(subscriber)
            self.outbox.append(End(subscriber, self._goodbye(subscriber)))
        subscribers = sorted(self._subscribers, key=lambda _: self._draw())
        for number, subscriber in enumerate(subscribers):
            subscriber.ends_at = now + seconds * (number + self._draw()) / len(subscribers)
            if subscriber.has_begun:
                self._timers.put(subscriber, self._next_look(subscriber))

    def _look(self, subscriber: M, now: float) -> None:
        soon = now + TICK_SECONDS
        if not subscriber.has_begun:
            self._begin_late(subscriber, now)
            return
        if subscriber.ends_at is not None and subscriber.ends_at <= soon:
            self.outbox.append(End(subscriber, self._last_words(subscriber, soon)))
            return
        is_quiet = subscriber.written_at + subscriber.pace <= soon
        if is_quiet:
            subscriber.quiet_since = now
        self._timers.put(subscriber, self._next_look(subscriber))
        if is_quiet:
            self.outbox.append(
                Write(subscriber, encode_block(b"") if subscriber.mode == ENVELOPES else HEARTBEAT)
            )

    def _last_words(self, subscriber: M, now: float) -> bytes:
        has_expired = subscriber.expires_at is not None and subscriber.expires_at <= now
        if has_expired and subscriber.grant.by_ticket:
            return stream_end(subscriber.mode, EXPIRED)
        # A session may have been prolonged meanwhile; the request of who comes back tells.
        return self._goodbye(subscriber)

    def _next_look(self, subscriber: M) -> float:
        due = subscriber.written_at + subscriber.pace
        return due if subscriber.ends_at is None else min(due, subscriber.ends_at)

    def _end_of_run(self, channel: Channel[M]) -> bytes:
        """Return the last bytes of a stream of one run."""
        run = channel.run
        may_return = run is not None and run.state is State.LOST and run.may_return
        return goodbye(FRAMES, self._draw_ms(LOST_RETRY_MS)) if may_return else OVER

    def _words_of(self, verdict: Verdict, subscriber: M) -> bytes:
        """Return the last bytes of a stream that may not be open."""
        if verdict.is_final:
            return stream_end(subscriber.mode, verdict.reason)
        return authorize_again(subscriber.mode, self._draw_ms(subscriber.rules.retry_ms))


def _told_lost(channel: str, group: Group[M]) -> bytes:
    """Return what is written to a group of a run that is lost."""
    return group.bytes_of(LOST_ENVELOPE, EndFrame(channel, LOST))
