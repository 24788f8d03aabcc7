"""The disconnect of a client of a relayed stream, where the web server does not notice it by itself.

The rules of ``client_socket`` hold here, too: whatever goes wrong means that it cannot be known, because
these are the insides of other programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..hub.server.tcp import HasOptions, Option, get_options, set_options, tcp_options
from .call_stack import frames
from .client_socket import find_connection, transport_behind
from .request_body import was_read
from .shutdown_watcher import CHECK_SECONDS
from .worker_shutdown import HYPERCORN_WSGI, shutdown_in

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def disconnect_noticed(environ: dict[str, Any], close: Callable[[], None]) -> Iterator[None]:
    """Call ``close`` if the client disconnects meanwhile, where only the server's event loop knows that.

    Behind a2wsgi a response is written to no client until it ends by itself. Most other servers close the
    response when a write fails, which the next heartbeat brings about.
    """
    source: Any = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] != "a2wsgi":
        yield
        return

    async def until_disconnected() -> None:
        # A message that is received here is lost to a generator that reads the body of the request.
        while not was_read(environ):
            if _has_disconnected(source):
                return
            await asyncio.sleep(CHECK_SECONDS)
        while (await source.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.run_coroutine_threadsafe(until_disconnected(), source.loop)
    watch.add_done_callback(lambda _: close())
    try:
        yield
    finally:
        watch.cancel()


@contextlib.contextmanager
def vanished_noticed(environ: dict[str, Any]) -> Iterator[None]:
    """Let the kernel give up a client that vanishes meanwhile, as the hub does for connections of its own.

    Then the server's next write fails. The connection may have other responses later, so its options are
    restored.
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


def ignores_disconnect() -> bool:
    """Tell whether the server continues a response whose client has left, and does not show that to us.

    hypercorn's own WSGI support does, in releases that show no shutdown either.
    """
    found = (shutdown_in(module, frame) for module, frame in frames() if module == HYPERCORN_WSGI)
    return any(is_shutting_down is None for is_shutting_down in found)


def _exchange_options(sock: HasOptions, options: list[Option]) -> list[Option]:
    """Set options and return those that were set before; none where it cannot be done."""
    try:
        before = get_options(sock, options)
        set_options(sock, options)
    except Exception as error:  # noqa: BLE001 - see the rules of ``client_socket``
        logger.debug("no socket options: %r", error)
        return []
    return before


def _has_disconnected(source: Any) -> bool:
    """Tell, on the loop and without receiving anything, whether the client is known to have left."""
    try:
        server: Any = source.receive.__self__
        if isinstance(server, asyncio.Queue):  # of hypercorn
            waiting: Iterable[dict[str, Any]] = server._queue  # type: ignore[attr-defined] # noqa: SLF001
            return any(message["type"] == "http.disconnect" for message in waiting)
        return bool(transport_behind(source).is_closing())
    except AttributeError:
        return False
