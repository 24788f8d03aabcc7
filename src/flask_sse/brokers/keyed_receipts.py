"""Receipts of publications with an idempotency key: what a second publication with the same key returns.

No I/O, no clock: ``now`` is the wall clock in seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from ..wire.cursor import Cursor
from .base import KEY_SECONDS, Publication, Receipt

MAX_KEYS = 100_000


class KeyedReceipts:
    """Keeps each receipt for ``KEY_SECONDS``; of more than ``MAX_KEYS`` the oldest is dropped."""

    def __init__(self) -> None:
        # By channel and key, in the order in which they expire.
        self._receipts: OrderedDict[tuple[str, str], tuple[Receipt, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._receipts)

    def get(self, publication: Publication, now: float) -> Receipt | None:
        """Return the receipt of the first publication with the same channel and key."""
        if publication.key is None:
            return None
        receipt, expires_at = self._receipts.get((publication.channel, publication.key), (None, 0.0))
        return receipt if expires_at > now else None

    def add(self, publication: Publication, receipt: Receipt, now: float) -> None:
        """Keep the receipt of a publication that has a key."""
        if publication.key is None:
            return
        self._receipts[publication.channel, publication.key] = (receipt, now + KEY_SECONDS)
        self._receipts.move_to_end((publication.channel, publication.key))
        if len(self._receipts) > MAX_KEYS:
            self._receipts.popitem(last=False)

    def expire(self, now: float, most: int) -> int:
        """Drop those that have expired, so many at most; return how many were dropped."""
        dropped = 0
        while dropped < most and self._receipts and next(iter(self._receipts.values()))[1] <= now:
            self._receipts.popitem(last=False)
            dropped += 1
        return dropped

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield all of them, as values that JSON can carry."""
        for name, ((receivers, cursor, own_id), expires_at) in self._receipts.items():
            # Other releases know five fields, so there are six only where there is an own id.
            yield (*name, receivers, cursor, expires_at, *(() if own_id is None else (own_id,)))

    def load(self, row: tuple[Any, ...]) -> None:
        """Take one row of those that another process had."""
        channel, key, receivers, cursor, expires_at, *own_id = row
        receipt = Receipt(receivers, Cursor(*cursor) if cursor else None, *own_id)
        self._receipts[channel, key] = (receipt, expires_at)
