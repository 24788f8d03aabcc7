"""The client's socket: where each web server keeps it, and what must be observed there.

Rules of this file: nothing is changed here, only looked for. A finder returns ``None`` where the request
is not its server's; whatever else goes wrong in it means the same, because these are the insides of
other programs and the relay serves in any case.

A connection may be taken over only while two things are excluded: that another thread closes it, so that its
number means the connection of another client, and that bytes are still owed to the client for an earlier
request on it, which would end up inside of the stream. Why that holds, server by server:

* Werkzeug, gunicorn sync and gthread, cheroot: the thread that answers the request is the only one to close
  its connection. Others close idle connections, which are in a poller and in no thread. Answers are written
  with blocking calls, so all of an earlier one is in the kernel before the next request is read.
* gunicorn gevent and gevent_pywsgi, gevent.pywsgi: the same for the greenlet that answers. The swap makes no
  call that switches to another greenlet.
* uWSGI: the core that runs the request closes its connection behind the application, and writes with
  blocking calls. There are requests behind one another (``http11-socket``) only after an answer is written.
* waitress: the main thread sends what an earlier answer has left in the channel's buffers, and closes the
  channel when that fails. It marks the channel as closed under ``outbuf_lock``, before the close: the swap
  holds this lock, and looks at the mark and at the buffers.
* uvicorn, gunicorn's ASGI worker: all is done on the event loop. The swap is one callback there, which looks
  at the transport's state and at its write buffer.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..hub.client.calls import LoopClosedError, call_on_loop

logger = logging.getLogger(__name__)

LOOP_SECONDS = 5.0
_HTTP_1 = re.compile(r"HTTP/1\.[0-9]+")
# The uwsgi protocol, of uWSGI's router and of nginx, has HTTP in the direction of the client.
_UWSGI_PLAIN_SOCKETS = {"socket", "uwsgi-socket", "http-socket", "http11-socket"}
_UWSGI_PLAIN_PROTOCOLS = {b"uwsgi", b"http", b"http11"}
_UWSGI_PROTOCOL_OPTIONS = {"protocol", "socket-protocol"}
# Options with "socket" in their names at which no request arrives.
_UWSGI_OTHER_SOCKETS = re.compile(
    "socket-(timeout|send-timeout|write-timeout|sndbuf|rcvbuf)|http-socket-modifier[12]|"
    "(chmod|chown|abstract|map|shared|undeferred-shared|log|notify|subscription-notify|setns)-socket|"
    "wait-for-socket(-timeout)?|[a-z0-9]+-use-socket"
)


class OwedBytesError(OSError):
    """The answer to an earlier request on the connection is still being sent."""


class GoneError(ConnectionError):
    """The client has left."""


@dataclass(frozen=True, slots=True)
class ClientSocket:
    """The client's connection as the web server holds it.

    Attributes:
        sock: What has its socket options, as a socket has: ``getsockopt`` and ``setsockopt``.
        exclusively: Calls a function with the number of the connection, while the server neither closes
            nor uses it. The function must not wait. Raises ``GoneError`` if the connection is closed,
            ``OwedBytesError``, and ``TimeoutError`` where the server does not let us in; then the function is
            not called, later neither.
        close_header: Whether the server must find in the headers that the connection ends with the response.
        body: What the server must be given so that it finishes the response before it closes it.
        may_be_taken: Whether it is in plain text and no other thread reads from it.
    """

    sock: Any
    exclusively: Callable[[Callable[[int], None]], None]
    close_header: bool = False
    body: tuple[bytes, ...] = ()
    may_be_taken: bool = True


def find_client_socket(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request if it may be taken over.

    It is the client's own then and carries nothing else. TLS in the web server, HTTP/2 and servers that are
    not known give ``None``.
    """
    found = find_connection(environ)
    return found if found is not None and found.may_be_taken else None


def find_connection(environ: dict[str, Any]) -> ClientSocket | None:
    """Return the connection of a request, also if it may not be taken over; ``None`` if it is not known."""
    for finder in (_in_environ, _waitress, _uwsgi, _buffered_input, _event_loop):
        try:
            found = finder(environ)
        except Exception as error:  # noqa: BLE001 - see the rules of this file
            logger.debug("%s: %r", finder.__name__, error)
        else:
            if found is not None:
                return found
    return None


def speaks_http_1(environ: dict[str, Any]) -> bool:
    """Tell whether the request line names HTTP/1.x, whose clients all understand an HTTP/1.1 response."""
    return _HTTP_1.fullmatch(environ.get("SERVER_PROTOCOL", "")) is not None


def _in_environ(environ: dict[str, Any]) -> ClientSocket | None:
    """Werkzeug, and gunicorn's sync, gthread, gevent and gevent_pywsgi workers."""
    if type(environ["wsgi.input"]).__module__.startswith("gunicorn.http2"):
        # Other requests share the connection.
        return None
    for key in ("werkzeug.socket", "gunicorn.socket", "gunicorn.sock"):
        if key in environ:
            return _client(environ[key], close_header=key == "gunicorn.sock")
    return None


def _waitress(environ: dict[str, Any]) -> ClientSocket | None:
    ask = environ.get("waitress.client_disconnected")
    if ask is None:
        return None
    channel = ask.__self__
    client = _client(channel.socket)
    if client is None:
        return None
    lock = channel.outbuf_lock

    def exclusively(action: Callable[[int], None]) -> None:
        with lock:
            if not channel.connected:
                raise GoneError
            if channel.total_outbufs_len:
                raise OwedBytesError(OwedBytesError.__doc__)
            client.exclusively(action)

    # So that a release without them is relayed.
    _ = channel.connected, channel.total_outbufs_len
    # Its main thread reads while this one answers, if it looks ahead.
    return ClientSocket(channel.socket, exclusively, may_be_taken=channel.adj.channel_request_lookahead <= 0)


def _uwsgi(environ: dict[str, Any]) -> ClientSocket | None:
    if "uwsgi.version" not in environ:
        return None
    uwsgi = sys.modules["uwsgi"]

    def exclusively(action: Callable[[int], None]) -> None:
        number = uwsgi.connection_fd()
        if number < 0:
            raise GoneError
        action(number)

    # uWSGI writes its head with the first byte of a body; without one it would do so after the close.
    return ClientSocket(
        _UwsgiConnection(),
        exclusively,
        body=(b"\n",),
        may_be_taken=uwsgi_speaks_plain_http(uwsgi.opt),
    )


class _UwsgiConnection:
    """The options of the connection of the request that uWSGI runs in this thread."""

    def getsockopt(self, level: int, name: int) -> int:
        """See ``socket``."""
        with _borrowed(sys.modules["uwsgi"].connection_fd()) as sock:
            return sock.getsockopt(level, name)

    def setsockopt(self, level: int, name: int, value: int) -> None:
        """See ``socket``."""
        with _borrowed(sys.modules["uwsgi"].connection_fd()) as sock:
            sock.setsockopt(level, name, value)


@contextlib.contextmanager
def _borrowed(number: int) -> Iterator[socket.socket]:
    sock = socket.socket(fileno=number)
    try:
        yield sock
    finally:
        sock.detach()


def uwsgi_speaks_plain_http(options: dict[str, Any]) -> bool:
    """Tell whether answers on every socket that uWSGI opens are HTTP in plain text.

    A process cannot know by which of its sockets a request came. What is not known to be plain is not.
    """
    return all(_is_plain_http(name, value) for name, value in options.items())


def _is_plain_http(option: str, value: Any) -> bool:
    if option in _UWSGI_PROTOCOL_OPTIONS:
        return _UWSGI_PLAIN_PROTOCOLS.issuperset(value if isinstance(value, list) else [value])
    if option.startswith(("zeromq", "zmq", "mongrel2")):
        return False
    opens_none = "socket" not in option.split("-") or _UWSGI_OTHER_SOCKETS.fullmatch(option)
    return bool(opens_none) or option in _UWSGI_PLAIN_SOCKETS


def _buffered_input(environ: dict[str, Any]) -> ClientSocket | None:
    """Cheroot and gevent.pywsgi, whose input reads from a file made of the socket."""
    source = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] not in {"cheroot", "gevent"}:
        return None
    return _client(source.rfile.raw._sock, close_header=True)  # noqa: SLF001 - there is no other way


def _event_loop(environ: dict[str, Any]) -> ClientSocket | None:
    """Uvicorn and gunicorn's ASGI worker, with Flask behind a2wsgi."""
    source = environ["wsgi.input"]
    if type(source).__module__.partition(".")[0] != "a2wsgi":
        return None
    transport = transport_behind(source)

    def exclusively(action: Callable[[int], None]) -> None:
        try:
            call_on_loop(source.loop, lambda: _with_transport(transport, action), LOOP_SECONDS)
        except LoopClosedError:
            raise GoneError from None

    return ClientSocket(
        transport.get_extra_info("socket"),
        exclusively,
        close_header=True,
        may_be_taken=transport.get_extra_info("sslcontext") is None,
    )


def transport_behind(source: Any) -> Any:
    """Return the transport of a request's connection, out of the input that a2wsgi made of it.

    Raises:
        AttributeError: If the server is another one than uvicorn or gunicorn's ASGI worker.
    """
    protocol = source.receive.__self__
    return getattr(protocol, "transport", None) or protocol.protocol.transport


def _with_transport(transport: Any, action: Callable[[int], None]) -> None:
    """Do what ``ClientSocket.exclusively`` says, on the loop of a transport of asyncio or uvloop."""
    if transport.is_closing():
        raise GoneError
    if transport.get_write_buffer_size():
        raise OwedBytesError(OwedBytesError.__doc__)
    was_reading = transport.is_reading()
    # While the number still is the connection, for that is how the poller finds it.
    transport.pause_reading()
    try:
        action(transport.get_extra_info("socket").fileno())
    except BaseException:
        if was_reading:
            transport.resume_reading()
        raise


def _client(sock: Any, *, close_header: bool = False) -> ClientSocket | None:
    if sock.fileno() < 0 or sock.type & socket.SOCK_STREAM != socket.SOCK_STREAM:
        return None

    def exclusively(action: Callable[[int], None]) -> None:
        number = sock.fileno()
        if number < 0:
            raise GoneError
        action(number)

    # Not wsgi.url_scheme: behind a proxy that says https the socket is still a plain one.
    is_encrypted = isinstance(sock, ssl.SSLSocket) or hasattr(sock, "cipher")
    return ClientSocket(sock, exclusively, close_header=close_header, may_be_taken=not is_encrypted)


def end_request(start_response: Callable[..., Any]) -> None:
    """Tell the server, once ``start_response`` was called, that nothing is left to do for its client."""
    server: Any = getattr(start_response, "__self__", None)
    if hasattr(server, "force_close"):
        # gunicorn would run a request that the client sent behind this one, whose answer no client gets.
        server.force_close()
    request: Any = getattr(server, "req", None)
    if hasattr(request, "sent_headers"):
        # cheroot writes its head after it closed the body, and logs an error when the write fails.
        request.sent_headers = request.close_connection = True
