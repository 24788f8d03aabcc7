"""Override for tests: a hub that replaces every hub and every broker of this process.

It is looked up at each use and never stored. So it holds for applications and publishers that were made
before it was installed, and for none of them after it was removed. Only a generator in a thread of ours keeps
the override that was active when it was started: the run of one test must not publish into the next one.
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

MEMORY_URL = "memory://override"


class Work(Protocol):
    """Work in a thread of ours, such as a run."""

    def abandon(self) -> None:
        """End without publishing anything more."""
        ...


class Override:
    """One of them; the one that was installed last is active.

    Attributes:
        open_hub_client: Returns the hub client of an application or publisher with these settings.
    """

    def __init__(self, open_hub_client: Callable[[Settings], HubClient]) -> None:
        self.open_hub_client = open_hub_client
        self._kept: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
        self._works: WeakSet[Work] = WeakSet()
        self._is_removed = False
        self._lock = threading.Lock()

    def kept_for(self, app: object) -> dict[str, Any]:
        """Return the state of an application meanwhile, in place of its own."""
        return self._kept.setdefault(app, {})

    def abandon_at_end(self, work: Work) -> None:
        """Abandon a work when this override is removed, or now if it is."""
        # Added before the flag is read, and the flag is set before the set is read: one of the two threads
        # sees the other, whatever their order.
        with self._lock:
            self._works.add(work)
        if self._is_removed:
            work.abandon()

    def end(self) -> None:
        """Abandon all work that was started with this override."""
        self._is_removed = True
        with self._lock:
            works = list(self._works)
        for work in works:
            work.abandon()


_installed: list[Override] = []
# The override that the generator in this context keeps, ``None`` among it, in a tuple of one.
_kept_override: ContextVar[tuple[Override | None] | None] = ContextVar("flask_sse_override", default=None)


def active_override() -> Override | None:
    """Return the override that is active now; from any thread."""
    kept = _kept_override.get()
    if kept is not None:
        return kept[0]
    return _installed[-1] if _installed else None


@contextmanager
def keeping_override(override: Override | None) -> Iterator[None]:
    """Keep an override active meanwhile, in this context only, even if it is removed."""
    token = _kept_override.set((override,))
    try:
        yield
    finally:
        _kept_override.reset(token)


@contextmanager
def installed_override(override: Override) -> Iterator[None]:
    """Install an override meanwhile, for all threads of this process."""
    _installed.append(override)
    try:
        yield
    finally:
        _installed.remove(override)
        override.end()
