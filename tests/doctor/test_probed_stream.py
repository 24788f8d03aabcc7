"""Waiting for bytes ends with what is awaited, with the time, or with the connection."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest
from tests.support.patience import PATIENT_SECONDS

from flask_sse.doctor.observations import OpenAttempt
from flask_sse.doctor.probed_stream import ProbedStream
from flask_sse.doctor.response_reader import ResponseReader

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


class Probe:
    """A stream and the server's end of its connection."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.server = server
        self.attempt = OpenAttempt("a", is_probe_channel=True)
        self.stream = ProbedStream(client, ResponseReader(self.attempt, lambda event, now: None))


@pytest.fixture
def probe() -> Iterator[Probe]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as server,
    ):
        yield Probe(client, server)


def test_it_reads_until_the_condition_holds(probe: Probe) -> None:
    probe.server.sendall(HEAD + b"data: x\n\n")
    assert probe.stream.wait_for(lambda: probe.attempt.beginning, PATIENT_SECONDS)
    assert (probe.attempt.status, probe.stream.ending) == (200, None)
    assert probe.stream.last_body_at <= time.monotonic()


def test_it_stops_when_the_time_is_over(probe: Probe) -> None:
    probe.server.sendall(HEAD)
    assert probe.stream.wait_for(lambda: probe.attempt.status, PATIENT_SECONDS)
    assert not probe.stream.wait_for(lambda: probe.attempt.beginning, 0.05)
    assert not probe.stream.wait_for(lambda: probe.attempt.beginning, -1)
    assert probe.stream.ending is None


def test_a_condition_that_holds_already_reads_nothing(probe: Probe) -> None:
    probe.server.sendall(HEAD)
    assert probe.stream.wait_for(lambda: True, PATIENT_SECONDS)
    assert probe.attempt.status == 0


def test_it_stops_at_the_end_of_the_connection(probe: Probe) -> None:
    probe.server.sendall(HEAD)
    probe.server.shutdown(socket.SHUT_WR)
    assert not probe.stream.wait_for(lambda: False, PATIENT_SECONDS)
    assert (probe.stream.ending, probe.attempt.failure) == ("closed", None)


def test_a_connection_that_breaks_before_the_response_is_a_failure(probe: Probe) -> None:
    # Closing with a linger time of 0 sends RST.
    probe.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    probe.server.close()
    assert not probe.stream.wait_for(lambda: False, PATIENT_SECONDS)
    assert (probe.stream.ending, probe.attempt.failure) == ("reset", "closed")
