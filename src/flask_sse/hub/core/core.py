"""Core of the hub: which stream gets which bytes, and when. No I/O, no clock.

Rules of this file: it is called from one thread, takes bytes and ``now`` (seconds of any monotonic clock) and
leaves *actions* in its outbox, which the server carries out after each call. It never touches a socket; the
subscribers that it names are the objects it was given.

A stream *begins* when its first bytes are written, and *joins* a group when it is at the positions of its
channels. Streams of a group listen to the same channels in the same mode: an event is encoded once, and all
that became ready in one turn of the loop is joined into one write per stream.

A stream without history begins and joins when the broker has confirmed all its channels, so that it gets all
that is published after its client has seen the response head. One with history catches up with its channels
first. Either begins after a second at the latest, with a comment that says so where the broker cannot be
reached.

Here is what the server calls; ``delivery`` has the way of an event, and ``catch_up``, ``lifetimes``,
``run_watcher``, ``revocations`` and ``admission`` have the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ...brokers.base import Page
from ...channels import CONTROL_CHANNEL
from ...wire.cursor import Cursor
from ..protocol.hub_events import REJECTED_RETRY_MS, rejection, stream_reset
from ..protocol.revocation import ReceivedRevocation
from .actions import End
from .admission import Admission
from .channel import Channel
from .delivery import Delivery
from .lifetimes import LOOKS_AT_ONCE
from .run_watcher import next_check_of_runs
from .runs import AT_NEXT_TICK, State
from .sequencer import Sequencer
from .subscriber import Owner, S, SubscriberSnapshot

# Pages that are awaited. Beyond that many, the broker is slower than clients return.
MAX_READS = 50_000
SLOW = "it was read too slowly"


class Core(Delivery[S]):
    """Channels, groups, heartbeats and ages of all streams of one hub.

    Args:
        max_event_bytes: Largest event that a publisher may send.
        max_channels: Most channels.
        draw: Returns a random number from 0 to 1, without 1.

    Attributes:
        broker_away: Whether the broker cannot be reached.
        max_channels: As given.
        admission: Limits of subjects and addresses.
    """

    def __init__(self, max_event_bytes: int, max_channels: int, draw: Callable[[], float]) -> None:
        super().__init__(max_event_bytes, draw)
        self.broker_away = False
        self.max_channels = max_channels
        self.admission: Admission[S] = Admission()
        self._subscribers: set[S] = set()

    def __len__(self) -> int:
        return len(self._subscribers) + len(self.admission.probation)

    @property
    def subscribers(self) -> frozenset[S]:
        """All streams, also those that wait."""
        waiting = self.admission.probation
        return frozenset((*self._subscribers, *waiting)) if waiting else frozenset(self._subscribers)

    def streams_of(self, name: str) -> list[S]:
        """Return all streams that listen to a channel."""
        return [subscriber for subscriber in self._subscribers if name in subscriber.channels]

    # -- streams come and go -------------------------------------------------------------------

    def refusal(self, subscriber: S) -> bytes | None:
        """Return the whole body of a stream that is rejected; ``None`` if it may be opened."""
        body = self.revocations.rejection_of(subscriber)
        if body is not None:
            return body
        owner = self.admission.exceeded_by(subscriber)
        if owner is not None and not self.admission.may_wait(subscriber, owner):
            return self._beyond_limit(subscriber, owner)
        if not self.channels.make_room(subscriber.channels, self.max_channels):
            return self._reject(subscriber, "channels", "too many channels")
        if subscriber.history_channels and self._history_reads.awaited >= MAX_READS:
            return self._reject(subscriber, "reads", "the history is read too slowly")
        return None

    def _beyond_limit(self, subscriber: S, owner: Owner) -> bytes:
        what, _ = owner
        return self._reject(subscriber, what, f"too many streams of this {what}")

    def _reject(self, subscriber: S, limit: str, reason: str) -> bytes:
        self.admission.rejected[limit] += 1
        return rejection(subscriber.mode, reason, self._lifetimes.draw_ms(REJECTED_RETRY_MS))

    def add(self, subscriber: S, now: float) -> None:
        """Add a stream, or let it wait while the streams that count against its limit are probed."""
        owner = self.admission.exceeded_by(subscriber)
        if owner is not None:
            self.admission.probation.add(subscriber, owner, now)
            return
        self._register(subscriber, now)
        self._catch_up.advance(subscriber, now)
        if not subscriber.has_begun:
            if self.broker_away:
                self._catch_up.begin_late(subscriber, now)
            else:
                self._lifetimes.wait_to_begin(subscriber, now)

    def _register(self, subscriber: S, now: float) -> list[Channel[S]]:
        self._subscribers.add(subscriber)
        self.admission.add(subscriber)
        subscriber.begin_age(now)
        channels = [self.channels.add_stream(name) for name in subscriber.channels]
        for channel in channels:
            self._run_watcher.watch(channel, now)
            channel.waiting.add(subscriber)
            if channel.name in subscriber.history_channels and channel.sequencer is None:
                channel.sequencer = Sequencer()
                if channel.confirmed:
                    self._catch_up.read_channel(channel)
        return channels

    def remove(self, subscriber: S, now: float) -> None:
        """Forget a stream whose socket is gone."""
        if self.admission.probation.remove(subscriber) or subscriber not in self._subscribers:
            return
        self._subscribers.discard(subscriber)
        self.admission.remove(subscriber)
        self._lifetimes.forget(subscriber)
        self._groups.leave(subscriber)
        self._catch_up.leave(subscriber)
        for channel in self.channels.remove_stream(subscriber.channels, now, subscriber.limits):
            # It stays subscribed for a while, but nothing more is done for it.
            self._run_watcher.stop_watching(channel)
            self._catch_up.stop_reading(channel)

    def continue_stream(self, subscriber: S, now: float) -> None:
        """Note that a client has read all that was written to it."""
        if subscriber.group is None and subscriber in self._subscribers:
            self._catch_up.advance(subscriber, now)

    def skip(self, subscriber: S) -> bytes:
        """Return the events that tell a stream to continue from now on; empty if it cannot."""
        group = subscriber.group
        if group is None or set(group.history_channels) != set(subscriber.channels):
            return b""
        self.counters.resets += 1
        return b"".join(
            stream_reset(name, SLOW, "", group.cursors[name], group.last_event_id)
            for name in group.history_channels
        )

    def drain(self, seconds: float, now: float) -> None:
        """End all streams, spread evenly over a time: their clients must not reconnect all at once."""
        for subscriber in self.admission.probation:
            self.admission.probation.remove(subscriber)
            self.outbox.append(End(subscriber, self._lifetimes.goodbye(subscriber)))
        self._lifetimes.drain(self._subscribers, seconds, now)

    # -- handover ------------------------------------------------------------------------------

    def restore(self, subscriber: S, snapshot: SubscriberSnapshot, now: float) -> None:
        """Add a stream of the predecessor; ``subscriber`` was made of what remains to be done."""
        owner = None if snapshot.has_begun else self.admission.exceeded_by(subscriber)
        if owner is not None:
            self.admission.probation.add(subscriber, owner, now)
            return
        channels = self._register(subscriber, now)
        subscriber.restore(snapshot, now)
        if snapshot.is_current:
            self._catch_up.join(subscriber, channels)
        if subscriber.has_begun:
            self._lifetimes.restore(subscriber)
        else:
            self._lifetimes.wait_to_begin(subscriber, now)

    def restore_channels(
        self,
        positions: Mapping[str, str],
        runs: Mapping[str, State],
        revocations: Iterable[ReceivedRevocation],
    ) -> None:
        """Begin with what the predecessor knew, before any stream is added."""
        self.channels.restore(positions)
        self.revocations.restore(positions, revocations)
        for name, state in runs.items():
            channel = self.channels.get(name)
            if channel is not None and channel.run is not None:
                channel.run.state = state

    def positions(self) -> dict[str, str]:
        """Return the positions of the channels, for a successor."""
        positions = self.channels.positions()
        if not self.revocations.has_read_history:
            # Without it the successor reads the history from its beginning, and so knows what it finds there
            # from what is published later.
            positions.pop(CONTROL_CHANNEL, None)
        return positions

    # -- revocations ---------------------------------------------------------------------------

    def revoke(self, received: ReceivedRevocation) -> None:
        """Carry out what a ``Revoke`` asked for: end streams, and remember it for those that come later."""
        # Of a history there may be thousands; ``check_all`` looks at each stream once, when all are known.
        if self.revocations.add(received) and received.is_live:
            self.revocations.end_streams(received.revocation, self.subscribers)

    def check_all(self) -> None:
        """End streams that were opened before the hub had read what was revoked before it began."""
        self.revocations.check(self._subscribers)

    # -- the broker ------------------------------------------------------------------------------

    def subscribed(self, name: str) -> None:
        """Note that the broker confirmed a channel, for the first time or once more."""
        self.broker_away = False
        channel = self.channels.get(name)
        if channel is None:
            return
        channel.confirmed = True
        if channel.sequencer is not None:
            # What was published between two confirmations is lost (R4, R5, R6).
            self._catch_up.read_channel(channel)
        else:
            self._catch_up.note_ready(channel)

    def lost(self, now: float) -> None:
        """Note that the broker cannot be reached; streams that have not begun do so, and say it."""
        self.broker_away = True
        self.channels.lose_broker()
        waiting = {subscriber for channel in self.channels for subscriber in channel.waiting}
        for subscriber in waiting:
            if not subscriber.has_begun:
                self._catch_up.begin_late(subscriber, now)

    def top(self, name: str, cursor: Cursor) -> None:
        """Note where the history of a channel ends, to find a last event that was lost (R5)."""
        channel = self.channels.get(name)
        if channel is not None and channel.sequencer is not None and channel.sequencer.position != cursor:
            self._catch_up.read_channel(channel)

    def channel_read(self, number: int) -> str | None:
        """Return which channel a ``Read`` is about; ``None`` if its answer is not awaited any more."""
        return self._history_reads.channel_of(number)

    def page(self, number: int, page: Page, now: float) -> None:
        """Take the answer to a ``Read``; one that is not awaited any more changes nothing."""
        if self.channel_read(number) is None:
            return
        read = self._history_reads.finish(number)
        self._history_reads.drop_beyond(read.channel, Cursor(page.epoch, page.top))
        if read.subscribers:
            frames = [self._frame(read.channel, entry.envelope) for entry in page.entries]
            self._catch_up.add_page(read, page, frames, now)
            return
        channel = self.channels.get(read.channel)
        if channel is None:
            return
        if channel.pending_read == number:
            self._page_for_channel(channel, page)
        elif channel.run is not None and channel.run.pending_read == number:
            self._run_watcher.add_page(channel, channel.run, page)

    def _page_for_channel(self, channel: Channel[S], page: Page) -> None:
        channel.pending_read = None
        sequencer = channel.sequencer
        if sequencer is not None:
            self._deliver(channel, sequencer.page(page))
            if channel.name == CONTROL_CHANNEL and page.complete and sequencer.position is not None:
                self.revocations.finish_history()
        self._catch_up.note_ready(channel)

    # -- time ----------------------------------------------------------------------------------

    def exclude_pause(self, seconds: float) -> None:
        """Note for how long the hub did nothing; call it before ``tick``."""
        self._run_watcher.exclude_pause(self.channels, seconds)

    def tick(self, now: float) -> bool:
        """Do what time makes due, or some of it where that is much; return whether more is due.

        Call it every ``TICK_SECONDS``.
        """
        self._history_reads.drop_old(now)
        for waiting in self.admission.probation:
            self._check_probation(waiting, now)
        self._lifetimes.probe(self.admission.streams_to_probe(), now)
        unbegun, more_streams = self._lifetimes.tick(now)
        for subscriber in unbegun:
            self._catch_up.begin_late(subscriber, now)
        more_runs = self._run_watcher.tick(now, broker_away=self.broker_away)
        dropped = self.channels.drop_expired(now, LOOKS_AT_ONCE)
        return more_streams or more_runs or dropped == LOOKS_AT_ONCE

    def _check_probation(self, subscriber: S, now: float) -> None:
        owner = self.admission.exceeded_by(subscriber)
        if owner is not None and not self.admission.probation.is_over(subscriber, now):
            return
        self.admission.probation.remove(subscriber)
        # All other reasons to reject it are checked again, because they may have changed meanwhile.
        body = self.refusal(subscriber) if owner is None else self._beyond_limit(subscriber, owner)
        if body is None:
            self.add(subscriber, now)
        else:
            self.outbox.append(End(subscriber, body))

    def next_due(self) -> float | None:
        """Return when ``tick`` has something to do for a stream, if nothing else happens until then."""
        if self.admission.probation:
            return AT_NEXT_TICK  # each tick may be its last
        dues = (self._lifetimes.next_due(), next_check_of_runs(self.channels))
        return min((due for due in dues if due is not None), default=None)
