"""A stream for one client: what a generator yields, as it yields it.

The client's connection is taken over as that of any stream, by two threads of this process in place of the
hub: one iterates and writes, the other one reads, which tells that the client has left, and writes a comment
where nothing else is written. Where the connection cannot be taken, both work on one end of a socketpair.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Generator

from ..hub.control import FRAMES, Attach
from ..hub.limits import duplicate
from ..hub.notices import reconnect_in, stream_end
from ..settings import StreamRules
from ..wire.encode import HEARTBEAT
from ..wire.run import FAILED, FINISHED
from .source import Source

logger = logging.getLogger(__name__)

_DISCARDED_BYTES = 4096
NO_CHANNEL = ("response",)


def asked_of(rules: StreamRules) -> Attach:
    """Return what stands for the request of such a stream."""
    return Attach(NO_CHANNEL, FRAMES, rules)


class SourceLink:
    """What takes a connection over for one source, as a link to the hub does for channels.

    Args:
        source: What is sent.
        encode: Makes the bytes of an event out of an item.
        in_contexts: Calls a function, in another thread, with the contexts of the application.
    """

    def __init__(
        self,
        source: Source,
        encode: Callable[[object], bytes],
        in_contexts: Callable[[Callable[[], None]], None],
    ) -> None:
        self._source = source
        self._encode = encode
        self._in_contexts = in_contexts

    def attach(self, descriptor: int, request: Attach) -> None:
        """Take a connection over; the caller closes its own copy."""
        sock = socket.socket(fileno=duplicate(descriptor))
        outlet = Outlet(sock, request.rules.heartbeat_seconds, self._source.stop)
        pieces = self._pieces(request)

        def produce() -> None:
            self._in_contexts(lambda: outlet.write_all(pieces))

        threading.Thread(target=produce, name="flask-sse response", daemon=True).start()
        threading.Thread(target=outlet.look_after, name="flask-sse response watch", daemon=True).start()

    def status(self) -> dict[str, object]:
        """Be there, as a hub that must be started would be."""
        return {}

    def _pieces(self, request: Attach) -> Generator[bytes]:
        yield request.head + reconnect_in(request.rules.retry_ms)
        reason = FINISHED
        try:
            with contextlib.closing(self._source.items()) as items:
                for item in items:
                    yield self._encode(item)
        except Exception:
            logger.exception("the source of a response failed")
            reason = FAILED
        yield stream_end(FRAMES, reason)


class Outlet:
    """One connection, written by one thread and looked after by another.

    Args:
        sock: The connection; it is closed in the end.
        heartbeat_seconds: Longest silence before a comment is sent, and how long a client that does not read
            is waited for.
        left: Is called when the client has left.
    """

    def __init__(self, sock: socket.socket, heartbeat_seconds: float, left: Callable[[], None]) -> None:
        self._sock = sock
        self._heartbeat_seconds = heartbeat_seconds
        self._left = left
        self._lock = threading.Lock()
        self._written_at = time.monotonic()
        self._is_over = False
        sock.settimeout(heartbeat_seconds / 2)

    def write_all(self, pieces: Generator[bytes]) -> None:
        """Write until there is no more, or nobody reads it."""
        try:
            with contextlib.closing(pieces):
                for piece in pieces:
                    if not self._write(piece):
                        break
        finally:
            with self._lock:
                self._is_over = True
                self._shut_down()

    def look_after(self) -> None:
        """Write comments into the silence until the client leaves or all is written; then close."""
        try:
            # After the end it reads once more: what is closed with bytes unread resets the connection.
            while self._discard() and not self._is_over:
                if self._is_quiet() and not self._write(HEARTBEAT):
                    break
        finally:
            self._left()
            with self._lock:
                self._is_over = True
                self._sock.close()

    def _is_quiet(self) -> bool:
        return time.monotonic() - self._written_at >= self._heartbeat_seconds / 2

    def _discard(self) -> bool:
        """Read what nobody asked for; return whether the client is still there."""
        try:
            return self._sock.recv(_DISCARDED_BYTES) != b""
        except TimeoutError:
            return True
        except OSError:
            return False

    def _write(self, data: bytes) -> bool:
        with self._lock:
            if self._is_over:
                return False
            try:
                self._sock.sendall(data)
            except OSError:
                # Half an event may be written, so nothing may follow it.
                self._is_over = True
                self._shut_down()
                return False
            self._written_at = time.monotonic()
            return True

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
