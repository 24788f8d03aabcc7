"""A hub that stands in for every hub and every broker of this process: how tests catch what is published.

It is asked for at each use and never kept. So it holds for applications and publishers that were made before
it came, and for none of them after it has gone. Only a generator that works in a thread of ours stays with
what stood in when it was given to us: the run of one test must not publish into the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from ...settings import Settings
from .hub_client import HubClient

MEMORY_URL = "memory://stand-in"


class Work(Protocol):
    """What goes on in a thread of ours."""

    def abandon(self) -> None:
        """End without telling anyone."""
        ...


class Override:
    """One of them; the one that came last counts.

    Attributes:
        open_hub_client: Returns the way there for whoever has these settings.
    """

    def __init__(self, open_hub_client: Callable[[Settings], HubClient]) -> None:
        self.open_hub_client = open_hub_client
        self._kept: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
        self._works: WeakSet[Work] = WeakSet()
        self._has_gone = False
        self._lock = threading.Lock()

    def kept_for(self, app: object) -> dict[str, Any]:
        """Return what an application keeps meanwhile, in place of what it has otherwise."""
        return self._kept.setdefault(app, {})

    def abandon_at_end(self, work: Work) -> None:
        """Abandon a work when this one goes, or now if it has gone."""
        with self._lock:
            self._works.add(work)
        if self._has_gone:
            work.abandon()

    def end(self) -> None:
        """Abandon what was begun here."""
        self._has_gone = True
        with self._lock:
            works = list(self._works)
        for work in works:
            work.abandon()


_standing: list[Override] = []
# What the generator that runs in this context stays with, ``None`` among it, in a tuple of one.
_remaining: ContextVar[tuple[Override | None] | None] = ContextVar("flask_sse_stand_in", default=None)


def override() -> Override | None:
    """Return what stands in now; from any thread."""
    remaining = _remaining.get()
    if remaining is not None:
        return remaining[0]
    return _standing[-1] if _standing else None


@contextmanager
def remaining_with(each: Override | None) -> Iterator[None]:
    """Let this one stand in meanwhile, in this context only, also when it has gone."""
    token = _remaining.set((each,))
    try:
        yield
    finally:
        _remaining.reset(token)


@contextmanager
def overriding(each: Override) -> Iterator[None]:
    """Let it stand in meanwhile, for all threads of this process."""
    _standing.append(each)
    try:
        yield
    finally:
        _standing.remove(each)
        each.end()
