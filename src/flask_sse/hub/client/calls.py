"""A call on an event loop from another thread, which happens within its time or not at all."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class LoopClosedError(Exception):
    """The loop is closed and calls nothing any more."""


def call_on_loop(loop: asyncio.AbstractEventLoop, action: Callable[[], T], timeout_seconds: float) -> T:
    """Return what ``action`` returns on the loop of another thread.

    ``run_coroutine_threadsafe(...).result(timeout)`` is no substitute: after its timeout the coroutine may
    still run, when the caller has long done something else instead.

    Args:
        loop: The loop; not that of the calling thread.
        action: Is called once; it must not wait.
        timeout_seconds: How long the loop may take to begin with it.

    Raises:
        TimeoutError: If the loop did not begin in time; then it never does.
        LoopClosedError: If the loop is closed; nothing was done.
        Exception: What ``action`` raises.
    """
    result: concurrent.futures.Future[T] = concurrent.futures.Future()

    def act() -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(action())
        except Exception as error:  # noqa: BLE001 - it is raised to the caller
            result.set_exception(error)

    try:
        loop.call_soon_threadsafe(act)
    except RuntimeError as error:
        raise LoopClosedError from error
    try:
        return result.result(timeout_seconds)
    except TimeoutError:
        if result.cancel():
            raise
        # It has begun, so it happens.
        return result.result()
