"""Checks of single values in the fields of packets. No I/O."""

from __future__ import annotations

import sys
from typing import Any

from ...settings import MAX_SECONDS


def is_time(value: Any) -> bool:
    """Tell whether a value is a number of seconds that can be waited for."""
    # By its type: a bool is an int, too. NaN fails both comparisons.
    return type(value) in (int, float) and 0 <= value <= MAX_SECONDS


def is_whole(value: Any, low: int) -> bool:
    """Tell whether a value is a whole number of at least ``low`` that can be turned into a float."""
    return type(value) is int and low <= value <= sys.float_info.max
