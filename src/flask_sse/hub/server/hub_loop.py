"""Event loop of a hub: it bounds and measures its turns, and notices when it stood still.

A *turn* is one iteration of the loop, between two calls of ``select``. One client can make thousands of
sockets ready at once, so a turn handles the events of some of them and the next turn those of the next. Work
that may take longer than ``TURN_SECONDS`` asks ``Turns.has_time`` and continues in the next turn.

A loop that stood still, because its process or its machine did or because a turn took long, finds timers
that are due and input that arrived before they were. The input has precedence: a *stall* holds all timers
back until the input that waited is read. Otherwise input that was in time would count as missing: responses
of the broker, ``run-alive`` events, clients that connect or leave.

Under gevent's monkey patching a hub in a thread of the application is a greenlet. Python keeps the running
loop per thread of the system, so a loop that waits in one greenlet makes ``asyncio.run`` fail in all others.
This one is the running loop only while it runs: gevent switches to another greenlet only where it waits.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from asyncio import _get_running_loop, _set_running_loop  # for those who write loops
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any

TURN_SECONDS = 0.010
# Each takes up to about 0.1 ms.
MAX_EVENTS_PER_TURN = 100
# How much later than asked for ``select`` may return before it is a stall. No deadline of a hub is shorter.
STALL_SECONDS = 0.5
# When no socket has input for so long, all input that waited is read.
QUIET_SECONDS = 0.02
# How long timers are held back at most: there may be more input than the hub can read.
MAX_CATCH_UP_SECONDS = 5.0

_Events = list[tuple[selectors.SelectorKey, int]]
_Wait = Callable[[float | None], _Events]


class Turns:
    """Measures the turns of one loop, on its thread."""

    def __init__(self) -> None:
        self._longest = self._longest_cpu = 0.0
        self.begin()

    def begin(self) -> None:
        """Note that a turn begins."""
        self._began = time.monotonic()
        self._cpu_began = time.thread_time()

    def end(self) -> float:
        """Note that a turn ends; return how long it took, in seconds."""
        seconds = time.monotonic() - self._began
        self._longest = max(self._longest, seconds)
        # The time of the CPU takes longer to ask for, and is never more.
        if seconds > self._longest_cpu:
            self._longest_cpu = max(self._longest_cpu, time.thread_time() - self._cpu_began)
        return seconds

    @property
    def has_time(self) -> bool:
        """Whether this turn may do more."""
        return time.monotonic() - self._began < TURN_SECONDS

    def take_longest(self) -> tuple[float, float]:
        """Return the longest turn since the last call, in seconds by the clock and of the CPU."""
        longest = self._longest, self._longest_cpu
        self._longest = self._longest_cpu = 0.0
        return longest


class _Timer:
    """Callback of a timer, which calls the real one once that is not held back any more."""

    def __init__(self, stalls: Stalls, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._stalls = stalls
        self._callback = callback
        self._args = args
        self.handle: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        if self._stalls.hold(self):
            return
        # Breaks the reference cycle, which only the garbage collector would find.
        handle, self.handle = self.handle, None
        if handle is not None and not handle.cancelled():
            self._callback(*self._args)


class Stalls:
    """Notices when its loop stood still, and holds timers back until the input that waited is read.

    Args:
        least_seconds: How late a loop must be.
    """

    def __init__(self, least_seconds: float) -> None:
        self._least_seconds = least_seconds
        self._seconds = 0.0
        self._holds_until: float | None = None
        self._held: list[tuple[_Timer, Context]] = []

    def note(self, late_seconds: float) -> bool:
        """Note how late the loop is; return whether it stood still."""
        if late_seconds < self._least_seconds:
            return False
        self._seconds += late_seconds
        if self._holds_until is None:
            self._holds_until = time.monotonic() + MAX_CATCH_UP_SECONDS
        return True

    @property
    def holds(self) -> bool:
        """Whether timers are held back."""
        return self._holds_until is not None

    @property
    def holds_too_long(self) -> bool:
        """Whether timers are not to be held back any longer, whatever comes."""
        return self._holds_until is not None and time.monotonic() >= self._holds_until

    def hold(self, timer: _Timer) -> bool:
        """Hold a timer back that is due; return whether that is so."""
        if not self.holds:
            return False
        self._held.append((timer, copy_context()))
        return True

    def release(self) -> list[tuple[_Timer, Context]]:
        """Hold nothing back any more; return what was, with the contexts to call them in."""
        self._holds_until = None
        held, self._held = self._held, []
        return held

    def take_seconds(self) -> float:
        """Return for how long the loop stood still since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class HubLoop(asyncio.SelectorEventLoop):
    """A loop for sockets, also on Windows, where the default cannot watch them.

    Attributes:
        turns: Its turns.
        stalls: When it stood still.
    """

    def __init__(self, stall_seconds: float = STALL_SECONDS) -> None:
        # The running loop while this one waits: that of another greenlet, if there is one.
        self._outside: asyncio.AbstractEventLoop | None = None
        self.turns = Turns()
        self.stalls = Stalls(stall_seconds)
        selector = selectors.DefaultSelector()
        wait: _Wait = selector.select
        if type(selector).__module__.startswith("gevent"):
            wait = self._stepping_aside(wait)
        selector.select = self._in_turns(selector, wait)  # type: ignore[method-assign,assignment] # of this one alone
        super().__init__(selector)

    def call_at(  # type: ignore[override] # each callback has its own arguments
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See ``asyncio.loop.call_at``, by which all timers go; but see also ``Stalls``."""
        timer = _Timer(self.stalls, callback, args)
        timer.handle = super().call_at(when, timer, context=context)
        return timer.handle

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let this loop run, from its start to its end, in a thread where another one may be running."""
        self._outside = _get_running_loop()
        _set_running_loop(None)
        try:
            yield
        finally:
            _set_running_loop(self._outside)

    def _stepping_aside(self, wait: _Wait) -> _Wait:
        def select(timeout: float | None = None) -> _Events:
            _set_running_loop(self._outside)
            try:
                return wait(timeout)
            finally:
                self._outside = _get_running_loop()
                _set_running_loop(self)

        return select

    def _in_turns(self, selector: selectors.BaseSelector, wait: _Wait) -> _Wait:
        """Return a ``select`` that measures turns and bounds the events of each."""
        held: deque[tuple[selectors.SelectorKey, int]] = deque()

        def is_watched(key: selectors.SelectorKey) -> bool:
            # It may have been closed since, and its number be that of another socket.
            return selector.get_map().get(key.fileobj) is key

        def select(timeout: float | None = None) -> Any:
            self.stalls.note(self.turns.end())
            if self.stalls.holds_too_long:
                self._release_timers()
            if held:
                some = [held.popleft() for _ in range(min(len(held), MAX_EVENTS_PER_TURN))]
                events = [(key, mask) for key, mask in some if is_watched(key)]
            else:
                events = self._wait_and_measure(wait, timeout)
                held.extend(events[MAX_EVENTS_PER_TURN:])
                del events[MAX_EVENTS_PER_TURN:]
            self.turns.begin()
            return events

        return select

    def _wait_and_measure(self, wait: _Wait, timeout: float | None) -> _Events:
        # With a timeout, all callbacks that were ready have run.
        asks_for_the_rest = self.stalls.holds and timeout != 0
        if asks_for_the_rest:
            timeout = QUIET_SECONDS if timeout is None else min(timeout, QUIET_SECONDS)
        began = time.monotonic()
        events = wait(timeout)
        # A process is mostly stopped in here, and the wait may then end without the events that are there.
        late_seconds = 0.0 if timeout is None else time.monotonic() - began - timeout
        if not self.stalls.note(late_seconds) and asks_for_the_rest and not events:
            self._release_timers()
        return events

    def _release_timers(self) -> None:
        for timer, context in self.stalls.release():
            self.call_soon(timer, context=context)
