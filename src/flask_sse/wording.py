"""How a count is written where people read it: in logs, errors and terminals."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an ``s`` unless there is one.

    Example:
        >>> counted(0, "stream"), counted(1, "stream"), counted(2, "stream")
        ('0 streams', '1 stream', '2 streams')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
