"""Control connection: an application's end of it, introduced to the hub."""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...brokers.deadline import seconds_left
from ...errors import ProtocolError
from ...version import is_older
from ..handover.descriptor_passing import send_with_descriptors
from ..handover.peer_credentials import connect
from ..protocol.hello import Hello
from ..protocol.packet import ANSWER_SECONDS, Packet, PacketDecoder

_ANSWER_BYTES = 64 * 1024


class OlderHubError(ProtocolError):
    """A hub of an older release refused the connection."""


class HubConnection:
    """A control connection, introduced; used by one thread at a time.

    Attributes:
        hub_version: The release that the hub is of.
        processes: How many hubs share the streams of an application.
    """

    def __init__(self, path: Path, linger_seconds: float) -> None:
        self._decoder = PacketDecoder(_ANSWER_BYTES)
        self._sock = owned_socket(self)
        try:
            self._limit_wait()
            connect(self._sock, path)
            self.send([Hello(os.getpid(), linger_seconds).packet()])
            fields = self.receive()
            self.hub_version = fields.get("version")
            self.processes = int(fields.get("processes", 1))
        except BaseException:
            self.close()
            raise

    def send(self, packets: Sequence[Packet], descriptor: int | None = None) -> None:
        """Write packets, with a descriptor at the first byte."""
        data = b"".join(packet.encode() for packet in packets)
        self._limit_wait()
        send_with_descriptors(self._sock, data, [] if descriptor is None else [descriptor])

    def receive(self) -> dict[str, Any]:
        """Wait for the answer to a request.

        Raises:
            ProtocolError: If the hub refused it.
            OSError: If the hub is gone or does not answer in time.
        """
        data = b""
        while True:
            # A pipelined batch may bring several answers in one read, so the buffer comes first.
            for packet in self._decoder.feed(data):
                if packet.op == "refused":
                    kind = OlderHubError if is_older(packet.fields.get("version")) else ProtocolError
                    raise kind(f"the hub refused: {packet.fields.get('reason')}")
                return packet.fields
            self._limit_wait()
            data = self._sock.recv(_ANSWER_BYTES)
            if not data:
                raise ConnectionResetError("the hub closed the connection")

    def _limit_wait(self) -> None:
        """Give the next operation what is left of the deadline of its call."""
        self._sock.settimeout(min(ANSWER_SECONDS, seconds_left()))

    def close(self) -> None:
        """Close this end; the hub continues."""
        self._sock.close()


def owned_socket(owner: object) -> socket.socket:
    """Return a socket that is closed when its owner is garbage collected, as in a thread that ended."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    weakref.finalize(owner, sock.close)
    return sock
