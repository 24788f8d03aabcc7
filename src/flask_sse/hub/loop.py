"""The event loop of a hub that is a thread of the application.

Under gevent's monkey patching that thread is a greenlet. Python keeps the running loop for each thread of
the system, and so a loop that waits in one greenlet stands in the way of ``asyncio.run`` in all others. This
one is the running loop only while it runs: no greenlet is switched to but where it waits.
"""

from __future__ import annotations

import asyncio
import selectors
from asyncio import _get_running_loop, _set_running_loop  # for those who write loops
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class HubLoop(asyncio.SelectorEventLoop):
    """A loop for sockets, also on Windows, where the default cannot watch them."""

    def __init__(self) -> None:
        # What runs where this one does not: the loop of another greenlet, if there is one.
        self._outside: asyncio.AbstractEventLoop | None = None
        selector = selectors.DefaultSelector()
        if type(selector).__module__.startswith("gevent"):
            self._step_aside_in(selector)
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

    def _step_aside_in(self, selector: selectors.BaseSelector) -> None:
        wait = selector.select

        def select(timeout: float | None = None) -> list[Any]:
            _set_running_loop(self._outside)
            try:
                return wait(timeout)
            finally:
                self._outside = _get_running_loop()
                _set_running_loop(self)

        selector.select = select  # type: ignore[method-assign] # of this one alone
