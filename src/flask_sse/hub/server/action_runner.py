"""Action runner: carries out the actions that the core has decided on, and writes what became ready.

Most actions are carried out at once. Those of which one cause may bring thousands (``Continue``, ``Read``,
``End``) are queued, and take turns with everything else that the loop has to do.
"""

from __future__ import annotations

import logging
import time
from collections import deque

from ...brokers.base import BrokerFeed
from ...brokers.memory import MemoryFeed
from ...wording import counted
from ..core.actions import (
    Action,
    Cancel,
    CheckAll,
    Continue,
    End,
    Read,
    ReportDropped,
    Revoke,
    Subscribe,
    Unsubscribe,
    WarnRevocationsLost,
    Write,
)
from ..core.core import Core
from ..protocol.revocation import REMEMBERED_SECONDS, ReceivedRevocation, Revocation
from .fan_out import FanOut
from .hub_log import HubLog
from .hub_loop import HubLoop
from .revocation_journal import RevocationJournal
from .stream import Stream
from .stream_io import StreamIO

logger = logging.getLogger(__name__)

LOST_REVOCATIONS = (
    "the broker has lost %s of the last day. This hub knows them from its file; "
    "tickets that were revoked elsewhere may be valid again"
)
# A broker that lost nothing has revocations for a day; the last hour of it is left out, for clocks differ.
EXPECTED_SECONDS = REMEMBERED_SECONDS - 3600.0


class ActionRunner:
    """Carries out the actions of one core; used on the hub's loop only.

    Nothing is carried out before ``start``: sockets and feed call the core, so they are made after the core,
    and the actions of the core need them.

    Args:
        core: Decides on the actions.
        loop: Of the hub.
        log: Of the hub.
    """

    _io: StreamIO
    _fan_out: FanOut
    _feed: BrokerFeed

    def __init__(self, core: Core[Stream], loop: HubLoop, log: HubLog) -> None:
        self._core = core
        self._loop = loop
        self._log = log
        self._journal: RevocationJournal | None = None
        # Actions that bring about more, or of which one cause may bring thousands.
        self._later: deque[Action] = deque()
        self._continues = False
        self._is_running = False
        self._flush_scheduled = False

    def start(self, io: StreamIO, fan_out: FanOut, feed: BrokerFeed) -> None:
        """Be ready to carry out actions.

        Args:
            io: Writes to streams.
            fan_out: Writes what became ready to all streams of a group.
            feed: The broker.
        """
        self._io, self._fan_out, self._feed = io, fan_out, feed

    # -- actions -------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Carry out the actions of the core, and what they bring about within the time of this turn."""
        if self._is_running:
            return  # what an action brings about is carried out by the call that runs already
        self._is_running = True
        try:
            self._run_urgent()
            while self._later and self._loop.turns.has_time:
                self._run_next()
        finally:
            self._is_running = False
        if self._later and not self._continues:
            self._continues = True
            self._loop.call_soon(self._continue)
        self.flush_soon()

    def _continue(self) -> None:
        self._continues = False
        if self._later:
            # However late it is: the rest would never be done on a loop whose every turn is long.
            self._run_next()
        self.carry_out()

    def _run_urgent(self) -> None:
        # All of it at once: a stream that the core considers up to date must have been written to before
        # the next event is.
        while self._core.outbox:
            action = self._core.outbox.popleft()
            if isinstance(action, Continue | Read | End):
                self._later.append(action)
            else:
                self._run(action)
            if isinstance(action, End):
                # It gets no event from here on, also if many end before it.
                self._core.remove(action.subscriber, self._loop.time())

    def _run_next(self) -> None:
        self._run(self._later.popleft())
        self._run_urgent()

    def finish(self) -> None:
        """Carry out and write all that was begun, however long it takes."""
        while self._core.outbox or self._later:
            self._run_urgent()
            if self._later:
                self._run(self._later.popleft())
        self._fan_out.write_all(self._loop.time())

    def _run(self, action: Action) -> None:
        match action:
            case Write(stream, data):
                # The rest of its group may have been written to already, so it gets that first.
                self._fan_out.write_first_to(stream)
                self._io.send(stream, data)
            case Continue(stream):
                self._continue_stream(stream)
            case End(stream, data):
                self._fan_out.write_first_to(stream)
                self._io.send(stream, data)
                self._io.drop(stream)
            case ReportDropped(channel, reason):
                self._log.throttled_warning(
                    "foreign", "dropped a message on channel %s: %s", ascii(channel), reason
                )
            case Revoke(revocation, is_live):
                self._revoke(revocation, is_live=is_live)
            case _:
                self._run_for_broker(action)

    def _continue_stream(self, stream: Stream) -> None:
        if stream.has_backlog:
            return  # it continues when the client has read that
        try:
            self._core.continue_stream(stream, self._loop.time())
        except Exception as error:  # noqa: BLE001 - see StreamIO.give_up
            self._io.give_up([stream], error)

    def _run_for_broker(self, action: Action) -> None:
        match action:
            case CheckAll():
                self._core.check_all()
            case WarnRevocationsLost(count):
                logger.warning(LOST_REVOCATIONS, counted(count, "revocation"))
            case Subscribe(channel):
                self._feed.subscribe(channel)
            case Unsubscribe(channel):
                self._feed.unsubscribe(channel)
            case Read(number, channel, since) if self._core.channel_read(number) is not None:
                self._feed.read(number, channel, since)
            case Cancel(number):
                self._feed.cancel(number)

    # -- writes --------------------------------------------------------------------------------------

    def flush_soon(self) -> None:
        """Write what is ready, and what becomes so in this turn of the loop, at the end of it."""
        if self._fan_out.has_pending and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is ready, as far as this turn has time for it."""
        self._flush_scheduled = False
        self._log.doing = ("flush",)
        self._fan_out.write(self._loop.time())
        self.flush_soon()

    # -- revocations ---------------------------------------------------------------------------------

    def keep_revocations(self, journal: RevocationJournal) -> None:
        """Restore the revocations of a file, and append new ones to it."""
        try:
            lines = journal.open()
        except OSError as error:
            self._cannot_keep_revocations(error)
            return
        self._journal = journal
        now = time.time()
        # The broker that lives in this hub has none yet.
        expected_since = now if isinstance(self._feed, MemoryFeed) else now - EXPECTED_SECONDS
        for line in lines:
            self._core.revocations.restore_from_journal(
                line.revocation, now, is_expected=line.noted_at > expected_since
            )

    def _cannot_keep_revocations(self, error: OSError) -> None:
        self._log.throttled_warning(
            "journal", "revocations do not outlive this hub, its file cannot be used: %s", error
        )

    def _revoke(self, revocation: Revocation, *, is_live: bool) -> None:
        now = time.time()
        self._core.revoke(ReceivedRevocation(revocation, now, is_live))
        if self._journal is not None:
            try:
                self._journal.append(revocation, now)
            except OSError as error:
                self._cannot_keep_revocations(error)

    def prune_revocations(self) -> None:
        """Drop from the file what is over."""
        if self._journal is not None:
            try:
                self._journal.prune(time.time())
            except OSError as error:
                self._cannot_keep_revocations(error)

    def release_journal(self) -> None:
        """Close the file: the successor appends to it from here on."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
