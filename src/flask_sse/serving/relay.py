"""Relay: the hub writes into a socketpair, and somebody here reads the other end.

The web server is one such reader, where the client's socket cannot be taken; ``messages()`` is another.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from ..errors import HubError
from ..hub.client.hub_client import StreamServer
from ..hub.protocol.hub_events import goodbye
from ..hub.protocol.stream_request import StreamRequest
from ..jitter import draw_ms
from .callers import in_greenlet
from .rejection import rejected
from .shutdown_watcher import StreamEnd, lookout

_RECEIVE_BYTES = 64 * 1024
# gunicorn has the kernel begin a call anew that SIGTERM interrupts, so the worker would not learn of it while
# its main thread waits; a call with a time limit is not begun anew.
_WAIT_SECONDS = 60.0
_READ = 1  # as gevent's event loop says it
_EVENT_END = b"\n\n"


class Relay:
    """What the hub writes, as the body of a response; the stream opens when it is iterated.

    A stream that cannot be opened is rejected in its body, because the status is sent already.

    In a worker that is told to end, the stream ends by itself: it would delay the worker until it is cut.

    Attributes:
        asked: What the client listens to.
        watch: Is given a function to call when the client leaves, and returns one that ends this; ``None``
            where the web server closes the response by itself.
        meanwhile: Returns what is entered for as long as the stream is open.
        find_ending: Returns, where the body is iterated, what tells whether the worker is ending; ``None``
            from it means that nobody can tell.
    """

    def __init__(self, hub_client: StreamServer, asked: StreamRequest) -> None:
        self.asked = asked
        self.watch: Callable[[Callable[[], None]], Callable[[], object]] | None = None
        self.meanwhile: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
        self.find_ending: Callable[[], Callable[[], bool] | None] = lambda: None
        self._hub_client = hub_client
        self._end: StreamEnd | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            ending = self.find_ending()
            self._end = StreamEnd(open_stream(self._hub_client, self.asked))
        except (HubError, OSError) as error:
            yield rejected(self.asked.mode, error)
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._end)
            stack.enter_context(self.meanwhile())
            if self.watch is not None:
                stack.callback(self.watch(self.close))
            if ending is None:
                yield from _pieces(self._end.sock)
            else:
                last = goodbye(self.asked.mode, draw_ms(self.asked.rules.retry_ms))
                yield from received_until(self._end, ending, last)

    def close(self) -> None:
        """End the stream, from any thread; an iteration that waits ends, too."""
        if self._end is not None:
            self._end.shut_down(socket.SHUT_RDWR)


def open_stream(hub_client: StreamServer, request: StreamRequest) -> socket.socket:
    """Open a stream whose bytes are read here; the caller closes the socket.

    Raises:
        HubError: If no hub took it.
        OSError: If this process has no descriptors left.
    """
    ours, hubs = socket.socketpair()
    try:
        hub_client.attach(hubs.fileno(), request)
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
    # Also where nobody closes it and the garbage collector finds it.
    weakref.finalize(iterator, stream.close)
    return iterator


def received_until(end: StreamEnd, ending: Callable[[], bool], last: bytes) -> Iterator[bytes]:
    """Yield what comes out of a stream until it ends or its worker does, and close it.

    Args:
        end: Our end.
        ending: Tells whether the worker is ending; asked from another thread.
        last: What is said last in a worker that is ending. Left out in the midst of an event: it would
            complete it, and what the client has of it must be dropped.
    """
    tail = _EVENT_END
    with end, lookout.watch(end, ending) as watched:
        for data in _pieces(end.sock):
            tail = (tail + data)[-len(_EVENT_END) :]
            yield data
    if tail == _EVENT_END and watched.is_ending:
        yield last


def _pieces(stream: socket.socket) -> Iterator[bytes]:
    """Yield what comes out of a stream until it ends."""
    if in_greenlet():
        return _pieces_in_greenlet(stream)
    stream.settimeout(_WAIT_SECONDS)
    return iter(functools.partial(_receive, stream), b"")


def _pieces_in_greenlet(stream: socket.socket) -> Iterator[bytes]:
    # gevent's servers run without monkey patching, too; a plain recv would stop all greenlets.
    import gevent.socket  # noqa: PLC0415 - an extra, there if it is loaded

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
