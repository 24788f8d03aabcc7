"""Lifetimes: how streams begin, stay alive by heartbeats, and end by age. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from itertools import islice
from typing import Generic

from ...wire.encode import HEARTBEAT
from ..protocol.block import encode_block
from ..protocol.hub_events import goodbye, reconnect_in, stream_end
from ..protocol.stream_request import ENVELOPES
from .actions import Action, Counters, End, Write
from .subscriber import S
from .timer_wheel import TICK_SECONDS, TimerWheel

# How long a stream waits for its channels before it begins without them.
MAX_WAIT_SECONDS = 1.0
# How many streams, runs or channels are looked at in one step of ``Core.tick``.
LOOKS_AT_ONCE = 250
EXPIRED = "expired"


class Lifetimes(Generic[S]):
    """The timers of all streams of one hub.

    Args:
        outbox: Where actions for the server go.
        counters: Where what happens is counted.
        draw: Returns a random number from 0 to 1, without 1.
    """

    def __init__(self, outbox: deque[Action], counters: Counters, draw: Callable[[], float]) -> None:
        self._outbox = outbox
        self._counters = counters
        self._draw = draw
        self._timers: TimerWheel[S] = TimerWheel()

    # -- begin -----------------------------------------------------------------------------------

    def wait_to_begin(self, subscriber: S, now: float) -> None:
        """Let a stream wait for its channels, but not for ever."""
        self._timers.schedule(subscriber, now + MAX_WAIT_SECONDS)

    def write(self, subscriber: S, data: bytes, now: float) -> None:
        """Write to one stream, and begin it first where that was not done."""
        if not subscriber.has_begun:
            data = self._begin(subscriber, now) + data
        if data:
            subscriber.quiet_since = now
            self._outbox.append(Write(subscriber, data))

    def _begin(self, subscriber: S, now: float) -> bytes:
        rules = subscriber.rules
        # Below 1, so that a stream is never silent for longer than the setting says, and spread, so
        # that the heartbeats of many streams do not fall together.
        subscriber.pace = rules.heartbeat_seconds * self._draw_share()
        if rules.max_stream_seconds is not None:
            end = now + rules.max_stream_seconds * self._draw_share()
            subscriber.ends_at = end if subscriber.ends_at is None else min(subscriber.ends_at, end)
        subscriber.has_begun = True
        self.restore(subscriber)
        self._counters.opened += 1
        if subscriber.mode == ENVELOPES:
            return encode_block(b"")
        last_event_id = subscriber.resume.last_event_id if subscriber.resume is not None else ""
        return reconnect_in(self.draw_ms(rules.retry_ms), last_event_id)

    def restore(self, subscriber: S) -> None:
        """Watch a stream that has begun, here or in the predecessor of this hub."""
        self._timers.schedule(subscriber, _next_check(subscriber))

    def forget(self, subscriber: S) -> None:
        """Do nothing more for a stream."""
        self._timers.cancel(subscriber)

    # -- ticks -----------------------------------------------------------------------------------

    def tick(self, now: float) -> tuple[list[S], bool]:
        """Write heartbeats and end streams, as far as that is due.

        Returns:
            The streams that have waited for their channels long enough, and whether more is due.
        """
        with closing(self._timers.pop_due(now)) as due:
            subscribers = list(islice(due, LOOKS_AT_ONCE))
        unbegun = [subscriber for subscriber in subscribers if not subscriber.has_begun]
        for subscriber in subscribers:
            if subscriber.has_begun:
                self._check(subscriber, now)
        return unbegun, len(subscribers) == LOOKS_AT_ONCE

    def _check(self, subscriber: S, now: float) -> None:
        soon = now + TICK_SECONDS
        if subscriber.ends_at is not None and subscriber.ends_at <= soon:
            self._outbox.append(End(subscriber, self._last_bytes(subscriber, soon)))
            return
        is_quiet = subscriber.written_at + subscriber.pace <= soon
        if is_quiet:
            subscriber.quiet_since = now
        self._timers.schedule(subscriber, _next_check(subscriber))
        if is_quiet:
            heartbeat = encode_block(b"") if subscriber.mode == ENVELOPES else HEARTBEAT
            self._outbox.append(Write(subscriber, heartbeat))

    def _last_bytes(self, subscriber: S, now: float) -> bytes:
        has_expired = subscriber.expires_at is not None and subscriber.expires_at <= now
        if has_expired and subscriber.grant.by_ticket:
            return stream_end(subscriber.mode, EXPIRED)
        # A session may have been prolonged meanwhile; the request that reconnects shows it.
        return self.goodbye(subscriber)

    def probe(self, subscribers: Iterable[S], now: float) -> None:
        """Write comments to relayed streams, so that web servers notice whose client has left."""
        # An event is as good a probe as a comment.
        quiet = (each for each in subscribers if each.has_begun and each.written_at <= now - TICK_SECONDS)
        for subscriber in islice(quiet, LOOKS_AT_ONCE):
            subscriber.quiet_since = now
            self._outbox.append(Write(subscriber, HEARTBEAT))

    def next_due(self) -> float | None:
        """Return when ``tick`` has something to do; ``None`` where there are no streams."""
        return self._timers.next_due()

    # -- end -------------------------------------------------------------------------------------

    def drain(self, subscribers: Collection[S], seconds: float, now: float) -> None:
        """End streams in random order, spread evenly over a time: clients must not reconnect all at once."""
        shuffled = sorted(subscribers, key=lambda _: self._draw())
        for number, subscriber in enumerate(shuffled):
            subscriber.ends_at = now + seconds * (number + self._draw()) / len(shuffled)
            # One that has not begun is checked when it begins, or has waited long enough to.
            if subscriber.has_begun:
                self._timers.schedule(subscriber, _next_check(subscriber))

    def goodbye(self, subscriber: S) -> bytes:
        """Return the last bytes of a stream whose client is to reconnect."""
        return goodbye(subscriber.mode, self.draw_ms(subscriber.rules.retry_ms))

    def draw_ms(self, range_ms: tuple[int, int]) -> int:
        """Return a delay within a range, both ends included, in milliseconds."""
        low, high = range_ms
        return low + int(self._draw() * (high - low + 1))

    def _draw_share(self) -> float:
        return 0.8 + 0.2 * self._draw()


def _next_check(subscriber: S) -> float:
    due = subscriber.written_at + subscriber.pace
    return due if subscriber.ends_at is None else min(due, subscriber.ends_at)
