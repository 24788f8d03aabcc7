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


def granted_time(*pids: int) -> float:
    """Return a clock in seconds that stands while this process, or another, could run and may not.

    For upper bounds. Linux knows how long threads waited for a core (the second number of ``schedstat``);
    elsewhere the clock never stands. Of several threads it is the sum, and one may not have waited for the
    other: on a busy machine this clock is too slow rather than too fast.

    Args:
        pids: The other processes that take part; they must live until the clock is read again.
    """
    starved_ns = 0
    for pid in ("self", *pids):
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # the thread has ended
                starved_ns += int(thread.read_text().split()[1])
    return time.monotonic() - starved_ns / 1e9


class Stopwatch:
    """How long the ``with`` block took, by the clock of :func:`granted_time`.

    Attributes:
        seconds: The time, once the block has ended.
    """

    def __enter__(self) -> Self:
        self._began = granted_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = granted_time() - self._began
