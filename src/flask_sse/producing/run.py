"""Runs: a producer starts in a thread of its own, and is cancelled from any process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ..brokers.deadline import deadline
from ..errors import TooManyRunsError
from ..wire.run import CANCELLED, ended
from . import attempt
from .producer import Producer, RunBackend
from .run_name import check_run
from .slots import runs

logger = logging.getLogger(__name__)


def start_run(producer: Producer, in_contexts: Callable[[Callable[[], None]], None], max_runs: int) -> None:
    """Start a producer in a thread of its own.

    Args:
        producer: It has not begun.
        in_contexts: Calls a function, in another thread, with the contexts of the application.
        max_runs: How many runs this process may have at once.

    Raises:
        TooManyRunsError: If it has as many, or the system has no more threads; nothing was published.
        RunInProgressError: If another producer works on this run; nothing was published.
    """

    def work() -> None:
        try:
            producer.work(waits=False)
        except BaseException:  # also SystemExit and gevent.Timeout, which end no more than this thread
            logger.exception("%s failed", ascii(producer.channel))

    def work_in_contexts() -> None:
        try:
            in_contexts(work)
        except Exception:
            logger.exception("the contexts of %s failed", ascii(producer.channel))
            producer.fail()
        finally:
            runs.release()

    if not runs.take(max_runs):
        raise TooManyRunsError(max_runs, "the limit is SSE_MAX_RUNS")
    try:
        with deadline():
            producer.begin_if_reachable()
        threading.Thread(target=work_in_contexts, name="flask-sse run", daemon=True).start()
    except RuntimeError as error:
        runs.release()
        producer.undo_begin()
        raise TooManyRunsError(runs.taken, str(error)) from error
    except BaseException:
        runs.release()
        raise


def cancel(backend: RunBackend, channel: str) -> None:
    """End a run in any process: its pages receive it at once, its generator ends where it yields next."""
    check_run(channel)
    if attempt.cancel(backend.broker(), channel, backend.history_of(channel)):
        backend.broker().submit([backend.checked(ended(CANCELLED), channel)])
