"""The end of relayed streams, as the web servers tell it: a client has left, or the worker is ending.

Whatever goes wrong in here means that nobody can tell, as in ``servers``: these are the insides of other
people's programs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..hub.calls import call_on_loop
from .servers import LOOP_SECONDS

logger = logging.getLogger(__name__)


def watch_for_end(environ: dict[str, Any], left: Callable[[], None]) -> None:
    """Call ``left`` when the client has left, where only the server's event loop knows that.

    Behind a2wsgi a response is written into the void until it ends by itself. Most other servers close
    it when a write fails, which the heartbeat brings about.
    """
    source: Any = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] != "a2wsgi":
        return

    async def until_left() -> None:
        while (await source.receive())["type"] != "http.disconnect":
            pass

    asyncio.run_coroutine_threadsafe(until_left(), source.loop).add_done_callback(lambda _: left())


def overlooks_leaving(start_response: Callable[..., Any]) -> bool:
    """Tell whether the server goes on with a response whose client has left, and nobody can tell us.

    hypercorn's own WSGI support does; Flask behind a2wsgi on hypercorn does not.
    """
    return getattr(start_response, "__module__", "") == "hypercorn.app_wrappers"


def worker_is_ending(environ: dict[str, Any]) -> Callable[[], bool] | None:
    """Return what tells whether the worker that iterates a response was told to end; any thread may ask it.

    A worker that is told to end waits for the responses in flight: gunicorn's for its graceful timeout,
    uvicorn for ever. What knows it, gunicorn's worker object or uvicorn's server, is in no environ, but a
    method of it is on a stack: on ours if it called us, else on that of the main greenlet or of the event
    loop. ``None`` elsewhere.

    Looking at the main thread from another one (``sys._current_frames``) was tried and fails: the frames
    that return meanwhile lead nowhere.

    Raises:
        TimeoutError: If the event loop did not answer in time, which may be otherwise the next time.
    """
    try:
        return _ending_on(sys._getframe()) or _ending_elsewhere(environ)  # noqa: SLF001 - as inspect does
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001 - see the rules of ``servers``
        logger.debug("no worker found: %r", error)
    return None


def _ending_elsewhere(environ: dict[str, Any]) -> Callable[[], bool] | None:
    gevent = sys.modules.get("gevent")
    if gevent is not None and isinstance(gevent.getcurrent(), gevent.Greenlet):
        return _ending_on(gevent.get_hub().parent.gr_frame)
    source: Any = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] != "a2wsgi":
        return None

    def on_loop() -> Callable[[], bool] | None:
        return _ending_on(sys._getframe())  # noqa: SLF001 - as inspect does

    return call_on_loop(source.loop, on_loop, LOOP_SECONDS)


def _ending_on(stack: FrameType | None) -> Callable[[], bool] | None:
    frame = stack
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        found = None
        if module.startswith("gunicorn.workers."):
            found = _gunicorn_ending(frame.f_locals.get("self"))
        elif module == "uvicorn.server":
            found = _uvicorn_ending(frame.f_locals.get("self"))
        if found is not None:
            return found
        frame = frame.f_back
    return None


def _gunicorn_ending(worker: Any) -> Callable[[], bool] | None:
    return (lambda: not worker.alive) if hasattr(worker, "alive") else None


def _uvicorn_ending(server: Any) -> Callable[[], bool] | None:
    # Not should_exit: a server that has had its --limit-max-requests ends without it.
    if not hasattr(server, "servers"):
        return None
    return lambda: not all(listener.is_serving() for listener in server.servers)
