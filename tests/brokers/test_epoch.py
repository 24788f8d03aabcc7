"""Epochs: letters that a cursor takes, and no two alike."""

from __future__ import annotations

import re

from flask_sse.brokers.epoch import new_epoch
from flask_sse.wire.cursor import EPOCH_PATTERN


def test_an_epoch_is_one_that_a_cursor_can_carry_and_each_is_another() -> None:
    epochs = {new_epoch() for _ in range(1000)}

    assert len(epochs) == 1000
    assert all(re.fullmatch(EPOCH_PATTERN, epoch) for epoch in epochs)
