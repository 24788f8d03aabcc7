"""Streams beyond a limit that wait a moment, as some of those that count may be of pages that have left.

The web server of a relayed stream learns that its client has left when it writes to it, and the hub learns it
from the web server. So a reloaded page would be rejected because of itself. While one waits, the hub writes
comments to the relayed streams that it is one too many of: of those whose page has left, the web server lets
go at the second one. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic

from .groups import M
from .idle_channels import Owner

# A few probes, one each tick.
PROBATION_SECONDS = 2.0


class Probation(Generic[M]):
    """Those that wait, by the subject or address that they are one too many of."""

    def __init__(self) -> None:
        self._waiting: dict[Owner, dict[M, float]] = {}
        self._owners: dict[M, Owner] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def __iter__(self) -> Iterator[M]:
        return iter(tuple(self._owners))

    def has_room(self, owner: Owner, most: int) -> bool:
        """Tell whether one more stream may wait: no more of them than may be open."""
        return len(self._waiting.get(owner, ())) < most

    def put(self, subscriber: M, owner: Owner, now: float) -> None:
        """Let a stream wait."""
        self._waiting.setdefault(owner, {})[subscriber] = now + PROBATION_SECONDS
        self._owners[subscriber] = owner

    def drop(self, subscriber: M) -> bool:
        """Let a stream wait no more; return whether it did."""
        owner = self._owners.pop(subscriber, None)
        if owner is None:
            return False
        del self._waiting[owner][subscriber]
        if not self._waiting[owner]:
            del self._waiting[owner]
        return True

    def is_over(self, subscriber: M, now: float) -> bool:
        """Tell whether a stream that waits has waited long enough."""
        return self._waiting[self._owners[subscriber]][subscriber] <= now
