"""Tasks that live and end together.

Not ``asyncio.TaskGroup``: one whose task fails in the moment in which it is cancelled forgets the
cancellation, and cancels its tasks once only. A connection that breaks while the hub ends would stay.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from typing import Any

CANCEL_SECONDS = 0.5


async def run_together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run until one of them ends, and end the others.

    Raises:
        Exception: What the first one raised.
        ConnectionError: If it was cancelled by itself.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.cancelled():
                raise ConnectionError("interrupted")
            task.result()
    finally:
        await end_all(tasks)


async def end_all(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until the last one has ended."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(pending, timeout=CANCEL_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it
