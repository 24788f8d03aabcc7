"""Slots: how many generators work in this process at once, for ``sse.response`` and for ``sse.run``."""

from __future__ import annotations

import math
import os
import threading
import time

_WARN_SECONDS = 60.0


class Slots:
    """A count with a limit, shared by all applications of this process; safe from any thread.

    Attributes:
        taken: How many are in use.
        rejected: How many requests were rejected so far.
    """

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):
            # The threads of the parent process, which would release theirs, are not in the child.
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self.taken = 0
        self.rejected = 0
        self._warned_at = -math.inf

    def take(self, limit: int) -> bool:
        """Take a slot, to be released later; ``False`` if as many as ``limit`` are in use."""
        with self._lock:
            if self.taken >= limit:
                return False
            self.taken += 1
            return True

    def release(self) -> None:
        """Give a slot back."""
        with self._lock:
            # Where a generator forked this process, its slot was forgotten already.
            self.taken = max(0, self.taken - 1)

    def reject(self) -> bool:
        """Count a rejection; return whether to log it, which is at most once a minute."""
        with self._lock:
            self.rejected += 1
            now = time.monotonic()
            if now - self._warned_at < _WARN_SECONDS:
                return False
            self._warned_at = now
            return True


responses = Slots()
runs = Slots()
