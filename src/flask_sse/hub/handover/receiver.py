"""Receiver: the successor's end of a handover. Blocks; see ``handover_connection`` for its steps."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import HubUnavailableError, ProtocolError
from ...version import __version__
from ..core.runs import State
from ..core.subscriber import SubscriberSnapshot
from ..protocol.packet import Packet
from ..protocol.revocation import ReceivedRevocation
from ..protocol.stream_request import StreamRequest
from .handover_connection import HANDOVER_VERSION, HandoverConnection
from .peer_credentials import connect
from .snapshot import ConnectionSnapshot, Snapshot, StreamSnapshot


class Receiver:
    """Receives the snapshot of the hub that listens at a path.

    Args:
        path: Where that hub listens.
        only_if_older: Whether to leave a hub alone that is no older release than this one.

    Attributes:
        snapshot: All of it; every descriptor in it belongs to this process. Nothing may be written to them
            before ``commit`` returns.

    Raises:
        HubUnavailableError: If there is no hub, or it does not hand over and continues.
    """

    def __init__(self, path: Path, *, only_if_older: bool) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection = HandoverConnection(sock)
        self._path = path
        with self._failures():
            connect(sock, path)
            fields = {"handover": HANDOVER_VERSION, "version": __version__, "only_if_older": only_if_older}
            self._connection.send(Packet("handover", fields))
            self.snapshot = self._receive()

    def commit(self) -> None:
        """Take the place of the hub: from here on, this process alone writes to what the snapshot names.

        Call it when all of the snapshot is restored: after it, no error can give the streams back.

        Raises:
            HubUnavailableError: If the hub did not commit; it continues.
        """
        with self._failures():
            self._connection.send(Packet("prepared", {}))
            self._connection.expect("commit")
        # The hub waits for this and does nothing else. Where it cannot be sent, the hub is dead.
        with contextlib.suppress(OSError):
            self._connection.send(Packet("committed", {}))
        self._connection.sock.close()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ProtocolError, KeyError, TypeError, ValueError, IndexError) as error:
            # What else was received closes with this process, which has no other task.
            self._connection.sock.close()
            raise HubUnavailableError(str(self._path), f"handover failed: {error!r}") from error

    def _receive(self) -> Snapshot:
        connection, first = self._connection, self._connection.expect("snapshot")
        listener = connection.descriptors.popleft()
        lock = connection.descriptors.popleft() if first.fields["has_lock"] else None
        connection.send(Packet("more", {}))
        history: list[tuple[dict[str, Any], bytes]] = []
        snapshot = Snapshot(listener, lock, first.fields["linger_seconds"], {}, {}, [], history)
        while (packet := connection.receive()).op != "end":
            if packet.op == "portion_end":
                connection.send(Packet("more", {}))
            elif packet.op == "history":
                history.append((packet.fields, packet.body))
            else:
                _add_piece(snapshot, packet, connection.descriptors)
        return snapshot


def _add_piece(snapshot: Snapshot, packet: Packet, descriptors: deque[int]) -> None:
    fields = packet.fields
    match packet.op:
        case "position":
            snapshot.positions[fields["channel"]] = fields["position"]
        case "run":
            snapshot.runs[fields["channel"]] = State.LOST if fields["is_lost"] else State.OVER
        case "revocation":
            snapshot.revocations.append(ReceivedRevocation.of(fields))
        case "stream":
            snapshot.streams.append(_stream_snapshot(packet, descriptors.popleft()))
        case "app":
            snapshot.apps.append(_connection_snapshot(packet, descriptors))
        case _:
            raise ProtocolError(f"received {ascii(packet.op)[:80]} in place of a piece of a snapshot")


def _stream_snapshot(packet: Packet, descriptor: int) -> StreamSnapshot:
    head_bytes = packet.fields["head_bytes"]
    request = StreamRequest.read(Packet("attach", packet.fields, packet.body[:head_bytes]))
    subscriber = SubscriberSnapshot(since=request.since, **packet.fields["subscriber"])
    return StreamSnapshot(descriptor, request, subscriber, packet.body[head_bytes:])


def _connection_snapshot(packet: Packet, descriptors: deque[int]) -> ConnectionSnapshot:
    descriptor = descriptors.popleft()
    pending = [descriptors.popleft() for _ in range(packet.fields["descriptors"])]
    return ConnectionSnapshot(descriptor, packet.fields["is_introduced"], packet.body, pending)
