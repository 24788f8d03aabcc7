"""Timer wheel: what is due at which tick. No I/O, no clock, and no timer of the system per stream."""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic, TypeVar

TICK_SECONDS = 0.25


class Timed:
    """Something that is in a timer wheel at most once."""

    __slots__ = ("tick",)

    def __init__(self) -> None:
        self.tick: int | None = None


T = TypeVar("T", bound=Timed)


class TimerWheel(Generic[T]):
    """Items by the tick at which they are due.

    ``schedule``, ``cancel`` and ``pop_due`` cost the same however many there are. Call ``pop_due`` every
    ``TICK_SECONDS``: items are due a little early, so that none is ever late.
    """

    def __init__(self) -> None:
        self._items: dict[int, set[T]] = {}

    def schedule(self, item: T, due: float) -> None:
        """Make an item due at a time, in seconds, in place of the time that was set before."""
        self.cancel(item)
        item.tick = int(due / TICK_SECONDS) - 1
        self._items.setdefault(item.tick, set()).add(item)

    def cancel(self, item: T) -> None:
        """Take an item out, whether it is in or not."""
        if item.tick is not None and item.tick in self._items:
            self._items[item.tick].discard(item)
        item.tick = None

    def pop_due(self, now: float) -> Generator[T]:
        """Yield, and take out, all items that are due before the tick after the next.

        Close the generator where it is not exhausted: the remaining items stay in the wheel.
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
                if items:  # the caller has failed or has enough, and pops the rest at its next tick
                    self._items.setdefault(tick, set()).update(items)

    def next_due(self) -> float | None:
        """Return when ``pop_due`` yields something again; ``None`` where the wheel is empty."""
        ticks = [tick for tick, items in self._items.items() if items]
        return min(ticks) * TICK_SECONDS if ticks else None
