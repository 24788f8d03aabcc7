"""What a successor restores is what its predecessor had, to the last field and byte."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace

from flask_sse.hub.core.runs import State
from flask_sse.hub.core.subscriber import SubscriberSnapshot
from flask_sse.hub.handover.receiver import Receiver
from flask_sse.hub.handover.sender import send_snapshot
from flask_sse.hub.handover.snapshot import ConnectionSnapshot, Snapshot, StreamSnapshot
from flask_sse.hub.protocol.grant import Grant
from flask_sse.hub.protocol.revocation import ReceivedRevocation, Revocation
from flask_sse.hub.protocol.stream_request import StreamRequest
from flask_sse.settings import StreamRules

from .conftest import Successor

STREAMS = 250  # more than one portion has


def test_every_field_arrives(listener: socket.socket, start_successor: Callable[[], Successor]) -> None:
    near, far = socket.socketpair()
    with near, far:
        sent = snapshot_of(listener, far)
        successor = start_successor()
        sock, _ = listener.accept()
        with sock:
            assert b"handover" in sock.recv(1000)
            assert send_snapshot(sock, sent)
        receiver = successor.join()
        assert isinstance(receiver, Receiver)
        received = receiver.snapshot
        descriptors = [
            received.listener,
            *([] if received.lock is None else [received.lock]),
            *(stream.descriptor for stream in received.streams),
            *(number for app in received.apps for number in (app.descriptor, *app.descriptors)),
        ]
        assert len(set(descriptors)) == 1 + 1 + STREAMS + 3, "each is this process's own"
        for number in descriptors:
            os.close(number)
    assert without_descriptors(received) == without_descriptors(sent)


def snapshot_of(listener: socket.socket, client: socket.socket) -> Snapshot:
    grant = Grant("ada", "192.0.2.1", 60.0, 1_700_000_000.0, by_ticket=True)
    since = {"a": "abcdefgh.1-0"}
    request = StreamRequest(("a", "b"), "frames", StreamRules(max_backlog_bytes=7), since, b"head", grant)
    subscriber = SubscriberSnapshot(
        since, has_begun=True, is_current=False, quiet_seconds=1.5, pace=15.0, ends_in=None
    )
    stream = StreamSnapshot(client.fileno(), request, subscriber, b"unsent\0bytes")
    pending = ConnectionSnapshot(client.fileno(), True, b"half a pack", [client.fileno()])
    return Snapshot(
        listener=listener.fileno(),
        lock=client.fileno(),
        linger_seconds=60.0,
        positions={"a": "abcdefgh.1-0"},
        runs={"run:over": State.OVER, "run:lost": State.LOST},
        revocations=[
            ReceivedRevocation(
                Revocation("ada", None, "signed out", 1_700_000_000.0), 1_700_000_001.0, is_live=True
            )
        ],
        history=[({"channel": "a"}, b"event"), ({"channel": "b"}, b"")],
        streams=[stream] * STREAMS,
        apps=[pending, ConnectionSnapshot(client.fileno(), False, b"")],
    )


def without_descriptors(snapshot: Snapshot) -> Snapshot:
    """Return it with the same number for each descriptor, which differ between two processes."""
    return replace(
        snapshot,
        listener=0,
        lock=0,
        streams=[replace(stream, descriptor=0) for stream in snapshot.streams],
        apps=[replace(app, descriptor=0, descriptors=[0] * len(app.descriptors)) for app in snapshot.apps],
    )
