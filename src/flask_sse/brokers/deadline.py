"""Deadline: when a call of the application must be over, for everything that the call waits for.

Rules of this file: a deadline belongs to the thread or greenlet that waits, and holds for all that it calls
meanwhile: each read, write, connect and lookup gets what is left, not a time of its own. Within another
deadline the outer one counts.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from contextvars import ContextVar

# What publish() promises is 2 seconds; the rest is for what comes after the last wait.
CALL_SECONDS = 1.9


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self.ends_at = time.monotonic() + seconds


_current: ContextVar[_Deadline | None] = ContextVar("flask_sse_deadline", default=None)


@contextlib.contextmanager
def deadline(seconds: float | None = None) -> Iterator[None]:
    """Let what the block waits for be over in so many seconds, by default ``CALL_SECONDS``, all in all."""
    if _current.get() is not None:
        yield
        return
    token = _current.set(_Deadline(CALL_SECONDS if seconds is None else seconds))
    try:
        yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def deadline_extended() -> Iterator[None]:
    """Do not count the time that the block takes."""
    began, current = time.monotonic(), _current.get()
    try:
        yield
    finally:
        if current is not None:
            current.ends_at += time.monotonic() - began


def seconds_left() -> float:
    """Return how long the caller may wait; infinite where there is no deadline.

    Raises:
        TimeoutError: If the deadline has passed.
    """
    current = _current.get()
    if current is None:
        return math.inf
    left = current.ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
