"""A control connection answers in order, ends at a protocol error, and continues in another hub."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from flask_sse.brokers.base import Publication
from flask_sse.hub.protocol.hello import PROTOCOLS, Hello
from flask_sse.hub.protocol.packet import Packet, PacketDecoder
from flask_sse.hub.protocol.requests import status_request, submit_request
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.hub.server.app_connection import AppConnection
from flask_sse.settings import History, StreamRules

from .conftest import RunningHub

RunHub = Callable[..., None]
HELLO = Hello(1, 60).packet()
ATTACH = StreamRequest(("a",), FRAMES, StreamRules(), head=b"head").packet()


def connect(hub: RunningHub) -> tuple[AppConnection, socket.socket]:
    ours, hubs = socket.socketpair()
    hub.clients.append(ours)
    ours.setblocking(False)
    connection = AppConnection(hubs, hub.server, hub.server.applications)
    hub.server.applications._keep(connection)
    return connection, ours


async def answers(hub: RunningHub, app: socket.socket, count: int) -> list[Packet]:
    """Return so many answers, or those that come before the end."""
    decoder, packets = PacketDecoder(100_000), list[Packet]()
    while len(packets) < count and (data := await hub.read(app)):
        packets += decoder.feed(data)
    return packets


def test_requests_are_answered_in_their_order(run_hub: RunHub) -> None:
    async def story(hub: RunningHub) -> None:
        _, app = connect(hub)
        event = submit_request(Publication("a", b'{"data": "x"}', History()))
        app.sendall(b"".join(packet.encode() for packet in (HELLO, event, status_request())))
        hello, receipt, status = await answers(hub, app, 3)
        assert (hello.fields["pid"], hello.fields["protocol"]) == (os.getpid(), PROTOCOLS[-1])
        assert receipt.fields["receivers"] == 0
        assert status.fields["streams"] == 0

    run_hub(story)


@pytest.mark.parametrize(
    ("packets", "reason"),
    [
        ([status_request()], "this hub speaks protocol"),
        ([HELLO, Packet("cake", {})], "a request 'cake'"),
        ([HELLO, ATTACH], "an attach without its descriptor"),
        ([HELLO, HELLO], "a request 'hello'"),
        ([Packet("listener", {})], "this hub is ending"),
        ([Packet("handover", {"handover": 0})], "this hub hands over by version"),
    ],
)
def test_a_protocol_error_is_answered_with_its_reason_and_ends_the_connection(
    packets: list[Packet], reason: str, run_hub: RunHub
) -> None:
    async def story(hub: RunningHub) -> None:
        _, app = connect(hub)
        app.sendall(b"".join(packet.encode() for packet in packets))
        last = (await answers(hub, app, 100))[-1]
        assert last.op == "refused"
        assert reason in last.fields["reason"]

    run_hub(story)


def test_descriptors_that_no_request_takes_are_closed_with_the_connection(run_hub: RunHub) -> None:
    async def story(hub: RunningHub) -> None:
        _, app = connect(hub)
        kept, passed = socket.socketpair()
        hub.clients.append(kept)
        kept.setblocking(False)
        with passed:
            socket.send_fds(app, [HELLO.encode()], [passed.fileno()])
        assert len(await answers(hub, app, 1)) == 1
        app.shutdown(socket.SHUT_WR)
        assert await hub.read(app) == b""
        assert await hub.read(kept) == b"", "the hub has no copy of it any more"

    run_hub(story)


def test_a_packet_that_has_come_in_part_is_answered_by_the_hub_that_restores_the_connection(
    run_hub: RunHub,
) -> None:
    async def story(hub: RunningHub) -> None:
        first, app = connect(hub)
        request = status_request().encode()
        app.sendall(HELLO.encode() + request[:9])
        assert len(await answers(hub, app, 1)) == 1
        snapshot = first.snapshot()
        assert snapshot.received == request[:9]
        # As a successor has it: a descriptor of its own.
        copy = replace(snapshot, descriptor=os.dup(snapshot.descriptor))
        first.release()
        hub.server.applications.restore([copy])
        app.sendall(request[9:])
        (status,) = await answers(hub, app, 1)
        assert status.fields["streams"] == 0

    run_hub(story)
