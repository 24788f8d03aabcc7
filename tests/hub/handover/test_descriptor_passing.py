"""Descriptors arrive with the first byte of their message, and close with the process that they came to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from flask_sse.hub.handover.descriptor_passing import (
    ancillary_bytes,
    receive_with_descriptors,
    send_with_descriptors,
)

MEGABYTE = 1024 * 1024


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_a_descriptor_leads_to_the_same_connection_and_is_not_inherited(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    client, theirs = socket.socketpair()
    with client:
        with theirs:
            send_with_descriptors(near, b"attach", [theirs.fileno()])
        data, descriptors, is_complete = receive_with_descriptors(far, 100, ancillary_bytes(1))
        assert (data, len(descriptors), is_complete) == (b"attach", 1, True)
        assert not os.get_inheritable(descriptors[0])
        with socket.socket(fileno=descriptors[0]) as received:
            received.sendall(b"hello")
            assert client.recv(100) == b"hello"


def test_long_data_is_written_to_its_end_and_its_descriptor_once(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    near.setblocking(True)
    received = bytearray()
    descriptors: list[int] = []
    child = os.fork()
    if not child:
        send_with_descriptors(near, b"x" * MEGABYTE, [near.fileno()])
        os._exit(0)
    while len(received) < MEGABYTE:
        data, more, is_complete = receive_with_descriptors(far, MEGABYTE, ancillary_bytes(4))
        assert is_complete
        received += data
        descriptors += more
    assert os.waitpid(child, 0)[1] == 0
    assert len(received) == MEGABYTE
    (descriptor,) = descriptors
    os.close(descriptor)


def test_descriptors_that_were_not_reserved_for_are_reported_missing(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    # What is reserved is rounded up to whole words, so one more may fit.
    send_with_descriptors(near, b"x", [near.fileno()] * 9)
    data, descriptors, is_complete = receive_with_descriptors(far, 100, ancillary_bytes(4))
    for descriptor in descriptors:
        os.close(descriptor)
    assert data == b"x"
    assert len(descriptors) < 9
    assert not is_complete
