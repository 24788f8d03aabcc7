"""Stream I/O: the sockets of all streams of a hub, watched, written to and closed.

A client's socket is watched for reading, to notice that the client leaves, and for writing only while it has
a backlog: a socket that takes bytes is always ready, and would wake the loop without end.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable

from ...jitter import draw_ms
from ...wording import counted
from ..core.core import Core
from ..handover.snapshot import StreamSnapshot
from ..protocol.hub_events import REJECTED_RETRY_MS, rejection
from ..protocol.stream_request import StreamRequest
from .backlogs import Backlogs
from .descriptors import has_memory, has_room, memory_is_limited, release_memory
from .hub_log import HubLog
from .hub_loop import HubLoop
from .stream import Stream

# What must be free where memory is limited: a piece of input, and what is made of it on its way. As much
# less in backlogs is worth a call that gives it back to the system.
SPARE_BYTES = 8 * 1024 * 1024


class StreamIO:
    """Reads from and writes to the streams of one hub; used on its loop only.

    Args:
        core: Knows the streams, and is notified of those that leave.
        loop: Watches the sockets.
        log: Of the hub.
        carry_out: Carries out the actions of the core; called after each call of it here.
        max_total_backlog_bytes: Most unsent bytes of all streams together.
        stream_limit: Most streams; ``None`` for 90 % of the descriptor limit.

    Attributes:
        backlogs: Of all streams.
        stream_limit: As given; it holds for new streams.
        rejected: How many streams exceeded it.
        ended_slow: How many streams were ended because their client read too slowly.
    """

    def __init__(
        self,
        core: Core[Stream],
        loop: HubLoop,
        log: HubLog,
        carry_out: Callable[[], None],
        max_total_backlog_bytes: int,
        *,
        stream_limit: int | None,
    ) -> None:
        self.backlogs = Backlogs()
        self.stream_limit = stream_limit
        self.rejected = 0
        self.ended_slow = 0
        self._core = core
        self._loop = loop
        self._log = log
        self._carry_out = carry_out
        self._max_total_backlog_bytes = max_total_backlog_bytes

    # -- open and close ----------------------------------------------------------------------------

    def attach(self, sock: socket.socket, request: StreamRequest) -> None:
        """Open a stream, or reject it; ``sock`` is the hub's from here on."""
        try:
            stream = Stream(sock, request)
        except OSError:
            sock.close()
            return
        self._log.doing = ("attach", *request.channels)
        body = self._rejection(stream)
        if body is not None:
            stream.send(request.head + body)
            stream.close()
            return
        self._watch(stream)
        try:
            self._core.add(stream, self._loop.time())
        except Exception as error:  # noqa: BLE001 - see give_up
            self.give_up([stream], error)
        self._carry_out()

    def _rejection(self, stream: Stream) -> bytes | None:
        if not self._has_room(stream.sock):
            self.rejected += 1
            self._log.throttled_warning(
                "limit", "rejected a stream: the hub has %s", counted(len(self._core), "stream")
            )
            return rejection(stream.mode, "too many streams", draw_ms(REJECTED_RETRY_MS))
        body = self._core.refusal(stream)
        if body is not None:
            self._log.throttled_warning("admission", "rejected a stream: %s", ascii(body[:100]))
        return body

    def _has_room(self, sock: socket.socket) -> bool:
        streams = len(self._core)
        if self.stream_limit is not None:
            return streams < self.stream_limit
        return has_room(sock.fileno(), streams)

    def restore(self, snapshots: Iterable[StreamSnapshot]) -> None:
        """Continue the streams of the predecessor; nothing is written yet."""
        now = self._loop.time()
        # Those that wait for a place come last, when those that have one are counted.
        for each in sorted(snapshots, key=lambda each: not each.subscriber.has_begun):
            stream = Stream(socket.socket(fileno=each.descriptor), each.request)
            stream.restore_backlog(each.backlog)
            self._core.restore(stream, each.subscriber, now)
            self._watch(stream)
            self.backlogs.note(stream)

    def _watch(self, stream: Stream) -> None:
        # By number: asyncio looks a socket up in vain first, and writes a text about it each time.
        self._loop.add_reader(stream.sock.fileno(), self._readable, stream)
        if stream.has_backlog:
            self._loop.add_writer(stream.sock.fileno(), self._writable, stream)

    def _unwatch(self, stream: Stream) -> None:
        # Before the socket is closed: the next connection may have the same number, and would be watched as
        # this stream.
        self._loop.remove_reader(stream.sock.fileno())
        self._loop.remove_writer(stream.sock.fileno())

    def drop(self, stream: Stream) -> None:
        """Close a stream and forget it."""
        if stream.sock.fileno() >= 0:
            self._unwatch(stream)
            stream.close()
            self.backlogs.note(stream)
        self._core.remove(stream, self._loop.time())

    def release(self, stream: Stream) -> None:
        """Forget a stream whose connection stays open: the successor has a descriptor of it.

        A descriptor is closed, and the connection not shut down, which would end it for the successor, too.
        """
        self._unwatch(stream)
        stream.sock.close()
        self._core.remove(stream, self._loop.time())

    def give_up(self, streams: Collection[Stream], error: Exception) -> None:
        """End streams that may have missed something; their clients reconnect and resume without a gap."""
        self._log.crash(error)
        for stream in list(streams):
            self.drop(stream)

    # -- read and write ------------------------------------------------------------------------------

    def _readable(self, stream: Stream) -> None:
        if not stream.discard_input():
            self.drop(stream)

    def send(self, stream: Stream, data: bytes) -> None:
        """Write to a stream, behind its response head and its backlog."""
        if stream.sock.fileno() < 0:
            return
        head, stream.head = stream.head, b""
        had_backlog = stream.has_backlog
        if not stream.send(head + data if head else data) and not self._skip(stream):
            if stream.has_backlog:
                self.ended_slow += 1
            self.drop(stream)
        elif stream.has_backlog:
            if not had_backlog:
                self._loop.add_writer(stream.sock.fileno(), self._writable, stream)
            self.backlogs.note(stream)
            self._bound_backlogs(self._max_total_backlog_bytes)

    def _writable(self, stream: Stream) -> None:
        if not stream.send_backlog():
            self.drop(stream)
            return
        self.backlogs.note(stream)
        if not stream.has_backlog:
            self._loop.remove_writer(stream.sock.fileno())
            self._core.continue_stream(stream, self._loop.time())
            self._carry_out()

    def _skip(self, stream: Stream) -> bool:
        """Let a client that is too slow continue from now on, with a notice of the gap, where it may."""
        if not stream.has_backlog or not stream.rules.may_skip:
            return False
        resets = self._core.skip(stream)
        return bool(resets) and stream.skip_to(resets)

    # -- memory --------------------------------------------------------------------------------------

    def _bound_backlogs(self, most_bytes: int) -> None:
        """End streams, those with the largest backlogs first, until all backlogs together take no more."""
        while self.backlogs.total_bytes > most_bytes:
            stream = self.backlogs.largest()
            if stream is None:
                return
            total, largest = self.backlogs.total_bytes, stream.backlog_cost
            self._log.throttled_warning(
                "backlogs", "the backlogs of all streams take %d bytes; the largest ends: %d", total, largest
            )
            if self._skip(stream) and stream.backlog_cost < largest:
                self.backlogs.note(stream)
            else:
                self.ended_slow += 1
                self.drop(stream)

    def free_memory(self) -> None:
        """End the largest backlogs where memory is limited, before a publication fails for lack of it."""
        if not self.backlogs.total_bytes or not memory_is_limited():
            return
        while (total := self.backlogs.total_bytes) and not has_memory(SPARE_BYTES):
            self._bound_backlogs(max(0, total - SPARE_BYTES))

    def release_memory(self) -> None:
        """Give memory back to the system where backlogs have become much smaller; call it now and then."""
        if self.backlogs.have_fallen(SPARE_BYTES):
            release_memory()
