"""Stream: one client's socket. Bytes go straight to the kernel; only those that it does not take are kept."""

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
# Waiting events up to this size are joined into blocks of up to the next one: each by itself would take as
# much memory again, and a system call. Larger ones are shared with the other streams that have them waiting.
_JOINED_BYTES = 2048
_BLOCK_BYTES = 64 * 1024
# The memory that a piece of a backlog takes besides its bytes.
PIECE_BYTES = 400
# How much of a backlog is written in one turn of the loop.
_WRITTEN_AT_ONCE = 256 * 1024
_TCP_OPTIONS = tcp_options()


class Stream(Subscriber):
    """A subscriber of the core with its socket, which is the stream's own from here on.

    Used on the hub's loop only. Methods that write return whether the stream continues; after ``False`` the
    caller removes and closes it.

    Attributes:
        sock: The client's connection.
        head: The response head, until it is written.
        backlog: Pieces that wait for the client to read, by collapse key or a number; ``None`` without any.
        backlog_bytes: Their bytes.
        is_begun: Whether the first piece is the rest of an event that the client has the beginning of.
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
        """The memory that its backlog takes, in bytes; 0 once it is closed."""
        if self.backlog is None or self.sock.fileno() < 0:
            return 0
        return self.backlog_bytes + PIECE_BYTES * len(self.backlog)

    def send(self, data: bytes) -> bool:
        """Write ``data`` behind the backlog; ``False`` if the client is gone or too slow."""
        try:
            return self._send(data)
        except MemoryError:
            # There is none left for a backlog.
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
        """Drop the backlog, but for an event that was begun, and write ``data`` behind it."""
        if self.is_begun and self.backlog:
            self.backlog = OrderedDict([self.backlog.popitem(last=False)])
            self.backlog_bytes = len(next(iter(self.backlog.values())))
        else:
            self.backlog, self.backlog_bytes = None, 0
        return self.send(data)

    @staticmethod
    def send_to_all(streams: Iterable[Stream], data: bytes) -> list[tuple[Stream, bytes]]:
        """Write the same bytes to streams that have begun; this is the hub's hot loop.

        Returns:
            The streams whose client is slow or gone, and the bytes to write to each of them by ``send``.
        """
        rest = []
        size = len(data)
        for stream in streams:
            sent = 0
            if stream.backlog is None:
                try:
                    sent = stream.sock.send(data)
                except OSError:
                    sent = 0  # ``send`` finds out whether the client is gone
                if sent == size:
                    continue
                stream.is_begun = sent > 0
            rest.append((stream, rest_of(data, sent)))
        return rest

    def send_backlog(self) -> bool:
        """Write from the backlog, as far as the socket takes it; ``False`` if the client is gone.

        It writes a part of a long one. The socket stays writable then, so the loop calls again.
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
                # An event that was begun must be written to its end, so it gets a key that no event has.
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
        """Discard input of the client; ``False`` if it closed or half-closed its end."""
        try:
            return self.sock.recv(_DISCARD_BYTES) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """End the connection, also where a forked process still holds the descriptor."""
        # With unread input, the kernel would send a reset, and the client lose the last bytes that were sent.
        self.discard_input()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
