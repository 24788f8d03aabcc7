"""The connection between two hubs: one step at a time, none of them for ever."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from flask_sse.errors import ProtocolError
from flask_sse.hub.handover import handover_connection
from flask_sse.hub.handover.handover_connection import HandoverConnection
from flask_sse.hub.protocol.packet import Packet
from flask_sse.hub.protocol.requests import refusal


@pytest.fixture
def ends() -> Iterator[tuple[HandoverConnection, HandoverConnection]]:
    near, far = socket.socketpair()
    with near, far:
        yield HandoverConnection(near), HandoverConnection(far)


def test_packets_and_descriptors_come_in_their_order(
    ends: tuple[HandoverConnection, HandoverConnection],
) -> None:
    near, far = ends
    first, second = Packet("stream", {"number": 1}, b"one"), Packet("more", {})
    near.send(first, [near.sock.fileno()])
    near.send(second)
    assert [far.receive(), far.expect("more")] == [first, second]
    (descriptor,) = far.descriptors
    with socket.socket(fileno=descriptor) as copy:
        assert copy.family == socket.AF_UNIX


@pytest.mark.parametrize(
    ("packet", "reason"),
    [(refusal("too old"), "too old"), (Packet("end", {}), "received 'end' in place of more")],
)
def test_another_packet_than_the_expected_one_ends_the_handover(
    packet: Packet, reason: str, ends: tuple[HandoverConnection, HandoverConnection]
) -> None:
    near, far = ends
    near.send(packet)
    with pytest.raises(ProtocolError, match=reason):
        far.expect("more")


def test_an_end_that_is_gone_is_not_waited_for(ends: tuple[HandoverConnection, HandoverConnection]) -> None:
    near, far = ends
    near.sock.close()
    with pytest.raises(ConnectionResetError, match="has ended"):
        far.receive()


def test_no_step_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover_connection, "STEP_SECONDS", 0.01)
    near, far = socket.socketpair()
    with near, far, pytest.raises(TimeoutError):
        HandoverConnection(far).receive()
