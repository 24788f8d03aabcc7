"""What the hub decides: who gets which bytes, and when. No I/O, no clock of its own.

Rules of this file: it is called from one thread, takes bytes and ``now`` (seconds of any monotonic
clock) and leaves *orders* in its outbox, which the server carries out after each call. It never touches a
socket; the members it names are the objects it was given.

The way of a stream: it *begins* when its first bytes are written, and *joins* a group when it stands where
its channels stand. Streams of a group listen to the same channels in the same form: an event is encoded
once, and all that became ready in one turn of the loop is joined into one write a stream.

A stream without history begins and joins when the broker has confirmed all its channels, so that whatever
is published after the client has seen its head arrives. One with history is first brought up to the
position of its channels. Either begins after a second at the latest, with a comment that says so where
the broker cannot be reached.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Generic

from ..brokers.base import Page
from ..channels import CONTROL_CHANNEL
from ..errors import InvalidMessageError
from ..wire.cursor import EARLIEST, Cursor, Stamp, order
from ..wire.encode import HEARTBEAT
from ..wire.envelope import pack
from ..wire.frame import Frame
from ..wire.run import LOST, ended, is_run
from .admission import Admission, Verdict
from .agenda import TICK_SECONDS, Agenda
from .control import ENVELOPES, FRAMES, encode_block, max_body_bytes
from .directory import Directory
from .dismissal import Arrival, Dismissal
from .group import Channel, Group, Groups, M, Member, Standing
from .idle import Owner
from .notices import (
    BROKER_AWAY,
    ask_again,
    dice,
    goodbye,
    reconnect_in,
    refused,
    stream_end,
    stream_open,
    stream_reset,
)
from .orders import Cancel, CheckAll, Complain, End, GoOn, Order, Revoke, WarnOfLoss, Write
from .probation import Probation
from .readings import Reading, Readings
from .resume import Replay, Resume, Tail, joined
from .runs import LOST_RETRY_MS, OVER, EndFrame, Now, Run, State, frame_of, marks_in
from .sequencer import Dropped, Gap, Sequencer, Step

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
    foreign_refused: int = 0
    opened: int = 0
    resumed: int = 0
    resets: int = 0
    dismissed: int = 0
    lost_runs: int = 0


class Core(Generic[M]):
    """Channels, groups, heartbeats and ages of all streams of one hub.

    Attributes:
        outbox: What the server is to do now.
        counters: What happened so far.
        broker_away: Whether the broker cannot be reached.
        admission: Which streams come in.
        directory: Its channels.
        max_channels: Most channels.
        seen: The last events, with their channels, while somebody watches; ``None`` while nobody does.
    """

    def __init__(self, max_event_bytes: int, max_channels: int) -> None:
        self.outbox: deque[Order] = deque()
        self.counters = Counters()
        self.broker_away = False
        self.admission = Admission()
        self.directory: Directory[M] = Directory(self.outbox)
        self.seen: deque[tuple[str, bytes]] | None = None
        self.max_channels = max_channels
        self._max_envelope_bytes = max_body_bytes(max_event_bytes)
        self._groups: Groups[M] = Groups()
        self._members: set[M] = set()
        self._agenda: Agenda[M] = Agenda()
        self._runs: Agenda[Channel[M]] = Agenda()
        self._readings: Readings[M] = Readings()
        self._probation: Probation[M] = Probation()
        # Whether what the control channel brings from here on was published while a hub was there.
        self._has_read_revocations = False
        # Revocations of a hub before this one that the broker has not brought again.
        self._unconfirmed: set[Dismissal] = set()

    def __len__(self) -> int:
        return len(self._members) + len(self._probation)

    @property
    def members(self) -> frozenset[M]:
        """Every stream, waiting ones included."""
        return frozenset((*self._members, *self._probation)) if self._probation else frozenset(self._members)

    def streams_of(self, name: str) -> list[M]:
        """Return all streams that listen to a channel."""
        return [member for member in self._members if name in member.channels]

    # -- streams come and go -------------------------------------------------------------------

    def refusal(self, member: M) -> bytes | None:
        """Return the whole body of a stream that may not come in; ``None`` if it may."""
        verdict = self.admission.verdict(member)
        if verdict is not None:
            return _words_of(verdict, member)
        owner = self.admission.exceeded_by(member)
        if owner is not None and not self._may_wait(member, owner):
            return self._beyond_limit(member, owner)
        if not self.directory.make_room(member.channels, self.max_channels):
            self.admission.refused["channels"] += 1
            return refused(member.form, "too many channels")
        if member.kept and self._readings.awaited >= MAX_READS:
            self.admission.refused["reads"] += 1
            return refused(member.form, "the history is read too slowly")
        return None

    def _may_wait(self, member: M, owner: Owner) -> bool:
        has_room = self._probation.has_room(owner, member.limits[owner])
        return has_room and bool(self.admission.relayed_of(owner))

    def _beyond_limit(self, member: M, owner: Owner) -> bytes:
        what, _ = owner
        self.admission.refused[what] += 1
        return refused(member.form, f"too many streams of this {what}")

    def add(self, member: M, now: float) -> None:
        """Take a stream in, or let it wait until those that it is one too many of were probed."""
        owner = self.admission.exceeded_by(member)
        if owner is not None:
            self._probation.put(member, owner, now)
            return
        self._enter(member, now)
        self._advance(member, now)
        if not member.has_begun:
            if self.broker_away:
                self._begin_late(member, now)
            else:
                self._agenda.put(member, now + MAX_WAIT_SECONDS)

    def _enter(self, member: M, now: float) -> list[Channel[M]]:
        self._members.add(member)
        self.admission.enter(member)
        member.come_in(now)
        channels = [self.directory.enter(name) for name in member.channels]
        for channel in channels:
            if channel.run is not None and channel.tick is None:
                self._runs.put(channel, now + RUN_LOOK_SECONDS)
            channel.waiting.add(member)
            if channel.name in member.kept and channel.sequencer is None:
                channel.sequencer = Sequencer()
                if channel.confirmed:
                    self._read_channel(channel)
        return channels

    def remove(self, member: M, now: float) -> None:
        """Forget a stream whose socket is gone."""
        if self._probation.drop(member) or member not in self._members:
            return
        self._members.discard(member)
        self.admission.leave(member)
        self._agenda.drop(member)
        self._groups.leave(member)
        for number in member.resume.awaited.values() if member.resume is not None else ():
            if self._readings.leave(number, member):
                self.outbox.append(Cancel(number))
        for name in member.channels:
            self._no_longer_waiting(self.directory[name], member)
        for channel in self.directory.leave(member.channels, now, member.limits):
            self._rest(channel)

    def _rest(self, channel: Channel[M]) -> None:
        """Do nothing more for a channel without streams than to hear of it for a while."""
        self._runs.drop(channel)
        if channel.run is not None:
            if channel.run.reading is not None:
                self._readings.end(channel.run.reading)
                self.outbox.append(Cancel(channel.run.reading))
            channel.run.rest()
        if channel.reading is not None:
            # It may be asked for again and again, and whether it comes matters to no stream.
            self._readings.end(channel.reading)
            self.outbox.append(Cancel(channel.reading))
            if channel.name in self.directory:
                self.directory.give_up_now(channel.name)

    def go_on(self, member: M, now: float) -> None:
        """Note that a client has taken all that was written to it."""
        if member.group is None and member in self._members:
            self._advance(member, now)

    def _advance(self, member: M, now: float) -> None:
        """Bring a stream as far as it can go now."""
        channels = [self.directory[name] for name in member.channels]
        if member.group is not None or not all(channel.is_ready for channel in channels):
            return
        if member.resume is not None and not self._catch_up(member, member.resume, now):
            return
        self._write(member, b"", now)
        self._join(member, channels)
        self._tell_lost_runs(member)

    def _tell_lost_runs(self, member: M) -> None:
        """Tell a stream that comes late what the others were told when it was found out."""
        group = member.group
        if group is None:
            return
        for channel in group.channels:
            if channel.name in group.kept and channel.run is not None and channel.run.state is State.LOST:
                self.outbox.append(Write(member, _told_lost(channel.name, group)))

    def _catch_up(self, member: M, resume: Resume, now: float) -> bool:
        """Bring a stream with history to the positions of its channels; return whether it is there."""
        if resume.awaited:
            return False
        if resume.is_fresh:
            positions = {name: self.directory[name].position for name in resume.kept}
            self._write(member, stream_open(resume.kept, joined(resume.kept, positions)), now)
            return True
        if resume.replays:
            # One page at a time, each when the client has read the one before.
            self.counters.resets += resume.tells_gap
            self._write(member, resume.write_replay(), now)
            self.outbox.append(GoOn(member))
            return False
        # Every channel is asked, so that all pages that are missing are read at once.
        there = [self._is_there(member, resume, self.directory[name], now) for name in resume.kept]
        if not all(there):
            return False
        self.counters.resumed += 1
        return True

    def _is_there(self, member: M, resume: Resume, channel: Channel[M], now: float) -> bool:
        name, position = channel.name, channel.position
        floor = resume.floors.get(name)
        if floor is None and resume.since[name] == str(position):
            floor = resume.floors[name] = position
        if floor is None:
            self._read_for(member, resume, channel, resume.since[name])
            return False
        if floor == position:
            return True
        if channel.tail is not None and (events := channel.tail.behind(floor)) is not None:
            self._write(member, resume.write_tail(name, events), now)
            return True
        # A stream that is behind reads on. One that is not comes from a hub that was ahead of this one
        # (R8), or the history is not the one we knew; then the channel reads on. What brought nothing is
        # not tried again, but the other.
        is_behind = floor.epoch == position.epoch and order(floor.id) < order(position.id)
        if is_behind == resume.tries(name, floor):
            self._read_for(member, resume, channel, str(floor))
        else:
            self._read_channel(channel)
        return False

    def adopt(self, member: M, standing: Standing, now: float) -> None:
        """Take a stream of another hub in; ``member`` was made of what remains to be done."""
        owner = None if standing.has_begun else self.admission.exceeded_by(member)
        if owner is not None:
            self._probation.put(member, owner, now)
            return
        channels = self._enter(member, now)
        member.go_on_from(standing, now)
        if standing.is_current:
            self._join(member, channels)
        self._agenda.put(member, self._next_look(member) if member.has_begun else now + MAX_WAIT_SECONDS)

    # -- rights are revoked ----------------------------------------------------------------------

    def _hear_revocation(self, envelope: bytes, *, is_news: bool) -> None:
        try:
            dismissal = Dismissal.read(envelope)
        except InvalidMessageError as error:
            self.counters.foreign_refused += 1
            self.outbox.append(Complain(CONTROL_CHANNEL, str(error)))
            return
        self._unconfirmed.discard(dismissal)
        if not self.admission.knows(dismissal):
            self.outbox.append(Revoke(dismissal, is_news))

    def revoke(self, arrival: Arrival) -> None:
        """Carry out what a ``Revoke`` asked for: end streams, and remember it for those that come later."""
        dismissal = arrival.dismissal
        if self.admission.knows(dismissal):
            return
        self.admission.remember(arrival)
        if not arrival.is_news:
            return  # there may be thousands; ``check_all`` looks at each stream once
        for member in self.members:
            if dismissal.names(member.claim, member.channels):
                self._end(member, Verdict(dismissal.reason, is_final=True))

    def check_all(self) -> None:
        """End streams that came before the hub had read what was revoked before it began."""
        for member in self._members:
            verdict = self.admission.verdict(member)
            if verdict is not None:
                self._end(member, verdict)

    def _end(self, member: M, verdict: Verdict) -> None:
        self.counters.dismissed += 1
        self.outbox.append(End(member, _words_of(verdict, member)))

    def revoke_again(self, dismissal: Dismissal, now: float, *, is_expected: bool) -> None:
        """Take what a hub noted that was here before; ahead of streams that are not adopted.

        Args:
            dismissal: What was revoked.
            now: In seconds of the wall clock.
            is_expected: Whether the broker has it in its history, if it lost nothing.
        """
        if not self.admission.knows(dismissal):
            self.admission.remember(Arrival(dismissal, now, is_news=False))
            if is_expected:
                self._unconfirmed.add(dismissal)

    def inherit(
        self, positions: Mapping[str, str], runs: Mapping[str, State], arrivals: Iterable[Arrival]
    ) -> None:
        """Begin with what another hub knew, before any stream is taken in."""
        self.directory.inherit(positions)
        self._has_read_revocations = CONTROL_CHANNEL in positions
        for arrival in arrivals:
            self.admission.remember(arrival)
        for name, state in runs.items():
            channel = self.directory.get(name)
            if channel is not None and channel.run is not None:
                channel.run.state = state

    def positions(self) -> dict[str, str]:
        """Return where the channels stand, for another hub."""
        positions = self.directory.positions()
        if not self._has_read_revocations:
            # The other one must know what it finds there from what is published later.
            positions.pop(CONTROL_CHANNEL, None)
        return positions

    # -- a stream begins and joins -------------------------------------------------------------

    def _begin(self, member: M, now: float) -> bytes:
        rules = member.rules
        # Below 1, so that a stream is never silent for longer than the setting says, and spread, so
        # that the heartbeats of many streams do not fall together.
        member.pace = rules.heartbeat_seconds * dice.uniform(0.8, 1.0)
        if rules.max_stream_seconds is not None:
            end = now + rules.max_stream_seconds * dice.uniform(0.8, 1.0)
            member.ends_at = end if member.ends_at is None else min(member.ends_at, end)
        member.has_begun = True
        self._agenda.put(member, self._next_look(member))
        self.counters.opened += 1
        if member.form == ENVELOPES:
            return encode_block(b"")
        return reconnect_in(rules.retry_ms, member.resume.last_event_id if member.resume else "")

    def _begin_late(self, member: M, now: float) -> None:
        self._write(member, b"" if member.form == ENVELOPES else BROKER_AWAY, now)
        if not member.kept:
            self._join(member, [self.directory[name] for name in member.channels])

    def _join(self, member: M, channels: Sequence[Channel[M]]) -> None:
        for channel in channels:
            self._no_longer_waiting(channel, member)
        self._groups.join(member, channels)

    def _write(self, member: M, data: bytes, now: float) -> None:
        if not member.has_begun:
            data = self._begin(member, now) + data
        if data:
            member.quiet_since = now
            self.outbox.append(Write(member, data))

    def _no_longer_waiting(self, channel: Channel[M], member: M) -> None:
        channel.waiting.discard(member)
        if not channel.waiting:
            channel.tail = None

    # -- the broker tells ----------------------------------------------------------------------

    def subscribed(self, name: str) -> None:
        """Note that the broker confirmed a channel, for the first time or once more."""
        self.broker_away = False
        channel = self.directory.get(name)
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
        self.directory.lost()
        for member in self._unbegun():
            self._begin_late(member, now)

    def _unbegun(self) -> list[M]:
        waiting = {member for channel in self.directory for member in channel.waiting}
        return [member for member in waiting if not member.has_begun]

    def top(self, name: str, cursor: Cursor) -> None:
        """Note where the history of a channel ends, to find a last event that was lost (R5)."""
        channel = self.directory.get(name)
        if channel is not None and channel.sequencer is not None and channel.sequencer.position != cursor:
            self._read_channel(channel)

    def channel_read(self, number: int) -> str | None:
        """Return which channel a ``Read`` is about; ``None`` if its answer is not awaited any more."""
        return self._readings.channel_of(number)

    def page(self, number: int, page: Page, now: float) -> None:
        """Take the answer to a ``Read``; one that is not awaited any more changes nothing."""
        if self.channel_read(number) is None:
            return
        reading = self._readings.end(number)
        self._readings.forget_lost(reading.channel, Cursor(page.epoch, page.top))
        if reading.members:
            self._page_for_members(reading, page, now)
            return
        channel = self.directory.get(reading.channel)
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
        reading = self._readings.begin(name, since)
        run.reading = reading.number
        self.outbox.append(reading.order)

    def _have_read_revocations(self) -> None:
        if not self._has_read_revocations:
            self._has_read_revocations = True
            self.outbox.append(CheckAll())
        if self._unconfirmed:
            self.outbox.append(WarnOfLoss(len(self._unconfirmed)))
            self._unconfirmed.clear()

    def _page_for_members(self, reading: Reading[M], page: Page, now: float) -> None:
        frames = [self._frame(reading.channel, entry.envelope) for entry in page.entries]
        replay = Replay(reading.channel, reading.since, page, frames)
        self._readings.keep(replay, now)
        channel = self.directory.get(reading.channel)
        if channel is not None:
            channel.replayed(replay.events)
        for member in reading.members & self._members:
            if member.resume is not None:
                member.resume.take(replay)
                self.outbox.append(GoOn(member))

    def _now_ready(self, channel: Channel[M]) -> None:
        if channel.is_ready:
            self.outbox.extend(map(GoOn, channel.waiting))

    def _read_channel(self, channel: Channel[M]) -> None:
        if not channel.streams and channel.name != CONTROL_CHANNEL:
            # What is known of it is too old to be of use to the next stream, and no stream waits.
            self.directory.give_up_now(channel.name)
            return
        since = channel.sequencer.catch_up() if channel.sequencer is not None else None
        if since is not None:
            reading = self._readings.begin(channel.name, since)
            channel.reading = reading.number
            self.outbox.append(reading.order)

    def _read_for(self, member: M, resume: Resume, channel: Channel[M], since: str) -> None:
        if channel.tail is None:
            channel.tail = Tail(channel.position)
        replay = self._readings.recent(channel.name, since)
        if replay is not None:
            resume.take(replay)
            self.outbox.append(GoOn(member))
            return
        reading, is_new = self._readings.share(channel.name, since)
        resume.awaited[channel.name] = reading.number
        reading.members.add(member)
        if is_new:
            self.outbox.append(reading.order)

    # -- events --------------------------------------------------------------------------------

    def deliver(self, name: str, stamp: Stamp | None, envelope: bytes) -> int:
        """Queue an event for the streams of a channel; ``flush`` writes it.

        Returns:
            How many streams get it, or will when its place in the history is known.
        """
        channel = self.directory.get(name)
        if channel is None:
            return 0
        if name == CONTROL_CHANNEL:
            self._deliver_revocation(channel, stamp, envelope)
            return 0
        refused_before = self.counters.foreign_refused
        if channel.loose:
            self._give_as_it_comes(channel, envelope)
        sequencer = channel.sequencer
        if sequencer is not None:
            if stamp is not None and sequencer.follow(stamp):
                self._give(channel, sequencer.position, envelope)
            else:
                self._deliver(channel, sequencer.live(stamp, envelope))
        if self.counters.foreign_refused > refused_before:
            return 0
        return sum(len(group.members) for group in (*channel.groups, *channel.loose))

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
            self.counters.deliveries += len(group.members)
            self._groups.queue(group, group.bytes_of(envelope, frame))

    def _count(self, channel: Channel[M], envelope: bytes) -> None:
        self.counters.events += 1
        channel.events += 1
        if self.seen is not None:
            self.seen.append((channel.name, envelope))

    def tell(self, name: str, data: bytes) -> None:
        """Write to all streams of a channel what is no event of an application."""
        for group in self.directory[name].loose:
            self._groups.queue(group, data)

    def _deliver(self, channel: Channel[M], steps: Iterable[Step]) -> None:
        for step in steps:
            if isinstance(step, Gap):
                self._tell_gap(channel, step)
            elif isinstance(step, Dropped):
                self.counters.foreign_refused += step.events
                self.outbox.append(Complain(channel.name, step.reason))
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
            self.counters.deliveries += len(group.members)
            self._groups.queue(group, group.bytes_of(envelope, frame))
        if cursor is None:
            self._give_to_those_on_their_way(channel, frame)

    def _give_to_those_on_their_way(self, channel: Channel[M], frame: Frame) -> None:
        """Write what no page will have."""
        for member, resume in channel.on_their_way():
            self.outbox.append(Write(member, resume.write_now(frame)))

    def _frame(self, name: str, envelope: bytes) -> Frame | None:
        try:
            if len(envelope) > self._max_envelope_bytes:
                raise InvalidMessageError("envelope", envelope[:80], "it is too large")
            return frame_of(name, envelope) if is_run(name) else Frame.of_envelope(envelope)
        except InvalidMessageError as error:
            self.counters.foreign_refused += 1
            self.outbox.append(Complain(name, str(error)))
            return None

    def _tell_gap(self, channel: Channel[M], gap: Gap) -> None:
        if channel.name == CONTROL_CHANNEL:
            self.outbox.append(Complain(CONTROL_CHANNEL, f"revocations may be lost: {gap.reason}"))
        if channel.tail is not None:
            channel.tail.restart(gap.to)
        if channel.run is not None:
            channel.run.missed()
        for group in channel.groups:
            group.cursors[channel.name] = gap.to
            self.counters.resets += len(group.members)
            if group.form == ENVELOPES:
                # Its reader has no other way to learn it.
                self.outbox.extend(End(member, b"") for member in group.members)
            else:
                since, last_event_id = str(gap.since), group.last_event_id
                self._groups.queue(
                    group, stream_reset(channel.name, gap.reason, since, gap.to, last_event_id)
                )

    def skip(self, member: M) -> bytes:
        """Return what tells a stream that it goes on from now; empty if it cannot."""
        group = member.group
        if group is None or set(group.kept) != set(member.channels):
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
        for channel in self.directory:
            if channel.run is not None:
                channel.run.stood_still(seconds)

    def tick(self, now: float) -> bool:
        """Order what time makes due, or some of it where that is much; return whether more is due.

        Call it every ``TICK_SECONDS``. Channels that stay without streams are given up here, too.
        """
        self._readings.forget_old(now)
        for waiting in self._probation:
            self._look_at_waiting(waiting, now)
        self._probe(now)
        with closing(self._agenda.take(now)) as due:
            members = list(islice(due, LOOKS_AT_ONCE))
        for member in members:
            self._look(member, now)
        with closing(self._runs.take(now)) as due_runs:
            channels = list(islice(due_runs, LOOKS_AT_ONCE))
        for channel in channels:
            self._look_after_run(channel, now)
        given_up = self.directory.give_up(now, LOOKS_AT_ONCE)
        return LOOKS_AT_ONCE in (len(members), len(channels), given_up)

    def _probe(self, now: float) -> None:
        """Write to the streams because of which others wait, so that web servers notice whose client left."""
        owners = {owner for member in self._probation for owner in member.limits}
        counted = {each for owner in owners for each in self.admission.relayed_of(owner)}
        # An event is as good a probe as a comment.
        quiet = (each for each in counted if each.has_begun and each.written_at <= now - TICK_SECONDS)
        for probed in islice(quiet, LOOKS_AT_ONCE):
            probed.quiet_since = now
            self.outbox.append(Write(probed, HEARTBEAT))

    def _look_at_waiting(self, member: M, now: float) -> None:
        owner = self.admission.exceeded_by(member)
        if owner is not None and not self._probation.is_over(member, now):
            return
        self._probation.drop(member)
        # Whatever else may have changed meanwhile is asked again.
        body = self.refusal(member) if owner is None else self._beyond_limit(member, owner)
        if body is None:
            self.add(member, now)
        else:
            self.outbox.append(End(member, body))

    def next_due(self) -> float | None:
        """Return when ``tick`` has something to do for a stream, if nothing else happens until then."""
        if self._probation:
            return SOON  # each tick may be its last
        runs = [channel.run.next_due() for channel in self.directory if channel.run and channel.groups]
        dues = [due for due in (self._agenda.next_due(), *runs) if due is not None]
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
            if not group.pending and group.form != ENVELOPES and len(group.channels) == 1:
                self.outbox.extend(End(member, _end_of_run(channel)) for member in group.members)

    def drain(self, seconds: float, now: float) -> None:
        """End all streams, spread evenly over a time: their clients must not come back all at once."""
        for member in self._probation:
            self._probation.drop(member)
            self.outbox.append(End(member, goodbye(member.form, member.rules.retry_ms)))
        members = list(self._members)
        dice.shuffle(members)
        for number, member in enumerate(members):
            member.ends_at = now + seconds * (number + dice.random()) / len(members)
            if member.has_begun:
                self._agenda.put(member, self._next_look(member))

    def _look(self, member: M, now: float) -> None:
        soon = now + TICK_SECONDS
        if not member.has_begun:
            self._begin_late(member, now)
            return
        if member.ends_at is not None and member.ends_at <= soon:
            self.outbox.append(End(member, self._last_words(member, soon)))
            return
        is_quiet = member.written_at + member.pace <= soon
        if is_quiet:
            member.quiet_since = now
        self._agenda.put(member, self._next_look(member))
        if is_quiet:
            self.outbox.append(Write(member, encode_block(b"") if member.form == ENVELOPES else HEARTBEAT))

    def _last_words(self, member: M, now: float) -> bytes:
        has_expired = member.expires_at is not None and member.expires_at <= now
        if has_expired and member.claim.by_ticket:
            return stream_end(member.form, EXPIRED)
        # A session may have been prolonged meanwhile; the request of who comes back tells.
        return goodbye(member.form, member.rules.retry_ms)

    def _next_look(self, member: M) -> float:
        due = member.written_at + member.pace
        return due if member.ends_at is None else min(due, member.ends_at)


def _told_lost(channel: str, group: Group[M]) -> bytes:
    """Return what is written to a group of a run that is lost."""
    return group.bytes_of(LOST_ENVELOPE, EndFrame(channel, LOST))


def _end_of_run(channel: Channel[M]) -> bytes:
    """Return the last bytes of a stream of one run."""
    run = channel.run
    may_return = run is not None and run.state is State.LOST and run.may_return
    return goodbye(FRAMES, LOST_RETRY_MS) if may_return else OVER


def _words_of(verdict: Verdict, member: Member) -> bytes:
    """Return the last bytes of a stream that may not be open."""
    if verdict.is_final:
        return stream_end(member.form, verdict.reason)
    return ask_again(member.form, member.rules.retry_ms)
