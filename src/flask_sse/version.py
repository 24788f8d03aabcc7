"""The version of this package; pyproject.toml reads it from here."""

from __future__ import annotations

import re

__version__ = "2.0.0.dev0"


def is_older(version: object) -> bool:
    """Tell whether the release that calls itself ``version`` came before this one."""
    return () < _release(version) < _release(__version__)


def is_newer(version: object) -> bool:
    """Tell whether the release that calls itself ``version`` comes after this one."""
    return _release(version) > _release(__version__)


def _release(version: object) -> tuple[int, ...]:
    """Return the numbers of a release; those made on the way to it count as it, and no text as none."""
    match = re.match(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", version) if isinstance(version, str) else None
    return tuple(map(int, match.groups())) if match else ()
