"""Relay: the hub writes into one end of a socketpair, and this process reads the other end.

The reader is the web server, where the client's socket cannot be taken over, or ``messages()``.
"""

from __future__ import annotations

import functools
import socket
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import HubError
from ..hub.client.hub_client import StreamServer
from ..hub.protocol.hub_events import goodbye
from ..hub.protocol.stream_request import StreamRequest
from ..jitter import draw_ms
from .call_stack import in_greenlet
from .client_disconnect import disconnect_noticed, vanished_noticed
from .rejection import rejected
from .shutdown_watcher import StreamEnd, shutdown_watcher
from .worker_shutdown import find_shutdown

_RECEIVE_BYTES = 64 * 1024
# gunicorn has the kernel restart a call that SIGTERM interrupts, so the worker would not learn of the signal
# while its main thread waits; a call with a timeout is not restarted (signal(7)).
_WAIT_SECONDS = 60.0
_READ = 1  # as gevent's event loop says it
_EVENT_END = b"\n\n"


class Relay:
    """The body of a relayed response; the stream opens when the web server iterates it.

    A stream that cannot be opened is rejected in its body, because the status is sent already. In a worker
    that is shutting down the stream ends by itself: the worker would wait for it until it is killed.

    Args:
        server: What writes the stream.
        request: What the client listens to.
        environ: Of the request.
    """

    def __init__(self, server: StreamServer, request: StreamRequest, environ: dict[str, Any]) -> None:
        self._server = server
        self._request = request
        self._environ = environ
        self._end: StreamEnd | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            # Looked for here and not before: only the call that iterates has the worker on its stack. And
            # before the stream opens, because the look may fail.
            is_shutting_down = find_shutdown(self._environ)
            self._end = StreamEnd(open_stream(self._server, self._request))
        except (HubError, OSError) as error:
            yield rejected(self._request.mode, error)
            return
        with self._end, vanished_noticed(self._environ), disconnect_noticed(self._environ, self.close):
            if is_shutting_down is None:
                yield from _pieces(self._end.sock)
            else:
                last = goodbye(self._request.mode, draw_ms(self._request.rules.retry_ms))
                yield from received_until(self._end, is_shutting_down, last)

    def close(self) -> None:
        """End the stream, from any thread; an iteration that waits ends, too."""
        if self._end is not None:
            self._end.shut_down(socket.SHUT_RDWR)


def open_stream(server: StreamServer, request: StreamRequest) -> socket.socket:
    """Open a stream whose bytes are read here; the caller closes the socket.

    Raises:
        HubError: If no hub took it.
        OSError: If this process has no descriptors left.
    """
    ours, hubs = socket.socketpair()
    try:
        server.attach(hubs.fileno(), request)
    except BaseException:
        ours.close()
        raise
    finally:
        hubs.close()
    return ours


def received(stream: socket.socket) -> Iterator[bytes]:
    """Yield what comes out of a stream until it ends, and close it."""

    def pieces() -> Iterator[bytes]:
        with stream:
            yield from _pieces(stream)

    iterator = pieces()
    # A reader that drops the iterator does not close it, and one that was never begun has no ``finally``.
    weakref.finalize(iterator, stream.close)
    return iterator


def received_until(end: StreamEnd, is_shutting_down: Callable[[], bool], last: bytes) -> Iterator[bytes]:
    """Yield what comes out of a stream until it ends or its worker does, and close it.

    Args:
        end: Our end.
        is_shutting_down: Tells whether the worker is shutting down; called from another thread.
        last: The last bytes in a worker that is shutting down. Left out within an event: its blank line would
            complete the event, and the client must drop what it has of it.
    """
    tail = _EVENT_END
    with end, shutdown_watcher.watch(end, is_shutting_down) as watched:
        for data in _pieces(end.sock):
            tail = (tail + data)[-len(_EVENT_END) :]
            yield data
    if tail == _EVENT_END and watched.is_shutting_down:
        yield last


def _pieces(stream: socket.socket) -> Iterator[bytes]:
    """Yield what comes out of a stream until it ends."""
    if in_greenlet():
        return _pieces_in_greenlet(stream)
    stream.settimeout(_WAIT_SECONDS)
    return iter(functools.partial(_receive, stream), b"")


def _pieces_in_greenlet(stream: socket.socket) -> Iterator[bytes]:
    # gevent's servers run without monkey patching, too; a blocking recv would stop all greenlets.
    import gevent.socket  # noqa: PLC0415 - optional, but loaded where there is a greenlet

    readable = gevent.get_hub().loop.io(stream.fileno(), _READ)
    try:
        gevent.socket.wait(readable)
        while data := _receive(stream):
            yield data
            gevent.socket.wait(readable)
    finally:
        readable.close()


def _receive(stream: socket.socket) -> bytes:
    while True:
        try:
            return stream.recv(_RECEIVE_BYTES)
        except TimeoutError:
            continue
        except OSError:
            return b""
