"""A hub that stands in for every hub and every broker of this process: how tests catch what is published.

It is asked for at each use and never kept. So it holds for applications and publishers that were made before
it came, and for none of them after it has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from ..settings import Settings
from .link import Link

MEMORY_URL = "memory://stand-in"


class StandIn:
    """One of them; the one that came last counts.

    Attributes:
        open_link: Returns the way there for whoever has these settings.
    """

    def __init__(self, open_link: Callable[[Settings], Link]) -> None:
        self.open_link = open_link
        self._kept: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()

    def kept_for(self, app: object) -> dict[str, Any]:
        """Return what an application keeps meanwhile, in place of what it has otherwise."""
        return self._kept.setdefault(app, {})


_standing: list[StandIn] = []


def stand_in() -> StandIn | None:
    """Return what stands in now; from any thread."""
    return _standing[-1] if _standing else None


@contextmanager
def standing_in(each: StandIn) -> Iterator[None]:
    """Let it stand in meanwhile, for all threads of this process."""
    _standing.append(each)
    try:
        yield
    finally:
        _standing.remove(each)
