"""Ranges of numbers that settings have, and that rules from another process are checked against."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from .wire.message import MAX_RETRY_MS


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that may be; ``in`` tells it, and is false for what is no number.

    Attributes:
        least: The lowest one.
        most: The highest one. Larger ones cannot be computed with.
        is_whole: Whether only integers are in it.
        excludes_least: Whether the lowest one is not in it.

    Example:
        >>> 0 in COUNT, 7 in COUNT, 7.0 in COUNT, True in COUNT, 0.5 in SECONDS, float("nan") in SECONDS
        (False, True, False, False, True, False)
    """

    least: float
    most: float = sys.float_info.max
    is_whole: bool = False
    excludes_least: bool = False

    def __contains__(self, value: object) -> bool:
        # By its type: a bool is an int, too. NaN fails both comparisons.
        if type(value) is not int and (self.is_whole or type(value) is not float):
            return False
        return self.least <= value <= self.most and not (self.excludes_least and value == self.least)


# Some 31 years: what is longer means never.
MAX_SECONDS = 1e9

SECONDS = Range(0, MAX_SECONDS)
POSITIVE_SECONDS = Range(0, MAX_SECONDS, excludes_least=True)
COUNT = Range(1, is_whole=True)
RETRY_MS = Range(0, MAX_RETRY_MS, is_whole=True)
HISTORY_SIZE = Range(0, is_whole=True)
HISTORY_SECONDS = POSITIVE_SECONDS
