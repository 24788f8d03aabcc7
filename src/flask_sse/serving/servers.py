"""What is known of each web server: where it keeps the client's socket, and its peculiarities.

Rules of this file: nothing is changed here, only looked for. A finder returns ``None`` where the request
is not its server's; whatever else goes wrong in it means the same, because these are the insides of
other people's programs and the relay serves in any case.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOOP_SECONDS = 5.0
_UWSGI_NOT_PLAIN_HTTP = ("https-socket", "ssl-socket", "suwsgi-socket", "fastcgi-socket", "scgi-socket")


@dataclass(frozen=True, slots=True)
class ClientSocket:
    """The client's connection as the web server holds it.

    Attributes:
        descriptor: Its number, which the server goes on using.
        still_open: Tells whether the number still is that connection.
        run: Calls a function where the server cannot use the connection meanwhile.
        in_loop: Whether ``run`` calls it on the server's event loop, where nothing may wait.
        close_header: Whether the server wants to be told that the connection ends with the response.
        body: What the server must be given so that it finishes the response before it closes it.
    """

    descriptor: int
    still_open: Callable[[], bool]
    run: Callable[[Callable[[], T]], T] = lambda action: action()
    in_loop: bool = False
    close_header: bool = False
    body: tuple[bytes, ...] = ()


def find_client_socket(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request, if it is the client's own and carries nothing else.

    TLS in the web server, HTTP/2 and servers that are not known give ``None``.
    """
    if environ.get("SERVER_PROTOCOL") not in {"HTTP/1.0", "HTTP/1.1"}:
        return None
    for finder in (_in_environ, _waitress, _uwsgi, _buffered_input, _event_loop):
        try:
            found = finder(environ)
        except Exception as error:  # noqa: BLE001 - see the rules of this file
            logger.debug("%s: %r", finder.__name__, error)
        else:
            if found is not None:
                return found
    return None


def _in_environ(environ: dict[str, Any]) -> ClientSocket | None:
    """Werkzeug, and gunicorn's sync, gthread, gevent and gevent_pywsgi workers."""
    for key in ("werkzeug.socket", "gunicorn.socket", "gunicorn.sock"):
        if key in environ:
            return _plain(environ[key], close_header=key == "gunicorn.sock")
    return None


def _waitress(environ: dict[str, Any]) -> ClientSocket | None:
    ask = environ.get("waitress.client_disconnected")
    if ask is None:
        return None
    channel = ask.__self__
    if channel.adj.channel_request_lookahead > 0:
        # Its main thread then reads, and may close, while this one answers.
        return None
    return _plain(channel.socket)


def _uwsgi(environ: dict[str, Any]) -> ClientSocket | None:
    if "uwsgi.version" not in environ:
        return None
    uwsgi = sys.modules["uwsgi"]
    if any(option in uwsgi.opt for option in _UWSGI_NOT_PLAIN_HTTP):
        return None
    # uWSGI writes its head with the first byte of a body; without one it would do so after the close.
    return ClientSocket(uwsgi.connection_fd(), lambda: True, body=(b"\n",))


def _buffered_input(environ: dict[str, Any]) -> ClientSocket | None:
    """Cheroot and gevent.pywsgi, whose input reads from a file made of the socket."""
    source = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] not in {"cheroot", "gevent"}:
        return None
    return _plain(source.rfile.raw._sock, close_header=True)  # noqa: SLF001 - there is no other way


def _event_loop(environ: dict[str, Any]) -> ClientSocket | None:
    """Uvicorn and gunicorn's ASGI worker, with Flask behind a2wsgi."""
    source = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] != "a2wsgi":
        return None
    protocol = source.receive.__self__
    transport = getattr(protocol, "transport", None) or protocol.protocol.transport
    if transport.get_extra_info("sslcontext") is not None:
        return None

    def run(action: Callable[[], T]) -> T:
        async def on_loop() -> T:
            if transport.get_write_buffer_size():
                raise BlockingIOError("the answer to an earlier request is still being sent")
            if not transport.is_closing():
                transport.pause_reading()
            return action()

        return asyncio.run_coroutine_threadsafe(on_loop(), source.loop).result(_LOOP_SECONDS)

    number = transport.get_extra_info("socket").fileno()
    return ClientSocket(number, lambda: not transport.is_closing(), run=run, in_loop=True, close_header=True)


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
    """
    try:
        return _ending_on(sys._getframe()) or _ending_elsewhere(environ)  # noqa: SLF001 - as inspect does
    except Exception as error:  # noqa: BLE001 - see the rules of this file
        logger.debug("no worker found: %r", error)
    return None


def _ending_elsewhere(environ: dict[str, Any]) -> Callable[[], bool] | None:
    gevent = sys.modules.get("gevent")
    if gevent is not None and isinstance(gevent.getcurrent(), gevent.Greenlet):
        return _ending_on(gevent.get_hub().parent.gr_frame)
    source: Any = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] != "a2wsgi":
        return None

    async def on_loop() -> Callable[[], bool] | None:
        return _ending_on(sys._getframe())  # noqa: SLF001 - as inspect does

    return asyncio.run_coroutine_threadsafe(on_loop(), source.loop).result(_LOOP_SECONDS)


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


def end_request(start_response: Callable[..., Any]) -> None:
    """Tell the server, once ``start_response`` was called, that nothing is left to do for its client."""
    server: Any = getattr(start_response, "__self__", None)
    if hasattr(server, "force_close"):
        # gunicorn would run a request that the client sent behind this one, for nobody.
        server.force_close()
    request: Any = getattr(server, "req", None)
    if hasattr(request, "sent_headers"):
        # cheroot writes its head after it closed the body, and complains when nobody takes it.
        request.sent_headers = request.close_connection = True


def joins_the_body(start_response: Callable[..., Any]) -> bool:
    """Tell whether the server waits for the end of a response before it sends anything: Tornado."""
    return getattr(start_response, "__module__", "") == "tornado.wsgi"


def _plain(sock: Any, *, close_header: bool = False) -> ClientSocket | None:
    # Not wsgi.url_scheme: behind a proxy that says https the socket is still a plain one.
    if isinstance(sock, ssl.SSLSocket) or hasattr(sock, "cipher"):
        return None
    number = sock.fileno()
    if number < 0 or sock.type & socket.SOCK_STREAM != socket.SOCK_STREAM:
        return None
    return ClientSocket(number, lambda: sock.fileno() == number, close_header=close_header)
