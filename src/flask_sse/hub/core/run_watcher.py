"""Run watcher: notices runs that are lost or over, and ends their streams. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import Generic

from ...brokers.base import Page
from ...wire.cursor import EARLIEST
from ...wire.envelope import pack
from ...wire.run import LOST, ended
from ..protocol.hub_events import goodbye
from ..protocol.stream_request import ENVELOPES, FRAMES
from .actions import Action, Cancel, Counters, End, Write
from .channel import Channel
from .groups import Groups
from .history_reads import HistoryReads
from .lifetimes import LOOKS_AT_ONCE, Lifetimes
from .runs import AT_NEXT_TICK, END_OF_RUN, LOST_RETRY_MS, EndFrame, Run, RunAction, State, run_frames_in
from .subscriber import Group, S
from .timer_wheel import TimerWheel

# How often the run of a channel with streams is checked.
RUN_CHECK_SECONDS = 1.0
LOST_ENVELOPE = pack(ended(LOST))


class RunWatcher(Generic[S]):
    """The timers of all runs of one hub.

    Args:
        outbox: Where actions for the server go.
        counters: Where what happens is counted.
        groups: Where bytes for all streams of a channel go.
        history_reads: Reads of all channels.
        lifetimes: Draws the delays of streams that are to reconnect.
    """

    def __init__(
        self,
        outbox: deque[Action],
        counters: Counters,
        groups: Groups[S],
        history_reads: HistoryReads[S],
        lifetimes: Lifetimes[S],
    ) -> None:
        self._outbox = outbox
        self._counters = counters
        self._groups = groups
        self._history_reads = history_reads
        self._lifetimes = lifetimes
        self._timers: TimerWheel[Channel[S]] = TimerWheel()

    def watch(self, channel: Channel[S], now: float) -> None:
        """Check the run of a channel that has streams, if it has one."""
        if channel.run is not None and channel.tick is None:
            self._timers.schedule(channel, now + RUN_CHECK_SECONDS)

    def stop_watching(self, channel: Channel[S]) -> None:
        """Do nothing more for the run of a channel without streams."""
        self._timers.cancel(channel)
        if channel.run is None:
            return
        if channel.run.pending_read is not None:
            self._history_reads.finish(channel.run.pending_read)
            self._outbox.append(Cancel(channel.run.pending_read))
        channel.run.stop_watching()

    def note_end(self, channel: Channel[S]) -> None:
        """Note that the end of a run was delivered; its streams end once that is written."""
        self._timers.schedule(channel, AT_NEXT_TICK)

    def exclude_pause(self, channels: Iterable[Channel[S]], seconds: float) -> None:
        """Do not count a pause of this hub as silence of runs."""
        for channel in channels:
            if channel.run is not None:
                channel.run.exclude_pause(seconds)

    def tick(self, now: float, *, broker_away: bool) -> bool:
        """Check runs that are due, or some of them where there are many; return whether more are due."""
        with closing(self._timers.pop_due(now)) as due:
            channels = list(islice(due, LOOKS_AT_ONCE))
        for channel in channels:
            if channel.run is not None:
                self._check(channel, channel.run, now, broker_away=broker_away)
        return len(channels) == LOOKS_AT_ONCE

    def _check(self, channel: Channel[S], run: Run, now: float, *, broker_away: bool) -> None:
        is_receiving = channel.receives_its_run and not broker_away
        self._timers.schedule(channel, now + RUN_CHECK_SECONDS)
        match run.check(now, is_receiving=is_receiving):
            case RunAction.READ_HISTORY if run.pending_read is None:
                self._read(channel.name, run, EARLIEST)
            case RunAction.REPORT_LOST:
                self._counters.lost_runs += 1
                for group in channel.history_groups:
                    self._groups.queue(group, _lost_bytes(channel.name, group))
                self._timers.schedule(channel, AT_NEXT_TICK)
            case RunAction.CHECK_AGAIN:
                self._timers.schedule(channel, AT_NEXT_TICK)
            case RunAction.END_STREAMS:
                self._end_streams(channel, run)

    def _end_streams(self, channel: Channel[S], run: Run) -> None:
        # Streams that listen to other channels as well continue for these. Where the end still waits to be
        # written, the next check ends them: ended first, they would never get it.
        for group in channel.history_groups:
            if not group.pending and group.mode != ENVELOPES and len(group.channels) == 1:
                self._outbox.extend(
                    End(subscriber, self._last_bytes(run)) for subscriber in group.subscribers
                )

    def _last_bytes(self, run: Run) -> bytes:
        if run.state is State.LOST and run.may_return:
            return goodbye(FRAMES, self._lifetimes.draw_ms(LOST_RETRY_MS))
        return END_OF_RUN

    def report_lost(self, subscriber: S, channels: Iterable[Channel[S]]) -> None:
        """Report lost runs to a stream that joined after the others of its group got the report."""
        group = subscriber.group
        if group is None:
            return
        for channel in channels:
            if (
                channel.run is not None
                and channel.run.state is State.LOST
                and channel.name in group.history_channels
            ):
                self._outbox.append(Write(subscriber, _lost_bytes(channel.name, group)))

    def add_page(self, channel: Channel[S], run: Run, page: Page) -> None:
        """Take a page that was read to find out the state of a run."""
        run.add_page(run_frames_in(channel.name, page.entries))
        if page.since is not None and not page.complete:
            self._read(channel.name, run, str(page.end))
            return
        run.finish_read(is_whole=page.since is not None)
        self._timers.schedule(channel, AT_NEXT_TICK)

    def _read(self, name: str, run: Run, since: str) -> None:
        read = self._history_reads.start(name, since)
        run.pending_read = read.number
        self._outbox.append(read.action)


def next_check_of_runs(channels: Iterable[Channel[S]]) -> float | None:
    """Return when the state of a run can change without an event; ``None`` for never."""
    dues = [channel.run.next_due() for channel in channels if channel.run and channel.history_groups]
    return min((due for due in dues if due is not None), default=None)


def _lost_bytes(channel: str, group: Group[S]) -> bytes:
    return group.encode(LOST_ENVELOPE, EndFrame(channel, LOST))
