"""Attempt: one producer's turn at a run. One works at a time, and a cancellation stops only what it means.

Producers tell each other so on two channels that no application can name, besides the run's own:

    flask-sse:run:state:NAME   an attempt began, was cancelled, ended: where the run stands
    flask-sse:run:lease:NAME   which attempt works, kept for ``LEASE_SECONDS`` and renewed every
                               ``RENEW_SECONDS``; empty where it was given back

An attempt begins with a publication whose key names what was there before, so that one of two wins. One that
was paused until its lease was over finds the other one's begin, and stops: that is its fencing token.

A cancellation stops the attempt that works, or else, since a job may still wait in its queue, the next one,
and is used up by that. A run that is over cannot be cancelled.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from ..brokers.base import BrokerPublisher, Page, Publication
from ..errors import RunInProgressError
from ..settings import History
from ..wire.cursor import EARLIEST, Cursor
from ..wire.envelope import pack, unpack
from ..wire.message import Message
from ..wire.run import lease_channel, state_channel

Broker = Callable[[], BrokerPublisher]

CHECK_SECONDS = 1.0
# Of a few attempts; the last one alone is needed.
_STATE_EVENTS = 50
# How long the state is kept at least, and how often it is written again in that time: a run may take longer.
_STATE_SECONDS = 60.0
_REFRESHES = 4
# How long a lease may come behind the begin that it belongs to.
GRACE_SECONDS = 0.5
# Shorter than the silence after which pages receive that the run is lost: a queue that starts a killed job
# again has begun by then. Some renewals may be late.
LEASE_SECONDS = 10.0
RENEW_SECONDS = 3.0

_BEGIN, _CANCEL, _USED, _END = "begin", "cancel", "used", "end"


class Verdict(Enum):
    """What is to become of an attempt that works."""

    GOES_ON = 0
    CANCELLED = 1
    # Another one has begun, since this one was not heard of for too long.
    REPLACED = 2


class State:
    """Where a run stands, by what was written about it.

    Attributes:
        top: The position behind it.
        attempt: The last one that began; ``None`` if that is not known.
        is_over: Whether that one has ended.
        is_cancelled: Whether it, or the next one if it is over or there was none, is to stop.
        was_cancelled: Whether the last one that ended was cancelled before.
    """

    def __init__(self, page: Page) -> None:
        self.top = Cursor(page.epoch, page.top)
        self.attempt: str | None = None
        self.is_over = False
        self.is_cancelled = False
        self.was_cancelled = False
        for word, attempt in _notes(page):
            self._follow(word, attempt)

    def _follow(self, word: str, attempt: str) -> None:
        if word == _BEGIN and attempt != self.attempt:
            self.attempt, self.is_over = attempt, False
        elif word == _CANCEL:
            # What is over is not concerned, and neither is what begins after that.
            self.is_cancelled = not self.is_over
        elif word == _USED or (word == _END and attempt == self.attempt and not self.is_over):
            self.was_cancelled, self.is_cancelled, self.is_over = self.is_cancelled, False, True


class Attempt:
    """One turn at one run.

    Every method may raise ``BrokerUnavailableError``, and can be called again then.

    Args:
        broker: Returns the way to the broker.
        channel: The run's.
        history: Of that channel.
    """

    def __init__(self, broker: Broker, channel: str, history: History) -> None:
        self._broker = broker
        self._channel = channel
        self._state = state_channel(channel)
        self._lease = lease_channel(channel)
        self._history = History(_STATE_EVENTS, max(history.seconds, _STATE_SECONDS))
        self._token = secrets.token_urlsafe(9)
        self._known: Cursor | None = None
        self._noted_at = self._renewed_at = float("-inf")

    def begin(self) -> bool:
        """Become the one that works; ``False`` if the run was cancelled before.

        Raises:
            RunInProgressError: If another one works.
        """
        self._refuse_others()
        state = self._read_state()
        if state.attempt not in (None, self._token) and not state.is_over:
            # It has died, or has begun just now and not yet written its lease.
            time.sleep(GRACE_SECONDS)
            self._refuse_others()
        if state.is_cancelled:
            self._broker().submit([self._note(_USED)])
            return False
        # Its own begin is there where the answer to it was lost.
        if state.attempt != self._token:
            self._broker().submit([self._note(_BEGIN, key=f"begin after {state.top}")])
            news = _notes(self._broker().read(self._state, str(state.top)))
            if next((attempt for word, attempt in news if word == _BEGIN), None) != self._token:
                raise RunInProgressError(self._channel)
        self._noted_at = time.monotonic()
        self._renew()
        return True

    def _refuse_others(self) -> None:
        holder, _ = self._holder()
        if holder not in ("", self._token):
            raise RunInProgressError(self._channel)

    def wait_until_free(self) -> None:
        """Wait until the lease of one that has died is over: a queue starts its job again at once.

        Raises:
            RunInProgressError: If it lives.
        """
        deadline = time.monotonic() + 2 * LEASE_SECONDS
        holder, first = self._holder()
        while holder:
            time.sleep(CHECK_SECONDS)
            holder, position = self._holder()
            if holder and (position != first or time.monotonic() > deadline):
                raise RunInProgressError(self._channel)

    def check(self) -> Verdict:
        """Return what is to become of it, and renew the lease if it continues."""
        (top,) = self._broker().cursors([self._state])
        if top != self._known:
            state = self._read_state()
            if state.is_cancelled:
                return Verdict.CANCELLED
            if state.attempt not in (None, self._token):
                return Verdict.REPLACED
            if state.attempt is None:
                # The broker has lost it.
                self._noted_at = float("-inf")
            self._known = state.top
        now = time.monotonic()
        if now - self._noted_at >= self._history.seconds / _REFRESHES:
            self._broker().submit([self._note(_BEGIN)])
            self._noted_at = now
        if now - self._renewed_at >= RENEW_SECONDS:
            self._renew()
        return Verdict.GOES_ON

    def end(self) -> Verdict:
        """Give the run back; return whether something else had ended it before."""
        if self._read_state().attempt not in (None, self._token):
            return Verdict.REPLACED
        self._broker().submit([self._note(_END), self._lease_of("")])
        return Verdict.CANCELLED if self._read_state().was_cancelled else Verdict.GOES_ON

    def _read_state(self) -> State:
        return State(self._broker().read(self._state, EARLIEST))

    def _holder(self) -> tuple[str, Cursor]:
        page = self._broker().read(self._lease, EARLIEST)
        notes = _notes(page)
        return notes[-1][1] if notes else "", page.end

    def _renew(self) -> None:
        self._broker().submit([self._lease_of(self._token)])
        self._renewed_at = time.monotonic()

    def _note(self, word: str, key: str | None = None) -> Publication:
        return Publication(self._state, _envelope(word, self._token), self._history, key=key)

    def _lease_of(self, holder: str) -> Publication:
        return Publication(self._lease, _envelope(_BEGIN, holder), History(1, LEASE_SECONDS))


def cancel(broker: BrokerPublisher, channel: str, history: History) -> bool:
    """Cancel the attempt that works, or else the next one; ``False`` if the run is over or is cancelled."""
    name = state_channel(channel)
    before = State(broker.read(name, EARLIEST))
    if before.is_over or before.is_cancelled:
        return False
    kept = History(_STATE_EVENTS, max(history.seconds, _STATE_SECONDS))
    broker.submit([Publication(name, _envelope(_CANCEL, ""), kept)])
    after = State(broker.read(name, EARLIEST))
    return after.is_cancelled or after.was_cancelled


def _envelope(word: str, attempt: str) -> bytes:
    return pack(Message({"word": word, "attempt": attempt}))


def _notes(page: Page) -> list[tuple[str, str]]:
    notes: list[Any] = [unpack(entry.envelope).data for entry in page.entries]
    return [(note["word"], note["attempt"]) for note in notes]
