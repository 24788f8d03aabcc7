"""App connection: the hub's end of one control connection, which answers the requests of an application.

The peer is a process of the same user, checked before the first byte is read. Still, nothing that it
sends may harm the hub: a protocol error ends the connection, and a descriptor that is no
stream socket is closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ...errors import ProtocolError
from ...version import __version__
from ..handover.descriptor_passing import (
    ancillary_bytes,
    receive_with_descriptors,
    send_with_descriptors,
)
from ..handover.peer_credentials import is_trusted, peer_uid
from ..handover.sender import reason_to_refuse
from ..handover.snapshot import ConnectionSnapshot
from ..protocol.hello import Hello, common_protocol
from ..protocol.packet import Packet, PacketDecoder, max_body_bytes
from ..protocol.requests import (
    answer,
    page_answer,
    read_channel,
    read_publication,
    read_rejected,
    read_since,
    receipt_answer,
    refusal,
)
from ..protocol.stream_request import StreamRequest
from .hub import Hub

logger = logging.getLogger(__name__)

NOT_MEMORY = "this hub takes its events from a broker, not from applications"
_RECEIVE_BYTES = 256 * 1024
_MAX_DESCRIPTORS = 64
_LAST_READS = 100
_STREAM = int(socket.SOCK_STREAM)
_KIND_AND_LISTENS = (socket.SO_TYPE, socket.SO_ACCEPTCONN)
_RESERVED_BYTES = ancillary_bytes(_MAX_DESCRIPTORS)


class Owner(Protocol):
    """What holds the control connections of a hub."""

    def introduced(self, linger_seconds: float) -> None:
        """Note what an application has sent in its hello."""
        ...

    def closed(self, connection: AppConnection) -> None:
        """Forget a control connection that was closed."""
        ...

    def listener_descriptor(self) -> int | None:
        """Return the descriptor of the listening socket; ``None`` if the hub does not listen any more."""
        ...


class AppConnection:
    """One application's control connection; used on the hub's loop only.

    Args:
        sock: The connection.
        hub: Answers its requests.
        owner: Holds this connection.
    """

    def __init__(self, sock: socket.socket, hub: Hub, owner: Owner) -> None:
        self._sock = sock
        self._hub = hub
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._decoder = PacketDecoder(max_body_bytes(hub.max_event_bytes))
        self._descriptors: deque[int] = deque()
        self._introduced = False
        self._hangup = select.poll()
        self._hangup.register(sock, 0)  # which leaves POLLHUP and POLLERR
        self._is_paused = False
        self._is_ending = False
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    @classmethod
    def restore(cls, snapshot: ConnectionSnapshot, hub: Hub, owner: Owner) -> AppConnection:
        """Continue a connection where the predecessor stopped."""
        connection = cls(socket.socket(fileno=snapshot.descriptor), hub, owner)
        connection._introduced = snapshot.is_introduced
        connection._descriptors.extend(snapshot.descriptors)
        connection._decoder.begin_with(snapshot.received)
        if snapshot.received:
            # It may be a whole packet: the predecessor may have paused between several of them.
            connection._pause()
        return connection

    def snapshot(self) -> ConnectionSnapshot:
        """Return what a successor needs to continue this connection."""
        return ConnectionSnapshot(
            self._sock.fileno(), self._introduced, self._decoder.incomplete, tuple(self._descriptors)
        )

    def release(self) -> None:
        """Close this process's copies of the descriptors; the successor has its own."""
        self._loop.remove_reader(self._sock)
        self._sock.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def finish(self) -> None:
        """Answer what was received or is waiting in the socket, and end the connection."""
        self._is_ending = True
        self._attempt(self._take_packets)
        for _ in range(_LAST_READS):
            if self._sock.fileno() < 0 or not self._read():
                break
        self.close()

    def close(self) -> None:
        """End the connection and close descriptors that no request took."""
        if self._sock.fileno() >= 0:
            self.release()
            self._owner.closed(self)

    def _readable(self) -> None:
        self._read()

    def _pause(self) -> None:
        """Continue in the next turn of the loop, and read nothing until then."""
        self._is_paused = True
        self._loop.remove_reader(self._sock)
        self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._is_paused and self._sock.fileno() >= 0:
            self._is_paused = False
            self._loop.add_reader(self._sock, self._readable)
            self._attempt(self._take_packets)

    def _read(self) -> bool:
        """Do what one piece of input asks for; return whether there may be more."""
        return self._attempt(self._take_input)

    def _attempt(self, take: Callable[[], bool]) -> bool:
        try:
            return take()
        except BlockingIOError:
            return False
        except ProtocolError as error:
            logger.warning("closed a control connection: %s", error)
            self._send(refusal(str(error)))
        except OSError as error:
            # So end most commands, which send their hello and do not read the answer.
            logger.debug("lost a control connection: %s", error)
        except Exception as error:  # noqa: BLE001 - the application must not wait for an answer
            self._hub.log.crash(error)
        self.close()
        return False

    def _take_input(self) -> bool:
        if not self._introduced and not is_trusted(uid := peer_uid(self._sock)):
            raise ProtocolError(f"a process of another user ({uid})")
        self._hub.free_memory()
        data, descriptors, is_complete = receive_with_descriptors(self._sock, _RECEIVE_BYTES, _RESERVED_BYTES)
        self._descriptors.extend(descriptors)
        self._take_packets(data)
        if not is_complete or len(self._descriptors) > _MAX_DESCRIPTORS:
            raise ProtocolError("more descriptors than this process may open or a packet has")
        if not data:
            self.close()
        return data != b""

    def _take_packets(self, data: bytes = b"") -> bool:
        for packet in self._decoder.feed(data):
            self._handle(packet)
            if not (self._hub.has_time or self._is_ending) and self._sock.fileno() >= 0:
                self._pause()
                break
        return True

    def _handle(self, packet: Packet) -> None:
        if not self._introduced:
            self._introduce(packet)
        elif packet.op == "attach":
            self._attach(StreamRequest.read(packet))
        elif packet.op == "submit":
            self._submit(packet)
        elif packet.op == "cursor":
            cursor = self._hub.cursor(read_channel(packet))
            self._send(answer(cursor=str(cursor)) if cursor else refusal(NOT_MEMORY))
        elif packet.op == "read":
            page = self._hub.read(read_channel(packet), read_since(packet))
            self._send(page_answer(page) if page else refusal(NOT_MEMORY))
        elif packet.op == "status":
            details = packet.fields.get("details") is True
            self._send(answer(**self._hub.details() if details else self._hub.status()))
        elif packet.op == "rejected":
            self._hub.count_rejected(read_rejected(packet))
            self._send(answer())
        else:
            raise ProtocolError(f"a request {ascii(packet.op)[:80]}")

    def _submit(self, packet: Packet) -> None:
        if self._hangup.poll(0):
            # The application waits 2 seconds for its answer and reports an error then. A hub that stood
            # still for longer must not publish behind that.
            return
        receipt = self._hub.submit(read_publication(packet))
        self._send(receipt_answer(receipt) if receipt else refusal(NOT_MEMORY))

    def _introduce(self, packet: Packet) -> None:
        if packet.op == "handover":
            self._hand_over(packet)
            return
        if packet.op == "listener":
            self._share_listener()
            return
        hello = Hello.read(packet)
        self._introduced = True
        self._owner.introduced(hello.linger_seconds)
        protocol = common_protocol(packet.fields["protocols"])
        self._send(
            answer(pid=os.getpid(), protocol=protocol, version=__version__, processes=self._hub.processes)
        )

    def _share_listener(self) -> None:
        """Send the listening socket to a command that is to start another hub in the place of this one.

        Both processes listen at the same socket during the swap, so that no connection is refused: what no
        process has accepted yet waits in the queue of the socket, whichever of them closes its copy first.
        """
        listener = self._owner.listener_descriptor()
        if listener is None:
            raise ProtocolError("this hub is ending")
        send_with_descriptors(self._sock, answer(processes=self._hub.processes).encode(), [listener])

    def _hand_over(self, packet: Packet) -> None:
        if reason := reason_to_refuse(packet):
            raise ProtocolError(reason)
        # The connection is closed as an application's, so that the snapshot does not contain the successor
        # itself. The handover begins in a turn of its own: it blocks, and this one
        # is in the midst of a packet.
        sock = self._sock.dup()
        self.close()
        self._loop.call_soon(self._hub.hand_over, sock)

    def _attach(self, request: StreamRequest) -> None:
        if not self._descriptors:
            raise ProtocolError("an attach without its descriptor")
        number = self._descriptors.popleft()
        try:
            sock = socket.socket(fileno=number)
        except OSError:
            os.close(number)
            raise ProtocolError("an attach with a descriptor that is no socket") from None
        kind, listens = (sock.getsockopt(socket.SOL_SOCKET, option) for option in _KIND_AND_LISTENS)
        if kind != _STREAM or listens:
            sock.close()
            raise ProtocolError("an attach with a socket that is no connection")
        self._hub.attach(sock, request)

    def _send(self, packet: Packet) -> None:
        """Answer at once or not at all: a peer that does not read its answers breaks the protocol."""
        data = packet.encode()
        try:
            sent = self._sock.send(data)
        except OSError:
            sent = 0
        if sent < len(data) and self._sock.fileno() >= 0:
            self._loop.call_soon(self.close)
