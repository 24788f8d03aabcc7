"""The shutdown of a worker, as each web server shows it: its relayed streams must end then.

The rules of ``client_socket`` hold here, too: whatever goes wrong means that it cannot be known, because
these are the insides of other programs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

from ..hub.client.calls import call_on_loop
from .call_stack import frames, in_greenlet
from .client_socket import LOOP_SECONDS

logger = logging.getLogger(__name__)

HYPERCORN_WSGI = "hypercorn.app_wrappers"


def find_shutdown(environ: dict[str, Any]) -> Callable[[], bool] | None:
    """Return a function that tells whether the worker that iterates a response is shutting down.

    A worker that is shutting down waits for the responses in flight: gunicorn's for its graceful timeout,
    uvicorn without limit. What knows it, gunicorn's worker object or uvicorn's server, is in no environ, but
    a method of it is on a stack: on ours if it called us, else on that of the main greenlet, of a task of the
    event loop, or of the loop itself.

    Looking at the main thread from another one (``sys._current_frames``) was tried and fails: a frame that
    returns meanwhile has no ``f_back`` any more.

    Returns:
        The function, for any thread; ``None`` where the server does not show it.

    Raises:
        TimeoutError: If the event loop did not answer in time, which the next request may not meet.
    """
    try:
        return _shutdown_among(frames()) or _shutdown_elsewhere(environ)
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001 - see the rules of ``client_socket``
        logger.debug("no worker found: %r", error)
    return None


def _shutdown_elsewhere(environ: dict[str, Any]) -> Callable[[], bool] | None:
    if in_greenlet():
        return _shutdown_among(frames(sys.modules["gevent"].get_hub().parent.gr_frame))
    source: Any = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] != "a2wsgi":
        return None

    def on_loop() -> Callable[[], bool] | None:
        # Tasks first: below uvicorn's server, in gunicorn's UvicornWorker, the loop was started by gunicorn's
        # worker, which is "alive" until uvicorn's server has ended.
        return _shutdown_among(_frames_of_tasks()) or _shutdown_among(frames())

    return call_on_loop(source.loop, on_loop, LOOP_SECONDS)


def _frames_of_tasks() -> Iterator[tuple[str, FrameType]]:
    """Yield the module and the frame of each coroutine that a task of this loop waits in."""
    for task in asyncio.all_tasks():
        waiting: Any = task.get_coro()
        while waiting is not None:
            frame = getattr(waiting, "cr_frame", None)
            if frame is not None:
                yield frame.f_globals.get("__name__", ""), frame
            waiting = getattr(waiting, "cr_await", None)


def _shutdown_among(calls: Iterable[tuple[str, FrameType]]) -> Callable[[], bool] | None:
    return next(filter(None, (shutdown_in(module, frame) for module, frame in calls)), None)


def shutdown_in(module: str, frame: FrameType) -> Callable[[], bool] | None:
    """Return the function of ``find_shutdown``, if this is a call in which a web server shows it."""
    if module.startswith("gunicorn.workers."):
        return _gunicorn_shutdown(frame.f_locals.get("self"))
    if module == "uvicorn.server":
        return _uvicorn_shutdown(frame.f_locals.get("self"))
    if module == "hypercorn.asyncio.run":
        return _hypercorn_worker_shutdown(frame.f_locals.get("context"))
    if module == HYPERCORN_WSGI:
        return _hypercorn_shutdown(frame.f_locals.get("send"))
    return None


def _gunicorn_shutdown(worker: Any) -> Callable[[], bool] | None:
    return (lambda: not worker.alive) if hasattr(worker, "alive") else None


def _uvicorn_shutdown(server: Any) -> Callable[[], bool] | None:
    # Not should_exit: a server that has had its --limit-max-requests ends without it.
    if not hasattr(server, "servers"):
        return None
    return lambda: not all(listener.is_serving() for listener in server.servers)


def _hypercorn_worker_shutdown(context: Any) -> Callable[[], bool] | None:
    return (lambda: bool(context.terminated.is_set())) if hasattr(context, "terminated") else None


def _hypercorn_shutdown(send: Any) -> Callable[[], bool] | None:
    """Return the same for its own WSGI support, which does not close the response of a client that left."""
    try:
        stream = send.args[0].__self__
        context = stream.context
        _ = stream.closed, context.terminated.is_set()
    except (AttributeError, IndexError, TypeError):
        return None
    return lambda: bool(stream.closed or context.terminated.is_set())
