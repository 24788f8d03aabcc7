"""Epoch: the random part of each cursor, which tells two histories of one channel apart.

Not in ``base``, because the hub's core, which does no I/O, imports the values that are there.
"""

from __future__ import annotations

import os

from ..wire.cursor import EPOCH_LETTERS

_LETTERS = bytes(ord("a") + number % 26 for number in range(256))


def new_epoch() -> str:
    """Return an epoch that cannot be guessed, and that no history has had before."""
    return os.urandom(EPOCH_LETTERS).translate(_LETTERS).decode()
