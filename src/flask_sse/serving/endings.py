"""The end of relayed streams, as the web servers tell it: a client has left, or the worker is ending.

Whatever goes wrong in here means that nobody can tell, as in ``servers``: these are the insides of other
people's programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

from ..hub.client.calls import call_on_loop
from ..hub.server.tcp import HasOptions, Option, get_options, set_options, tcp_options
from .callers import frames, in_greenlet
from .request_body import was_read
from .servers import LOOP_SECONDS, find_connection, transport_behind
from .shutdown_watcher import ASK_SECONDS

logger = logging.getLogger(__name__)

_HYPERCORN_WSGI = "hypercorn.app_wrappers"


def watch_for_end(environ: dict[str, Any], left: Callable[[], None]) -> Callable[[], object]:
    """Call ``left`` when the client has left, where only the server's event loop knows that.

    Behind a2wsgi a response is written into the void until it ends by itself. Most other servers close
    it when a write fails, which the heartbeat brings about.

    Returns:
        What ends the watch.
    """
    source: Any = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] != "a2wsgi":
        return lambda: None

    async def until_left() -> None:
        # A message that is received here is lost to a generator that reads the body of the request.
        while not was_read(environ):
            if _has_left(source):
                return
            await asyncio.sleep(ASK_SECONDS)
        while (await source.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.run_coroutine_threadsafe(until_left(), source.loop)
    watch.add_done_callback(lambda _: left())
    return watch.cancel


@contextlib.contextmanager
def vanished_noticed(environ: dict[str, Any]) -> Iterator[None]:
    """Let the system give up a client that vanishes meanwhile, as the hub does for connections of its own.

    Then the server's next write fails. The connection may have other responses later, so its options are
    put back.
    """
    found = find_connection(environ)
    if found is None:
        yield
        return
    before = _exchange_options(found.sock, tcp_options())
    try:
        yield
    finally:
        _exchange_options(found.sock, before)


def _exchange_options(sock: HasOptions, options: list[Option]) -> list[Option]:
    """Set options and return those that were set before; none where it cannot be done."""
    try:
        before = get_options(sock, options)
        set_options(sock, options)
    except Exception as error:  # noqa: BLE001 - see the rules of ``servers``
        logger.debug("no socket options: %r", error)
        return []
    return before


def _has_left(source: Any) -> bool:
    """Tell, on the loop and without receiving anything, whether the client is known to have left."""
    try:
        asked = source.receive.__self__
        if isinstance(asked, asyncio.Queue):  # of hypercorn
            waiting: Iterable[dict[str, Any]] = asked._queue  # type: ignore[attr-defined] # noqa: SLF001
            return any(message["type"] == "http.disconnect" for message in waiting)
        return bool(transport_behind(source).is_closing())
    except AttributeError:
        return False


def overlooks_leaving() -> bool:
    """Tell whether the server continues a response whose client has left, and does not show that to us.

    hypercorn's own WSGI support does, in releases in which ``_hypercorn_ending`` finds nothing.
    """
    found = (_found_in(module, frame) for module, frame in frames() if module == _HYPERCORN_WSGI)
    return any(ending is None for ending in found)


def worker_is_ending(environ: dict[str, Any]) -> Callable[[], bool] | None:
    """Return what tells whether the worker that iterates a response was told to end; any thread may ask it.

    A worker that is told to end waits for the responses in flight: gunicorn's for its graceful timeout,
    uvicorn for ever. What knows it, gunicorn's worker object or uvicorn's server, is in no environ, but a
    method of it is on a stack: on ours if it called us, else on that of the main greenlet, of a task of the
    event loop, or of the loop itself. ``None`` elsewhere.

    Looking at the main thread from another one (``sys._current_frames``) was tried and fails: the frames
    that return meanwhile lead nowhere.

    Raises:
        TimeoutError: If the event loop did not answer in time, which may be otherwise the next time.
    """
    try:
        return _ending_among(frames()) or _ending_elsewhere(environ)
    except TimeoutError:
        raise
    except Exception as error:  # noqa: BLE001 - see the rules of ``servers``
        logger.debug("no worker found: %r", error)
    return None


def _ending_elsewhere(environ: dict[str, Any]) -> Callable[[], bool] | None:
    if in_greenlet():
        return _ending_among(frames(sys.modules["gevent"].get_hub().parent.gr_frame))
    source: Any = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] != "a2wsgi":
        return None

    def on_loop() -> Callable[[], bool] | None:
        # Tasks first: below uvicorn's server, in gunicorn's UvicornWorker, the loop was started by gunicorn's
        # worker, which is "alive" until uvicorn's server has ended.
        return _ending_among(_frames_of_tasks()) or _ending_among(frames())

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


def _ending_among(calls: Iterable[tuple[str, FrameType]]) -> Callable[[], bool] | None:
    return next(filter(None, (_found_in(module, frame) for module, frame in calls)), None)


def _found_in(module: str, frame: FrameType) -> Callable[[], bool] | None:
    """Return what tells the end, if this is a call in which a web server shows it."""
    if module.startswith("gunicorn.workers."):
        return _gunicorn_ending(frame.f_locals.get("self"))
    if module == "uvicorn.server":
        return _uvicorn_ending(frame.f_locals.get("self"))
    if module == "hypercorn.asyncio.run":
        return _hypercorn_worker_ending(frame.f_locals.get("context"))
    if module == _HYPERCORN_WSGI:
        return _hypercorn_ending(frame.f_locals.get("send"))
    return None


def _gunicorn_ending(worker: Any) -> Callable[[], bool] | None:
    return (lambda: not worker.alive) if hasattr(worker, "alive") else None


def _uvicorn_ending(server: Any) -> Callable[[], bool] | None:
    # Not should_exit: a server that has had its --limit-max-requests ends without it.
    if not hasattr(server, "servers"):
        return None
    return lambda: not all(listener.is_serving() for listener in server.servers)


def _hypercorn_worker_ending(context: Any) -> Callable[[], bool] | None:
    return (lambda: bool(context.terminated.is_set())) if hasattr(context, "terminated") else None


def _hypercorn_ending(send: Any) -> Callable[[], bool] | None:
    """Return the same for its own WSGI support, which does not close a response whose client has left."""
    try:
        stream = send.args[0].__self__
        context = stream.context
        _ = stream.closed, context.terminated.is_set()
    except (AttributeError, IndexError, TypeError):
        return None
    return lambda: bool(stream.closed or context.terminated.is_set())
