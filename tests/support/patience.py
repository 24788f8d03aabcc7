"""How long tests wait, on a machine that is busy with other things as well.

Three kinds of seconds, and each has its own measure:

- Something *must come*: it is waited for until it is there, and ``patient`` says when to give up. How long
  it took is of no meaning.
- Something *must not come*: a plain number of seconds, for waiting longer would show no more.
- The product *promises* a time: ``promises.promised`` measures what the call waited and worked, without the
  time in which the machine did not let it run. A lower bound needs no such care.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Self

# How many times slower than alone on the machine anything may be. Beside two processes that burn both
# cores, four workers of tests have seen a quarter of their speed.
FACTOR = 6


def patient(seconds: float) -> float:
    """Return how long to wait for what must come and takes ``seconds`` at most on a quiet machine."""
    return seconds * FACTOR


# For whatever has no reason to take another time.
PATIENT_SECONDS = patient(15)


class Stopwatch:
    """How long this process waited and worked in the ``with`` block, for an upper bound.

    What does not count is the time in which its threads could run and others had the cores. Linux knows it
    (the second number of ``schedstat``); elsewhere all counts. Of several threads it is the sum, and one may
    not have waited for the other: on a busy machine the result is too small rather than too large.

    Attributes:
        seconds: The time, once the block has ended.
    """

    def __enter__(self) -> Self:
        self._began = self._now()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = self._now() - self._began

    @staticmethod
    def _now() -> float:
        starved_ns = 0
        for thread in Path("/proc/self/task").glob("*/schedstat"):
            with suppress(OSError):  # the thread has ended
                starved_ns += int(thread.read_text().split()[1])
        return time.monotonic() - starved_ns / 1e9
