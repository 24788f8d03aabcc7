"""One client's socket: bytes go straight to the kernel, and only what it does not take is kept."""

from __future__ import annotations

import contextlib
import socket
from collections import OrderedDict
from collections.abc import Iterable

from ...wire.keyed_chunks import pieces_of, rest_of
from ..core.subscriber import Subscriber
from ..handover.snapshot import StreamSnapshot
from ..protocol.stream_request import StreamRequest
from .tcp import set_options, tcp_options

_DISCARD_BYTES = 64 * 1024
# Events up to this size are joined where they wait, up to the next one: each by itself would take as much
# memory again, and a call of the system. Larger ones are shared with the other streams that wait for them.
_JOINED_BYTES = 2048
_BLOCK_BYTES = 64 * 1024
# What a piece of a backlog takes besides its bytes.
PIECE_BYTES = 400
# How much of a backlog is written in one turn of the loop.
_WRITTEN_AT_ONCE = 256 * 1024
_TCP_OPTIONS = tcp_options()


class Stream(Subscriber):
    """A subscriber of the core with its socket, which is the stream's own from here on.

    Used on the hub's loop only. Every method answers whether the stream may go on; after ``False``
    the caller removes and closes it.

    Attributes:
        sock: The client's connection.
        head: The response head, until it is written.
        backlog: What waits for the client to read, by its collapse key or a number; ``None`` if nothing does.
        backlog_bytes: How much that is.
        is_begun: Whether the first of it is the rest of something that the client has the beginning of.
    """

    __slots__ = ("_last_number", "backlog", "backlog_bytes", "head", "is_begun", "sock")

    def __init__(self, sock: socket.socket, request: StreamRequest) -> None:
        super().__init__(request)
        self.sock = sock
        self.head = request.head
        self.backlog: OrderedDict[str | int, memoryview | bytearray] | None = None
        self.backlog_bytes = 0
        self.is_begun = False
        self._last_number = 0
        sock.setblocking(False)
        set_options(sock, _TCP_OPTIONS)

    def snapshot(self, now: float) -> StreamSnapshot:
        """Return what a successor needs to continue this stream."""
        subscriber = self.subscriber_snapshot(now)
        grant = self.grant_now(now)
        request = StreamRequest(self.channels, self.mode, self.rules, subscriber.since, self.head, grant)
        return StreamSnapshot(
            self.sock.fileno(), request, subscriber, b"".join(self.backlog.values() if self.backlog else ())
        )

    def restore_backlog(self, backlog: bytes) -> None:
        """Begin with the bytes that the predecessor could not write."""
        if backlog:
            self.backlog = OrderedDict({0: memoryview(backlog)})
            self.backlog_bytes = len(backlog)
            self.is_begun = True

    @property
    def has_backlog(self) -> bool:
        """Whether bytes wait for the client to read."""
        return self.backlog is not None

    @property
    def backlog_cost(self) -> int:
        """The memory that its backlog takes, in bytes; none of one that is closed."""
        if self.backlog is None or self.sock.fileno() < 0:
            return 0
        return self.backlog_bytes + PIECE_BYTES * len(self.backlog)

    def send(self, data: bytes) -> bool:
        """Write ``data`` behind whatever waits; ``False`` if the client is gone or too slow."""
        try:
            return self._send(data)
        except MemoryError:
            # Nothing is left to keep what it does not take.
            return False

    def _send(self, data: bytes) -> bool:
        sent = 0
        if self.backlog is None:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                pass
            except OSError:
                return False
            if sent == len(data):
                self.is_begun = False
                return True
            self.is_begun = self.is_begun or sent > 0
            self.backlog = OrderedDict()
        for piece, key in pieces_of(rest_of(data, sent)):
            if key is not None and key in self.backlog:
                self.backlog_bytes -= len(self.backlog.pop(key))
            self._keep(self.backlog, key, piece)
        return self.backlog_bytes <= self.rules.max_backlog_bytes

    def _keep(
        self, backlog: OrderedDict[str | int, memoryview | bytearray], key: str | None, piece: bytes
    ) -> None:
        self.backlog_bytes += len(piece)
        if key is not None:
            backlog[key] = memoryview(piece)
            return
        is_small = len(piece) <= _JOINED_BYTES
        last = backlog[next(reversed(backlog))] if backlog and is_small else None
        if isinstance(last, bytearray) and len(last) < _BLOCK_BYTES:
            last += piece
            return
        self._last_number += 1
        backlog[self._last_number] = bytearray(piece) if is_small else memoryview(piece)

    def skip_to(self, data: bytes) -> bool:
        """Drop what waits, but for an event that was begun, and write this behind it."""
        if self.is_begun and self.backlog:
            self.backlog = OrderedDict([self.backlog.popitem(last=False)])
            self.backlog_bytes = len(next(iter(self.backlog.values())))
        else:
            self.backlog, self.backlog_bytes = None, 0
        return self.send(data)

    @staticmethod
    def send_to_all(streams: Iterable[Stream], data: bytes) -> list[tuple[Stream, bytes]]:
        """Write the same bytes to streams that have begun: what the hub does all day.

        Returns:
            The streams that have not taken all of it, and what is to be written to them by ``send``: the
            client is slow, or gone.
        """
        rest = []
        size = len(data)
        for stream in streams:
            sent = 0
            if stream.backlog is None:
                try:
                    sent = stream.sock.send(data)
                except OSError:
                    sent = 0  # the next try says it again
                if sent == size:
                    continue
                stream.is_begun = sent > 0
            rest.append((stream, rest_of(data, sent)))
        return rest

    def send_backlog(self) -> bool:
        """Write what waits, as far as the socket takes it; ``False`` if the client is gone.

        Of a long backlog it writes a part: the socket takes more, so the loop calls again.
        """
        end = self.backlog_bytes - _WRITTEN_AT_ONCE
        while self.backlog and self.backlog_bytes > end:
            key, piece = self.backlog.popitem(last=False)
            try:
                sent = self.sock.send(piece)
            except BlockingIOError:
                sent = 0
            except OSError:
                return False
            self.backlog_bytes -= sent
            if sent < len(piece):
                # What was begun must be written to its end, so nothing replaces it.
                self.is_begun = self.is_begun or sent > 0
                first = 0 if self.is_begun else key
                self.backlog[first] = memoryview(piece)[sent:]
                self.backlog.move_to_end(first, last=False)
                return True
            self.is_begun = False
        if not self.backlog:
            self.backlog = None
        return True

    def discard_input(self) -> bool:
        """Throw away what the client sent; ``False`` if it closed or half-closed its end."""
        try:
            return self.sock.recv(_DISCARD_BYTES) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """End the connection, also where a forked process still holds the descriptor."""
        # Unread input would turn the close into a reset, which takes the last bytes sent with it.
        self.discard_input()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
