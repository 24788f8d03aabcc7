"""Revocations: those that this hub has received, and which streams they end. No I/O, no clock.

``protocol.revocation`` has the rules: which clock decides on which stream.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple

from ...channels import CONTROL_CHANNEL
from ...errors import InvalidMessageError
from ..protocol.hub_events import authorize_again, stream_end
from ..protocol.revocation import HISTORY, REMEMBERED_SECONDS, ReceivedRevocation, Revocation
from .actions import Action, CheckAll, Counters, End, ReportDropped, Revoke, WarnRevocationsLost
from .lifetimes import Lifetimes
from .subscriber import S

# How long a request takes at most from the check of its right until its stream reaches the hub. A clock that
# shows a longer time was set meanwhile, and what it shows is not used.
MAX_REQUEST_SECONDS = 600.0

_Key = tuple[str | None, str | None]


class Denial(NamedTuple):
    """Why a stream that a revocation names may not be open.

    Attributes:
        reason: What its client receives.
        is_final: Whether the client must not reconnect. Otherwise it is not known whether its right is older
            than the revocation, so that it is to reconnect, and the application checks the right again.
    """

    reason: str
    is_final: bool


class _Latest:
    """All revocations with the same subject and channel in one."""

    __slots__ = ("at", "count", "is_live", "reason", "received_at")

    def __init__(self) -> None:
        self.count = 0
        self.at = 0.0
        self.received_at = 0.0
        self.is_live = False
        self.reason = ""

    def add(self, received: ReceivedRevocation) -> None:
        self.count += 1
        # A sender whose clock is ahead revokes tickets for no longer than any ticket lives.
        self.at = max(self.at, min(received.revocation.at, received.received_at + REMEMBERED_SECONDS))
        self.received_at = max(self.received_at, received.received_at)
        self.is_live = self.is_live or received.is_live
        self.reason = received.revocation.reason

    def denial(self, issued_at: float, *, by_ticket: bool) -> Denial | None:
        is_older = issued_at <= self.at
        if by_ticket:
            return Denial(self.reason, is_final=True) if is_older else None
        if not 0 <= self.received_at - issued_at <= MAX_REQUEST_SECONDS:
            return None
        if self.is_live:
            return Denial(self.reason, is_final=is_older)
        # It arrived before this hub began, so that only clocks can decide, and they may be wrong.
        return Denial(self.reason, is_final=False) if is_older else None


class Revocations(Generic[S]):
    """Receives revocations, remembers them, and ends the streams that they name.

    Args:
        outbox: Where actions for the server go.
        counters: Where what happens is counted.
        lifetimes: Draws the delays of streams that are to reconnect.
    """

    def __init__(self, outbox: deque[Action], counters: Counters, lifetimes: Lifetimes[S]) -> None:
        self._outbox = outbox
        self._counters = counters
        self._lifetimes = lifetimes
        # In the order of their arrival; limited by number alone, so that no clock makes the hub forget one.
        self._received: OrderedDict[Revocation, ReceivedRevocation] = OrderedDict()
        self._latest: dict[_Key, _Latest] = {}
        # Whether what the control channel brings from here on was published while a hub was there.
        self._has_read_history = False
        # Revocations of a hub before this one that the broker has not brought again.
        self._unconfirmed: set[Revocation] = set()

    @property
    def received(self) -> Iterable[ReceivedRevocation]:
        """All revocations that are remembered, the earliest first."""
        return self._received.values()

    @property
    def has_read_history(self) -> bool:
        """Whether all revocations from before this hub are known."""
        return self._has_read_history

    def receive(self, envelope: bytes) -> None:
        """Take what was published on the control channel just now."""
        self._receive(envelope, is_live=True)

    def receive_from_history(self, envelope: bytes) -> None:
        """Take what the history of the control channel has."""
        self._receive(envelope, is_live=self._has_read_history)

    def _receive(self, envelope: bytes, *, is_live: bool) -> None:
        try:
            revocation = Revocation.read(envelope)
        except InvalidMessageError as error:
            self._counters.foreign_dropped += 1
            self._outbox.append(ReportDropped(CONTROL_CHANNEL, str(error)))
            return
        self._unconfirmed.discard(revocation)
        # The broker may bring one several times.
        if revocation not in self._received:
            self._outbox.append(Revoke(revocation, is_live))

    def end_streams(self, revocation: Revocation, subscribers: Iterable[S]) -> None:
        """End the streams that a revocation names."""
        for subscriber in subscribers:
            if revocation.names(subscriber.grant, subscriber.channels):
                self._end(subscriber, Denial(revocation.reason, is_final=True))

    def check(self, subscribers: Iterable[S]) -> None:
        """End streams that were opened before the hub had read what was revoked before it began."""
        for subscriber in subscribers:
            denial = self._denial_of(subscriber)
            if denial is not None:
                self._end(subscriber, denial)

    def _end(self, subscriber: S, denial: Denial) -> None:
        self._counters.revoked += 1
        self._outbox.append(End(subscriber, self._last_bytes(denial, subscriber)))

    def restore(self, positions: Mapping[str, str], revocations: Iterable[ReceivedRevocation]) -> None:
        """Begin with the revocations of the predecessor, and its position in their history, if it had one."""
        self._has_read_history = CONTROL_CHANNEL in positions
        for received in revocations:
            self.add(received)

    def restore_from_journal(self, revocation: Revocation, now: float, *, is_expected: bool) -> None:
        """Take a revocation that an earlier hub wrote down; before streams are added that were not restored.

        Args:
            revocation: What was revoked.
            now: In seconds of the wall clock.
            is_expected: Whether the broker has it in its history, if it lost nothing.
        """
        if self.add(ReceivedRevocation(revocation, now, is_live=False)) and is_expected:
            self._unconfirmed.add(revocation)

    def finish_history(self) -> None:
        """Note that the history of the control channel was read to its end."""
        if not self._has_read_history:
            self._has_read_history = True
            self._outbox.append(CheckAll())
        if self._unconfirmed:
            self._outbox.append(WarnRevocationsLost(len(self._unconfirmed)))
            self._unconfirmed.clear()

    def add(self, received: ReceivedRevocation) -> bool:
        """Remember a revocation for streams that are opened later; return whether it is new."""
        revocation = received.revocation
        if revocation in self._received:
            return False
        self._received[revocation] = received
        self._latest.setdefault((revocation.subject, revocation.channel), _Latest()).add(received)
        if len(self._received) > HISTORY.size:
            first, _ = self._received.popitem(last=False)
            key = (first.subject, first.channel)
            self._latest[key].count -= 1
            if not self._latest[key].count:
                del self._latest[key]
        return True

    def rejection_of(self, subscriber: S) -> bytes | None:
        """Return the whole body of a stream that a revocation names; ``None`` if it may be opened."""
        denial = self._denial_of(subscriber)
        return self._last_bytes(denial, subscriber) if denial is not None else None

    def _denial_of(self, subscriber: S) -> Denial | None:
        grant = subscriber.grant
        if grant.issued_at is None:
            return None
        denials = []
        for subject in {None, grant.subject}:
            for channel in (None, *subscriber.channels):
                latest = self._latest.get((subject, channel))
                if latest is not None:
                    denials.append(latest.denial(grant.issued_at, by_ticket=grant.by_ticket))
        return max(filter(None, denials), key=lambda denial: denial.is_final, default=None)

    def _last_bytes(self, denial: Denial, subscriber: S) -> bytes:
        if denial.is_final:
            return stream_end(subscriber.mode, denial.reason)
        return authorize_again(subscriber.mode, self._lifetimes.draw_ms(subscriber.rules.retry_ms))
