"""A predecessor hands over to a process that may have its streams, and continues where that fails."""

from __future__ import annotations

import logging
import socket

import pytest

from flask_sse.hub.handover.handover_connection import HANDOVER_VERSION, HandoverConnection
from flask_sse.hub.handover.sender import reason_to_refuse, send_snapshot
from flask_sse.hub.handover.snapshot import Snapshot
from flask_sse.hub.protocol.packet import Packet
from flask_sse.version import __version__


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"handover": HANDOVER_VERSION}, ""),
        ({"handover": HANDOVER_VERSION, "version": "99.0.0", "only_if_older": True}, ""),
        ({"handover": HANDOVER_VERSION, "version": __version__, "only_if_older": True}, "already"),
        ({"handover": HANDOVER_VERSION, "version": "no number", "only_if_older": True}, "already"),
        ({"handover": HANDOVER_VERSION - 1}, f"version {HANDOVER_VERSION}"),
        ({"handover": [1] * 1000}, f"version {HANDOVER_VERSION}"),
        ({}, "not None"),
    ],
)
def test_who_may_take_over(fields: dict[str, object], reason: str) -> None:
    told = reason_to_refuse(Packet("handover", fields))
    assert reason in told
    assert bool(told) == bool(reason)
    assert len(told) < 80


@pytest.mark.parametrize("answers", [[], ["more"], ["more", "prepared"], ["more", "committed", "prepared"]])
def test_a_successor_that_ends_before_it_commits_has_nothing(
    answers: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    near, far = socket.socketpair()
    with near, far, caplog.at_level(logging.WARNING):
        for answer in answers:
            far.sendall(Packet(answer, {}).encode())
        far.shutdown(socket.SHUT_WR)
        assert not send_snapshot(near, Snapshot(near.fileno(), None, None, {}, {}, [], ()))
        # It was given the listener, and none of its descriptors is left open here.
        successor = HandoverConnection(far)
        successor.receive()
        for number in successor.descriptors:
            socket.socket(fileno=number).close()
    assert "failed, this hub continues" in caplog.text
