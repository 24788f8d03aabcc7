"""The bytes of a relayed stream, and how it ends."""

from __future__ import annotations

import socket

import pytest

from flask_sse.serving.relay import received_until
from flask_sse.serving.shutdown_watcher import StreamEnd

RETRY = b"retry:1\n\n"


@pytest.mark.parametrize(
    ("sent", "last"),
    [
        (b"", RETRY),
        (b"data:whole\n\n", RETRY),
        (b"data:whole\n\ndata:half", b""),
        (b"data:whole\n\ndata:half\n", b""),
    ],
)
def test_half_an_event_is_followed_by_nothing(sent: bytes, last: bytes) -> None:
    ours, hubs = socket.socketpair()
    with hubs:
        hubs.sendall(sent)
        hubs.shutdown(socket.SHUT_WR)
        assert b"".join(received_until(StreamEnd(ours), lambda: True, RETRY)) == sent + last


def test_an_event_that_comes_in_pieces_is_whole_behind_the_last_one() -> None:
    ours, hubs = socket.socketpair()
    with hubs:
        pieces = received_until(StreamEnd(ours), lambda: len(seen) > 1, RETRY)
        seen: list[bytes] = []
        for sent in (b"data:in pieces\n", b"\n"):
            hubs.sendall(sent)
            seen.append(next(pieces))
        hubs.shutdown(socket.SHUT_WR)
        assert [*seen, *pieces] == [b"data:in pieces\n", b"\n", RETRY]


def test_the_hub_is_notified_first_and_its_last_bytes_are_passed_on() -> None:
    ours, hubs = socket.socketpair()
    pieces = received_until(StreamEnd(ours), lambda: True, RETRY)
    with hubs:
        hubs.sendall(b"data:first\n\n")
        assert next(pieces) == b"data:first\n\n"
        assert hubs.recv(1) == b""
        hubs.sendall(b"data:last\n\n")
    assert list(pieces) == [b"data:last\n\n", RETRY]


def test_a_stream_that_the_hub_ends_gets_nothing_more() -> None:
    ours, hubs = socket.socketpair()
    with hubs:
        hubs.sendall(b"data:whole\n\n")
    assert list(received_until(StreamEnd(ours), lambda: False, RETRY)) == [b"data:whole\n\n"]


def test_a_stream_whose_client_leaves_is_closed() -> None:
    ours, hubs = socket.socketpair()
    with hubs:
        hubs.sendall(b"data:whole\n\n")
        pieces = received_until(StreamEnd(ours), lambda: False, RETRY)
        assert next(pieces) == b"data:whole\n\n"
        ours.shutdown(socket.SHUT_RDWR)  # as Relay.close does
        assert list(pieces) == []
        assert hubs.recv(1) == b""
