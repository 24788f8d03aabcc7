"""A successor that does not get all of a snapshot takes nothing, and says why."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_sse.errors import HubUnavailableError
from flask_sse.hub.handover.handover_connection import HandoverConnection
from flask_sse.hub.handover.receiver import Receiver
from flask_sse.hub.protocol.packet import Packet
from flask_sse.hub.protocol.requests import refusal

from .conftest import Successor

FIRST = Packet("snapshot", {"has_lock": False, "linger_seconds": None})


def test_where_no_hub_listens_there_is_none_to_replace(tmp_path: Path) -> None:
    with pytest.raises(HubUnavailableError, match="handover failed: FileNotFoundError"):
        Receiver(tmp_path / "none.sock", only_if_older=False)


@pytest.mark.parametrize(
    ("packets", "reason"),
    [
        ([], "the other hub has ended"),
        ([refusal("not you")], "not you"),
        ([Packet("answer", {})], "received 'answer' in place of snapshot"),
        ([FIRST, Packet("cake", {})], "received 'cake' in place of a piece"),
        ([FIRST, Packet("stream", {"head_bytes": 0})], "IndexError"),
        ([FIRST, Packet("position", {"channel": "a"})], "KeyError"),
        ([FIRST, Packet("end", {}), Packet("committed", {})], "received 'committed' in place of commit"),
    ],
)
def test_what_is_not_a_snapshot_is_not_taken(
    packets: list[Packet], reason: str, listener: socket.socket, start_successor: Callable[[], Successor]
) -> None:
    successor = start_successor()
    sock, _ = listener.accept()
    with sock:
        connection = HandoverConnection(sock)
        assert connection.expect("handover").fields["only_if_older"] is False
        for packet in packets:
            connection.send(packet, [listener.fileno()] if packet is FIRST else [])
        sock.shutdown(socket.SHUT_WR)
        result = successor.join()
    assert isinstance(result, HubUnavailableError)
    assert reason in str(result)
    assert result.__cause__ is not None


def test_it_writes_nothing_before_it_has_committed(
    listener: socket.socket, start_successor: Callable[[], Successor]
) -> None:
    successor = start_successor()
    sock, _ = listener.accept()
    with sock:
        connection = HandoverConnection(sock)
        connection.expect("handover")
        connection.send(FIRST, [listener.fileno()])
        connection.expect("more")
        connection.send(Packet("end", {}))
        connection.expect("prepared")
        connection.send(Packet("commit", {}))
        connection.expect("committed")
    receiver = successor.join()
    assert isinstance(receiver, Receiver)
    os.close(receiver.snapshot.listener)
