"""A stream for one client: what a generator yields, as it yields it.

The client's connection is taken over as that of any stream, by two threads of this process in place of the
hub: one iterates and writes, the other one reads, which tells that the client has left, and writes a comment
where nothing else is written. Where the connection cannot be taken, both work on one end of a socketpair.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time
from collections.abc import Callable

from ..hub.client.override import active_override
from ..hub.protocol.hub_events import REJECTED_RETRY_MS, reconnect_in, rejection, stream_end
from ..hub.protocol.stream_request import FRAMES, StreamRequest
from ..hub.server.descriptors import duplicate
from ..hub.server.stream import Stream
from ..hub.server.tcp import set_options, tcp_options
from ..jitter import draw_ms
from ..settings import StreamRules
from ..wire.encode import HEARTBEAT
from ..wire.run import FAILED, FINISHED
from .slots import responses
from .source import Source

logger = logging.getLogger(__name__)

_DISCARDED_BYTES = 4096
NO_CHANNEL = ("response",)


def source_request(rules: StreamRules) -> StreamRequest:
    """Return what stands for the request of such a stream."""
    return StreamRequest(NO_CHANNEL, FRAMES, rules)


class SourceServer:
    """What takes a connection over for one source, as a client of the hub does for channels.

    Args:
        source: What is sent.
        encode: Makes the bytes of an event out of an item.
        in_contexts: Calls a function, in another thread, with the contexts of the application.
        max_responses: How many such responses this process may have at once.
        last_words: Makes the last bytes out of the reason why there are no more items.
    """

    def __init__(
        self,
        source: Source,
        encode: Callable[[object], bytes],
        in_contexts: Callable[[Callable[[], None]], None],
        max_responses: int,
        last_words: Callable[[str], bytes] = lambda reason: stream_end(FRAMES, reason),
    ) -> None:
        self._source = source
        self._encode = encode
        self._in_contexts = in_contexts
        self._max_responses = max_responses
        self._last_words = last_words
        override = active_override()
        if override is not None:
            override.abandon_at_end(source)

    def attach(self, descriptor: int, request: StreamRequest) -> None:
        """Take a connection over; the caller closes its own copy."""
        sock = socket.socket(fileno=duplicate(descriptor))
        if not responses.take(self._max_responses):
            _reject(sock, request, "too many responses (SSE_MAX_RESPONSES)")
            return
        try:
            threading.Thread(
                target=self._work, args=(sock, request), name="flask-sse response", daemon=True
            ).start()
        except RuntimeError as error:
            responses.release()
            _reject(sock, request, str(error))

    def _work(self, sock: socket.socket, request: StreamRequest) -> None:
        outlet = Outlet(sock, request.rules.heartbeat_seconds, request.grant.ends_in, self._source.stop)
        watch = threading.Thread(target=outlet.look_after, name="flask-sse response watch", daemon=True)
        try:
            # Started from here: where the system has no second thread, this one is the only writer.
            try:
                watch.start()
            except RuntimeError as error:
                _reject(sock, request, str(error))
                return
            try:
                self._in_contexts(lambda: self._write(outlet, request))
            except Exception:
                # They could not be entered, or a teardown function of the application raised.
                logger.exception("the contexts of a response failed")
                if not outlet.has_written:
                    outlet.write(_beginning(request) + self._last_words(FAILED))
            finally:
                # The other thread must not be left behind.
                outlet.end()
                watch.join()
        finally:
            responses.release()

    def _write(self, outlet: Outlet, request: StreamRequest) -> None:
        if outlet.write(_beginning(request)):
            reason = self._send_items(outlet)
            outlet.write(self._last_words(reason))
        outlet.end()

    def _send_items(self, outlet: Outlet) -> str:
        try:
            self._source.send_to(lambda item: outlet.write(self._encode(item)))
        except BaseException:  # also SystemExit and gevent.Timeout: the page would ask for all of it again
            logger.exception("the source of a response failed")
            return FAILED
        return FINISHED


def _beginning(request: StreamRequest) -> bytes:
    return request.head + reconnect_in(draw_ms(request.rules.retry_ms))


def _reject(sock: socket.socket, request: StreamRequest, reason: str) -> None:
    """Answer as a hub does that has no room; for connections without another writer."""
    if responses.reject():
        logger.warning(
            "rejected a response: %s; %d at work in this process, %d rejected so far",
            reason,
            responses.taken,
            responses.rejected,
        )
    stream = Stream(sock, request)
    stream.send(request.head + rejection(FRAMES, reason, draw_ms(REJECTED_RETRY_MS)))
    stream.close()


class Outlet:
    """One connection, written by one thread and looked after by another.

    Args:
        sock: The connection; it is closed in the end.
        heartbeat_seconds: Longest silence before a comment is sent. A client that takes nothing for half of
            it is given up.
        ends_in: When the right to get more ends, in seconds; ``None`` for never. It ends up to half of
            ``heartbeat_seconds`` later.
        left: Is called when the client has left.
    """

    def __init__(
        self,
        sock: socket.socket,
        heartbeat_seconds: float,
        ends_in: float | None,
        left: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._heartbeat_seconds = heartbeat_seconds
        self._left = left
        self._lock = threading.Lock()
        # No comment before the head, which waits until the contexts are there.
        self._written_at = math.inf
        self._is_over = False
        self._ends_at = math.inf if ends_in is None else time.monotonic() + ends_in
        patience_seconds = heartbeat_seconds / 2
        set_options(sock, tcp_options(patience_seconds))
        sock.settimeout(patience_seconds if ends_in is None else min(patience_seconds, ends_in))

    def end(self) -> None:
        """Write nothing any more; the other thread closes."""
        with self._lock:
            self._is_over = True
            self._shut_down()

    def look_after(self) -> None:
        """Write comments into the silence until the client leaves or all is written; then close."""
        try:
            # After the end it reads once more: what is closed with bytes unread resets the connection.
            while self._discard() and not self._is_over and time.monotonic() < self._ends_at:
                if self._is_quiet() and not self.write(HEARTBEAT):
                    break
        finally:
            self._left()
            with self._lock:
                self._is_over = True
                self._sock.close()

    def _is_quiet(self) -> bool:
        return time.monotonic() - self._written_at >= self._heartbeat_seconds / 2

    def _discard(self) -> bool:
        """Discard what the client sends; return whether it is still there."""
        try:
            return self._sock.recv(_DISCARDED_BYTES) != b""
        except TimeoutError:
            return True
        except OSError:
            return False

    @property
    def has_written(self) -> bool:
        """Whether anything was written."""
        return self._written_at != math.inf

    def write(self, data: bytes) -> bool:
        """Write all of it; return ``False`` if the client does not read it."""
        with self._lock:
            if self._is_over:
                return False
            rest = memoryview(data)
            try:
                # Not sendall(), whose time-out is for all of it: a client that takes some of it is not gone.
                while rest:
                    rest = rest[self._sock.send(rest) :]
                    self._written_at = time.monotonic()
            except OSError:
                # Half an event may be written, so nothing may follow it.
                self._is_over = True
                self._shut_down()
                return False
            return True

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
