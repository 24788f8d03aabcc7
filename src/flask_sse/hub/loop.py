"""The event loop of a hub: it bounds and measures its turns.

A *turn* is what the loop does between two looks at the sockets. One client can make thousands of sockets
ready at once, so a turn takes the events of some of them and the next turn those of the next; and what
would take longer than ``TURN_SECONDS`` asks ``Turns.has_time`` and continues in the next turn.

Under gevent's monkey patching a hub in a thread of the application is a greenlet. Python keeps the running
loop for each thread of the system, and so a loop that waits in one greenlet stands in the way of
``asyncio.run`` in all others. This one is the running loop only while it runs: no greenlet is switched to but
where it waits.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from asyncio import _get_running_loop, _set_running_loop  # for those who write loops
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

TURN_SECONDS = 0.010
# Each takes up to some 0.1 ms.
MAX_EVENTS_PER_TURN = 100

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

    def end(self) -> None:
        """Note that a turn ends."""
        seconds = time.monotonic() - self._began
        self._longest = max(self._longest, seconds)
        # The time of the CPU takes longer to ask for, and is never more.
        if seconds > self._longest_cpu:
            self._longest_cpu = max(self._longest_cpu, time.thread_time() - self._cpu_began)

    @property
    def has_time(self) -> bool:
        """Whether this turn may do more."""
        return time.monotonic() - self._began < TURN_SECONDS

    def take_longest(self) -> tuple[float, float]:
        """Return the longest turn since the last call, in seconds by the clock and of the CPU."""
        longest = self._longest, self._longest_cpu
        self._longest = self._longest_cpu = 0.0
        return longest


class HubLoop(asyncio.SelectorEventLoop):
    """A loop for sockets, also on Windows, where the default cannot watch them.

    Attributes:
        turns: Its turns.
    """

    def __init__(self) -> None:
        # What runs where this one does not: the loop of another greenlet, if there is one.
        self._outside: asyncio.AbstractEventLoop | None = None
        self.turns = Turns()
        selector = selectors.DefaultSelector()
        wait: _Wait = selector.select
        if type(selector).__module__.startswith("gevent"):
            wait = self._stepping_aside(wait)
        selector.select = self._in_turns(selector, wait)  # type: ignore[method-assign,assignment] # of this one alone
        super().__init__(selector)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Let this loop run, from its start to its end, where another one may be in the midst of its own."""
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
            # It may have been closed meanwhile, and its number given to another one.
            return selector.get_map().get(key.fileobj) is key

        def select(timeout: float | None = None) -> Any:
            self.turns.end()
            if held:
                some = [held.popleft() for _ in range(min(len(held), MAX_EVENTS_PER_TURN))]
                events = [(key, mask) for key, mask in some if is_watched(key)]
            else:
                events = wait(timeout)
                held.extend(events[MAX_EVENTS_PER_TURN:])
                del events[MAX_EVENTS_PER_TURN:]
            self.turns.begin()
            return events

        return select
