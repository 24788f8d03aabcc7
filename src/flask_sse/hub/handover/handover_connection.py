"""Handover connection: the protocol by which one hub hands over to another, as both ends speak it. Blocks.

It is a control connection whose first packet is ``handover``; all packets are those of ``protocol.packet``.
Streams, applications, listening socket and history go over in a *snapshot*, by a two-phase commit:

    successor     handover                           its release, and which version of this protocol it speaks
    predecessor   snapshot, with the listening socket  or ``refused``
    successor     more                               for a portion, and so on
    predecessor   position, run, revocation,         with descriptors, in portions that end with
                  history, stream, app               ``portion_end``
    predecessor   end
    successor     prepared                           all of it is restored
    predecessor   commit                             from here on it waits until the successor answers or ends
    successor     committed                          sent before it writes a byte to any client

Both hubs stand still meanwhile, so that nothing changes between the snapshot and its restoration. Only one of
them may ever write to a client: two would mix their bytes within an event.

* A successor that ends before ``committed`` has written nothing, so the predecessor resumes.
* One that stops between ``commit`` and ``committed`` may have decided to write, and no message can tell. The
  predecessor kills it, and resumes once the kernel has closed the connection.
* Portions bound what is in memory at once, and the successor asks for each: a descriptor that is in flight
  counts against the limit of the user (``RLIMIT_NOFILE``, ``ETOOMANYREFS``).
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Sequence

from ...errors import ProtocolError
from ..protocol.packet import Packet, PacketDecoder
from .descriptor_passing import ancillary_bytes, receive_with_descriptors, send_with_descriptors

# The version of this protocol; another one is refused.
HANDOVER_VERSION = 3
STEP_SECONDS = 5.0
# Bodies are backlogs, and those are as long as the application allows.
_MAX_BODY_BYTES = 0xFFFF_FFFF
_RECEIVE_BYTES = 256 * 1024
_RESERVED_BYTES = ancillary_bytes(253)  # of one message: SCM_MAX_FD of Linux


class HandoverConnection:
    """One end of the connection between two hubs; every step has a time limit.

    Attributes:
        sock: The connection.
        descriptors: Those that were received and not used yet, in the order of their packets.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(STEP_SECONDS)
        self.sock = sock
        self.descriptors: deque[int] = deque()
        self._decoder = PacketDecoder(_MAX_BODY_BYTES)
        self._packets: deque[Packet] = deque()

    def send(self, packet: Packet, descriptors: Sequence[int] = ()) -> None:
        """Write a packet, with descriptors."""
        send_with_descriptors(self.sock, packet.encode(), descriptors)

    def receive(self) -> Packet:
        """Wait for the next packet.

        Raises:
            OSError: If the other hub has ended, or does not answer within ``STEP_SECONDS``.
            ProtocolError: If a packet cannot be read, or a descriptor of it cannot be opened here.
        """
        while not self._packets:
            data, descriptors, is_complete = receive_with_descriptors(
                self.sock, _RECEIVE_BYTES, _RESERVED_BYTES
            )
            self.descriptors += descriptors
            if not data:
                raise ConnectionResetError("the other hub has ended")
            if not is_complete:
                raise ProtocolError("more descriptors than this process may open")
            self._packets += self._decoder.feed(data)
        return self._packets.popleft()

    def expect(self, op: str) -> Packet:
        """Wait for the next packet, which must be of one kind.

        Raises:
            OSError: As ``receive``.
            ProtocolError: As ``receive``, or if it is of another kind, or refuses the handover.
        """
        packet = self.receive()
        if packet.op == "refused":
            raise ProtocolError(str(packet.fields.get("reason")))
        if packet.op != op:
            raise ProtocolError(f"received {ascii(packet.op)[:80]} in place of {op}")
        return packet
