"""Sender: the predecessor's end of a handover. Blocks; see ``handover_connection`` for its steps."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence

from ...errors import ProtocolError
from ...version import __version__, is_newer
from ..core.runs import State
from ..core.subscriber import SubscriberSnapshot
from ..protocol.packet import Packet
from .descriptor_passing import send_with_descriptors
from .handover_connection import HANDOVER_VERSION, HandoverConnection
from .peer_credentials import peer_pid
from .snapshot import Snapshot

logger = logging.getLogger(__name__)

PORTION_DESCRIPTORS = 100
PORTION_BYTES = 1024 * 1024

_Piece = tuple[Packet, Sequence[int]]
_PORTION_END = Packet("portion_end", {}).encode()
# The positions are in the stream's request already.
_SUBSCRIBER = [each.name for each in dataclasses.fields(SubscriberSnapshot) if each.name != "since"]


def reason_to_refuse(request: Packet) -> str:
    """Return why a process that asks for a handover does not get one; empty if it does."""
    fields = request.fields
    if fields.get("handover") != HANDOVER_VERSION:
        return f"this hub hands over by version {HANDOVER_VERSION}, not {ascii(fields.get('handover'))[:20]}"
    if fields.get("only_if_older") and not is_newer(fields.get("version")):
        return f"this hub is release {__version__} already"
    return ""


def send_snapshot(sock: socket.socket, snapshot: Snapshot) -> bool:
    """Hand over to the process that asked for it; return whether it has committed.

    Nothing of the snapshot is changed or closed.
    """
    connection = HandoverConnection(sock)
    try:
        first = [snapshot.listener, *([] if snapshot.lock is None else [snapshot.lock])]
        fields = {"has_lock": snapshot.lock is not None, "linger_seconds": snapshot.linger_seconds}
        connection.send(Packet("snapshot", fields), first)
        for data, descriptors in _portions(_pieces(snapshot)):
            connection.expect("more")
            send_with_descriptors(sock, data, descriptors)
        connection.expect("more")
        connection.send(Packet("end", {}))
        connection.expect("prepared")
        connection.send(Packet("commit", {}))
    except (OSError, ProtocolError) as error:
        # Whatever the successor received, it may not write before ``commit``.
        logger.warning("handover to process %s failed, this hub continues: %s", peer_pid(sock), error)
        return False
    return _has_committed(connection, peer_pid(sock))


def _has_committed(connection: HandoverConnection, pid: int | None) -> bool:
    """Wait until the successor has committed or has ended; until then this hub must not write."""
    while True:
        try:
            connection.expect("committed")
        except TimeoutError:
            # Killed, not left alone: it may continue at any time and write beside this hub. Its end of the
            # connection closes with it, so the next turn of the loop sees which of the two it was.
            logger.warning("process %s, which was to take over, does not answer and is killed", pid)
            if pid:  # that of a process in another container cannot be known
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        except (OSError, ProtocolError) as error:
            logger.warning("handover to process %s failed, this hub continues: %s", pid, error)
            return False
        else:
            return True


def _pieces(snapshot: Snapshot) -> Iterator[_Piece]:
    for name, position in snapshot.positions.items():
        yield Packet("position", {"channel": name, "position": position}), ()
    for name, state in snapshot.runs.items():
        yield Packet("run", {"channel": name, "is_lost": state is State.LOST}), ()
    for received in snapshot.revocations:
        yield Packet("revocation", received.fields()), ()
    for fields, body in snapshot.history:
        yield Packet("history", fields, body), ()
    for stream in snapshot.streams:
        packet = stream.request.packet()
        subscriber = {name: getattr(stream.subscriber, name) for name in _SUBSCRIBER}
        fields = {**packet.fields, "subscriber": subscriber, "head_bytes": len(packet.body)}
        yield Packet("stream", fields, packet.body + stream.backlog), [stream.descriptor]
    for app in snapshot.apps:
        fields = {"is_introduced": app.is_introduced, "descriptors": len(app.descriptors)}
        yield Packet("app", fields, app.received), [app.descriptor, *app.descriptors]


def _portions(pieces: Iterator[_Piece]) -> Iterator[tuple[bytes, list[int]]]:
    """Yield pieces together, so that each portion is made while the other end reads the one before."""
    data = bytearray()
    descriptors: list[int] = []
    for packet, more in pieces:
        data += packet.encode()
        descriptors += more
        if len(descriptors) >= PORTION_DESCRIPTORS or len(data) >= PORTION_BYTES:
            yield bytes(data + _PORTION_END), descriptors
            data, descriptors = bytearray(), []
    if data:
        yield bytes(data + _PORTION_END), descriptors
