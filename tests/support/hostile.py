"""A peer on a hub's control socket that keeps to no rule, and the check that it harmed nobody."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from flask_sse.brokers.base import Publication
from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.hub.protocol.hello import Hello
from flask_sse.hub.protocol.packet import Packet
from flask_sse.hub.protocol.stream_request import StreamRequest
from flask_sse.settings import History, StreamRules

from .bare_application import BareApplication, log_of
from .patience import PATIENT_SECONDS
from .processes import descriptors, wait_until

# What an honest application says.
HELLO = Hello(1, 60).packet()
ATTACH = StreamRequest(("hostile",), "frames", StreamRules(heartbeat_seconds=60), head=b"head")
# A channel that every honest stream listens to.
EVERYBODY = "everybody"


def publication(channel: str, envelope: bytes) -> Publication:
    """Return a publication as an honest application sends it."""
    return Publication(channel, envelope, History())


class Peer:
    """A control connection that keeps to no rule; leaving the ``with`` block closes it."""

    def __init__(self, path: Path, *packets: Packet) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        # Without a time-out, for the kernel then lets it wait for a place in a full queue.
        self.sock.connect(str(path))
        self.sock.settimeout(PATIENT_SECONDS)
        for packet in packets:
            self.send(packet.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send all of it, or as much as the hub lets us."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sent = socket.send_fds(self.sock, [data], descriptors) if descriptors else 0
            self.sock.sendall(data[sent:])

    def wait_for(self, text: bytes) -> None:
        """Return as soon as the hub has said something."""
        said = b""
        while text not in said:
            piece = self.sock.recv(65536)
            if not piece:
                raise EOFError(f"{said!r}, and not {text!r}")
            said += piece

    def rest(self) -> bytes:
        """Return what the hub still says until it closes the connection."""
        pieces = []
        with contextlib.suppress(ConnectionResetError):
            while piece := self.sock.recv(65536):
                pieces.append(piece)
        return b"".join(pieces)


@contextlib.contextmanager
def honest_streams_go_on(hub: BareApplication) -> Iterator[Path]:
    """Check that a stream from before gets its event after, and that a new one opens."""
    channel = f"honest-{uuid.uuid4().hex[:8]}"
    path = hub_path(hub.settings)
    hub.publish("warm up", channel=channel)
    pid, before, logged = hub.pid, descriptors(hub.pid), len(log_of(path))
    with hub.stream(channel, EVERYBODY, heartbeat_seconds=60) as old:
        yield path
        assert hub.publish("still here", channel=channel) == 1
        assert old.next_event().data == "still here"
        with BareApplication(hub.settings.broker_url) as later, later.stream(channel) as new:
            assert later.publish("open to new ones", channel=channel) == 2
            assert old.next_event().data == new.next_event().data == "open to new ones"
            assert later.pid == pid
    wait_until(lambda: descriptors(pid) <= before, what=f"the hub's descriptors back to {before}")
    _, traceback, text = log_of(path)[logged:].partition("Traceback")
    assert not traceback, f"the hub stumbled: {text[:3000]}"


def refuse(path: Path, data: bytes, reason: bytes, *, sends: Sequence[int] = ()) -> None:
    """Check that the hub answers these bytes behind a hello with a reason, and closes."""
    with Peer(path, HELLO) as peer:
        peer.send(data, sends)
        assert reason in peer.rest()
