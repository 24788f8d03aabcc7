"""When to look at which stream again. No clock of its own, and no timer a stream."""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, TypeVar

TICK_SECONDS = 0.25


class Item:
    """Something that is on an timers at most once."""

    __slots__ = ("tick",)

    def __init__(self) -> None:
        self.tick: int | None = None


I = TypeVar("I", bound=Item)  # noqa: E741 - an item


class TimerWheel(Generic[I]):
    """Items by the tick at which they are due.

    Putting, dropping and taking cost the same however many there are. Call ``take`` every
    ``TICK_SECONDS``: items come a little early, so that none is ever late.
    """

    def __init__(self) -> None:
        self._items: dict[int, set[I]] = {}

    def put(self, item: I, due: float) -> None:
        """Look at an item when it is due (seconds), and not at the time that was set before."""
        self.drop(item)
        item.tick = int(due / TICK_SECONDS) - 1
        self._items.setdefault(item.tick, set()).add(item)

    def drop(self, item: I) -> None:
        """Forget an item, whether it is on the timers or not."""
        if item.tick is not None and item.tick in self._items:
            self._items[item.tick].discard(item)
        item.tick = None

    def take(self, now: float) -> Generator[I]:
        """Yield, and take off, all items that are due before the tick after the next.

        Close it where not all of them are taken: those that are left stay.
        """
        this = int(now / TICK_SECONDS)
        for tick in sorted(tick for tick in self._items if tick <= this):
            items = self._items.pop(tick)
            try:
                while items:
                    item = items.pop()
                    item.tick = None
                    yield item
            finally:
                if items:  # whoever takes them has failed, and comes back for the rest
                    self._items.setdefault(tick, set()).update(items)

    def next_due(self) -> float | None:
        """Return when ``take`` yields something again; ``None`` where nothing is on the timers."""
        ticks = [tick for tick, items in self._items.items() if items]
        return min(ticks) * TICK_SECONDS if ticks else None
