"""Jitter: random numbers that spread load, and delays of repeated attempts that grow and spread.

Rules of this file: the only place that draws random numbers to spread load; the hub's core, which is pure,
gets ``draw`` from its server. The generator is our own and keeps no state. Python's shared one can be seeded
by an application, and a ``random.Random`` of ours would be copied when a web server forks its workers: either
way several processes would draw the same numbers, and all their clients would reconnect at the same moments.
"""

from __future__ import annotations

import random

# A connection or a process that lived so long was a good one: its end begins a new series of failures.
HEALTHY_SECONDS = 30.0
_BACKOFF_FACTOR = 2.0
# Keeps the power below the largest float.
_MAX_EXPONENT = 30

_source = random.SystemRandom()

draw = _source.random  # from 0 to 1, without 1


def draw_between(low: float, high: float) -> float:
    """Return a number between two others."""
    return _source.uniform(low, high)


def draw_ms(range_ms: tuple[int, int]) -> int:
    """Return a delay within a range, both ends included, in milliseconds."""
    return _source.randint(*range_ms)


def failures_in_a_row(before: int, lived_seconds: float) -> int:
    """Return how many attempts have failed in a row, after one more that lived for some seconds."""
    return 1 if lived_seconds > HEALTHY_SECONDS else before + 1


def backoff_seconds(failures: int, first_seconds: float, max_seconds: float) -> float:
    """Return how long to wait after some failures in a row: exponential backoff with jitter.

    Args:
        failures: How many, 1 or more.
        first_seconds: The longest wait after the first one.
        max_seconds: The longest wait after any number of them.

    Returns:
        Seconds between half of the longest wait and all of it.
    """
    longest = min(max_seconds, first_seconds * _BACKOFF_FACTOR ** min(failures - 1, _MAX_EXPONENT))
    return draw_between(longest / 2, longest)
