"""Idle channels: those that have lost their last stream, and whose stream that was. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from itertools import islice

# What a limit counts by, and its name: ("address", "192.0.2.7").
Owner = tuple[str, str]


class Idle:
    """Names of channels, in the order in which they became idle.

    Channel names come from visitors, so those that one visitor leaves behind are counted as well.
    """

    def __init__(self) -> None:
        self._since: dict[str, tuple[float, tuple[Owner, ...]]] = {}
        self._left_by: dict[Owner, dict[str, None]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._since

    def __iter__(self) -> Iterator[str]:
        return iter(self._since)

    def __len__(self) -> int:
        return len(self._since)

    def add(self, name: str, now: float, owners: Iterable[Owner]) -> None:
        """Note that a channel is idle from now on, and whose its last stream was."""
        self._since[name] = (now, tuple(owners))
        for owner in self._since[name][1]:
            self._left_by.setdefault(owner, {})[name] = None

    def discard(self, name: str) -> None:
        """Forget a channel; it has a stream again, or is given up."""
        _, owners = self._since.pop(name, (0.0, ()))
        for owner in owners:
            del self._left_by[owner][name]
            if not self._left_by[owner]:
                del self._left_by[owner]

    def since(self, name: str) -> float:
        """Return when a channel became idle."""
        return self._since[name][0]

    def oldest(self, count: int, spared: Container[str]) -> list[str]:
        """Return so many of them that have been idle for longest, or all there are, but for the spared."""
        return list(islice((name for name in self._since if name not in spared), max(count, 0)))

    def beyond(self, owner: Owner, most: int) -> list[str]:
        """Return the oldest of those that one owner left behind, where they are more than ``most``."""
        names = self._left_by.get(owner, {})
        return list(islice(names, max(len(names) - most, 0)))
