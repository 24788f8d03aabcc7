"""One hub takes the place of another: streams, applications, listening socket and history. Blocks.

Both ends stand still meanwhile, so that nothing moves between what is told and what is done. The connection
is a control connection whose first packet is ``succeed``; all packets have the layout of ``protocol.packet``.

    successor     succeed                            who it is, which version of this page it speaks
    predecessor   snapshot, with the listening socket  or ``refused``
    successor     more                               for a portion, and so on
    predecessor   position, run, revocation,         with descriptors, in portions that end with ``turn``
                  history, stream, app
    predecessor   end
    successor     ready                              all of it is understood
    predecessor   yours                              from here on it waits until the other is or is gone
    successor     taken                              sent before it writes a byte to anybody

A successor that is gone before ``taken`` has touched nothing, so the predecessor goes on. One that stops
between the last two is killed, because both would write otherwise.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import HubUnavailableError, ProtocolError
from ...version import __version__, is_newer
from ..core.groups import SubscriberSnapshot
from ..core.revocation import Arrival
from ..core.runs import State
from ..protocol.packet import Packet, PacketDecoder
from ..protocol.stream_request import StreamRequest
from .peer import connect, peer_pid, send_all

logger = logging.getLogger(__name__)

# The version of this page; another one is refused.
HANDOVER_VERSION = 3
STEP_SECONDS = 5.0
PORTION_DESCRIPTORS = 100
PORTION_BYTES = 1024 * 1024
# Bodies are backlogs, and those are as long as the application allows.
_MAX_BODY_BYTES = 0xFFFF_FFFF
_RECEIVE_BYTES = 256 * 1024
_MAX_DESCRIPTORS = 253  # of one message: SCM_MAX_FD of Linux


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """A stream that changes hands.

    Attributes:
        descriptor: Of its connection.
        request: What it asks for now; its head, where that was not written yet.
        standing: How far it is.
        backlog: Bytes that it has not taken yet.
    """

    descriptor: int
    request: StreamRequest
    standing: SubscriberSnapshot
    backlog: bytes


@dataclass(frozen=True, slots=True)
class ConnectionSnapshot:
    """A control connection that changes hands.

    Attributes:
        descriptor: Of the connection.
        is_introduced: Whether the application has said hello.
        received: The beginning of a packet.
        descriptors: That came with it.
    """

    descriptor: int
    is_introduced: bool
    received: bytes
    descriptors: Sequence[int] = ()


@dataclass(slots=True)
class Snapshot:
    """All that a hub leaves to its successor.

    What of the hub's state is handed over, and what is not and why:

    * *Streams* with their rules, grants, ages, positions and unsent bytes; *applications*; the *history* of a
      broker that lives in the hub; *positions* of channels: handed over.
    * *Revocations*: handed over, because the position of the control channel is, so that nobody reads the
      earlier ones again.
    * *Runs* that are over or lost: handed over, or pages that listen to other channels, too, would be told
      once more. How long a run has been silent is not: what its producer says between the two hubs may be
      heard late. Whether a run works is not either: the history has it.
    * *Counters*, also those of what was refused, and the rates of the live page: not handed over; they are
      those of one process, as its pid is.
    * How many streams a subject or an address has, which streams form a group, when to look at which:
      not handed over, but found out again from the streams.
    * Whether the broker is away, which channels it has confirmed or refuses, reads that were not answered,
      and events that wait for their place: not handed over. The successor subscribes to each channel again
      and reads on from its position, as after a lost connection.
    * Channels without streams, recently read pages, what was logged in the last minute: not handed over;
      they only save work.
    * Keys by which a newer event replaces an unsent one: not handed over; unsent bytes are, as they are.

    Attributes:
        listener: The descriptor of its listening socket.
        lock: That of its lock; ``None`` for the hub of an operator.
        linger_seconds: How long it outlives its last application; ``None`` for ever.
        positions: Where the channels stand.
        runs: The channels of runs whose end was told, or that they are lost.
        arrivals: All revocations that are remembered, the earliest first.
        history: What the broker keeps that lives in the hub, in pieces.
        streams: All streams.
        apps: All control connections.
    """

    listener: int
    lock: int | None
    linger_seconds: float | None
    positions: dict[str, str]
    runs: dict[str, State]
    arrivals: list[Arrival]
    history: Iterable[tuple[dict[str, Any], bytes]]
    streams: list[StreamSnapshot] = field(default_factory=list)
    apps: list[ConnectionSnapshot] = field(default_factory=list)


# -- the predecessor's end ---------------------------------------------------------------------------


def refuse_handover(request: Packet) -> str:
    """Return why a process that says ``succeed`` may not; empty if it may."""
    fields = request.fields
    if fields.get("handover") != HANDOVER_VERSION:
        return f"this hub hands over by version {HANDOVER_VERSION}, not {ascii(fields.get('handover'))[:20]}"
    if fields.get("only_if_older") and not is_newer(fields.get("version")):
        return f"this hub is release {__version__} already"
    return ""


def hand_over(sock: socket.socket, snapshot: Snapshot) -> bool:
    """Give all to the process that said ``succeed``; return whether it has taken it.

    Nothing of the snapshot is changed or closed.
    """
    peer = _Peer(sock)
    try:
        granted = [snapshot.listener, *([] if snapshot.lock is None else [snapshot.lock])]
        fields = {"has_lock": snapshot.lock is not None, "linger_seconds": snapshot.linger_seconds}
        peer.send([Packet("snapshot", fields)], granted)
        for data, descriptors in _portions(_pieces(snapshot)):
            peer.expect("more")
            send_all(sock, data, descriptors)
        peer.expect("more")
        peer.send([Packet("end", {})])
        peer.expect("ready")
        peer.send([Packet("yours", {})])
    except (OSError, ProtocolError) as error:
        logger.warning("not handed over to process %s: %s", peer_pid(sock), error)
        return False
    return _has_taken(peer, peer_pid(sock))


def _has_taken(peer: _Peer, pid: int | None) -> bool:
    while True:
        try:
            peer.expect("taken")
        except TimeoutError:
            logger.warning("process %s, which was to take over, does not answer and is killed", pid)
            if pid:  # that of a process in another container cannot be known
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        except (OSError, ProtocolError) as error:
            logger.warning("not taken over by process %s: %s", pid, error)
            return False
        else:
            return True


_Piece = tuple[Packet, Sequence[int]]
_TURN = Packet("turn", {}).encode()
_SNAPSHOT = [each.name for each in dataclasses.fields(SubscriberSnapshot) if each.name != "since"]


def _pieces(snapshot: Snapshot) -> Iterator[_Piece]:
    for name, position in snapshot.positions.items():
        yield Packet("position", {"channel": name, "position": position}), ()
    for name, state in snapshot.runs.items():
        yield Packet("run", {"channel": name, "is_lost": state is State.LOST}), ()
    for arrival in snapshot.arrivals:
        yield Packet("revocation", arrival.fields()), ()
    for fields, body in snapshot.history:
        yield Packet("history", fields, body), ()
    for stream in snapshot.streams:
        packet = stream.request.packet()
        standing = {name: getattr(stream.standing, name) for name in _SNAPSHOT}
        fields = {**packet.fields, "standing": standing, "head_bytes": len(packet.body)}
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
            yield bytes(data + _TURN), descriptors
            data, descriptors = bytearray(), []
    if data:
        yield bytes(data + _TURN), descriptors


# -- the successor's end -----------------------------------------------------------------------------


class Handover:
    """A hub's snapshot on its way to this process.

    Args:
        path: Where the hub listens.
        only_if_older: Whether to leave a hub alone that is no older release than this one.

    Attributes:
        snapshot: All of it; every descriptor in it is this process's own.

    Raises:
        HubUnavailableError: If there is no hub, or it does not hand over; it goes on then.
    """

    def __init__(self, path: Path, *, only_if_older: bool) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._peer = _Peer(sock)
        self._path = path
        with self._failures():
            connect(sock, path)
            fields = {"handover": HANDOVER_VERSION, "version": __version__, "only_if_older": only_if_older}
            self._peer.send([Packet("succeed", fields)])
            self.snapshot = self._receive()

    def take(self) -> None:
        """Let the hub go. What the snapshot names is this process's own to write to from here on.

        Raises:
            HubUnavailableError: If it did not let go; it goes on.
        """
        with self._failures():
            self._peer.send([Packet("ready", {})])
            self._peer.expect("yours")
        # The hub waits for this and does nothing else. Where it cannot be told, it is dead.
        with contextlib.suppress(OSError):
            self._peer.send([Packet("taken", {})])
        self._peer.sock.close()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ProtocolError, KeyError, TypeError, ValueError, IndexError) as error:
            raise HubUnavailableError(str(self._path), f"not taken over: {error!r}") from error

    def _receive(self) -> Snapshot:
        peer, first = self._peer, self._peer.expect("snapshot")
        listener = peer.descriptors.popleft()
        lock = peer.descriptors.popleft() if first.fields["has_lock"] else None
        peer.send([Packet("more", {})])
        history: list[tuple[dict[str, Any], bytes]] = []
        snapshot = Snapshot(listener, lock, first.fields["linger_seconds"], {}, {}, [], history)
        while (packet := peer.receive()).op != "end":
            if packet.op == "turn":
                peer.send([Packet("more", {})])
            elif packet.op == "history":
                history.append((packet.fields, packet.body))
            else:
                _add_piece(snapshot, packet, peer.descriptors)
        return snapshot


def _add_piece(snapshot: Snapshot, packet: Packet, descriptors: deque[int]) -> None:
    fields = packet.fields
    match packet.op:
        case "position":
            snapshot.positions[fields["channel"]] = fields["position"]
        case "run":
            # Not said by hubs that did not tell the two apart.
            snapshot.runs[fields["channel"]] = State.LOST if fields.get("is_lost") else State.OVER
        case "revocation":
            snapshot.arrivals.append(Arrival.of(fields))
        case "stream":
            snapshot.streams.append(_stream_snapshot(packet, descriptors.popleft()))
        case "app":
            snapshot.apps.append(_connection_snapshot(packet, descriptors))
        case _:
            raise ProtocolError(f"a piece {ascii(packet.op)[:80]}")


def _stream_snapshot(packet: Packet, descriptor: int) -> StreamSnapshot:
    head_bytes = packet.fields["head_bytes"]
    request = StreamRequest.read(Packet("attach", packet.fields, packet.body[:head_bytes]))
    standing = SubscriberSnapshot(since=request.since, **packet.fields["standing"])
    return StreamSnapshot(descriptor, request, standing, packet.body[head_bytes:])


def _connection_snapshot(packet: Packet, descriptors: deque[int]) -> ConnectionSnapshot:
    descriptor = descriptors.popleft()
    pending = [descriptors.popleft() for _ in range(packet.fields["descriptors"])]
    return ConnectionSnapshot(descriptor, packet.fields["is_introduced"], packet.body, pending)


# -- both ends ---------------------------------------------------------------------------------------


class _Peer:
    """The other hub; every step has its time.

    Attributes:
        sock: The connection.
        descriptors: Those that came and were not asked for yet.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(STEP_SECONDS)
        self.sock = sock
        self.descriptors: deque[int] = deque()
        self._decoder = PacketDecoder(_MAX_BODY_BYTES)
        self._packets: deque[Packet] = deque()

    def send(self, packets: Sequence[Packet], descriptors: Sequence[int] = ()) -> None:
        send_all(self.sock, b"".join(packet.encode() for packet in packets), descriptors)

    def receive(self) -> Packet:
        while not self._packets:
            data, descriptors, flags, _ = socket.recv_fds(
                self.sock, _RECEIVE_BYTES, _MAX_DESCRIPTORS, getattr(socket, "MSG_CMSG_CLOEXEC", 0)
            )
            self.descriptors += descriptors
            if not data:
                raise ConnectionResetError("it is gone")
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError("more descriptors than this process may open")
            self._packets += self._decoder.feed(data)
        return self._packets.popleft()

    def expect(self, op: str) -> Packet:
        packet = self.receive()
        if packet.op == "refused":
            raise ProtocolError(str(packet.fields.get("reason")))
        if packet.op != op:
            raise ProtocolError(f"{ascii(packet.op)[:80]} in place of {op}")
        return packet
