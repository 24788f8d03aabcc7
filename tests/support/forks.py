"""Forked children that share what this process had open."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable


def by_os(work: Callable[[], None]) -> Callable[[], int]:
    """Do ``work`` in a child made by ``os.fork``; the result waits for its exit code."""
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child must not return into the test's own frames
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def by_multiprocessing(work: Callable[[], None]) -> Callable[[], int]:
    """Do ``work`` in a child made by ``multiprocessing``; the result waits for its exit code."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()

    def wait() -> int:
        child.join()
        return child.exitcode or 0

    return wait
