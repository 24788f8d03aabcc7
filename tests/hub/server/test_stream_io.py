"""Sockets of streams: opened or rejected, written to, and closed in each way that a stream ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.settings import StreamRules

from .conftest import HEAD, RunningHub

RunHub = Callable[..., None]


def test_a_stream_over_the_limit_is_rejected_with_its_head_and_counted(run_hub: RunHub) -> None:
    async def story(hub: RunningHub) -> None:
        await hub.open("a")
        ours, hubs = socket.socketpair()
        hub.clients.append(ours)
        ours.setblocking(False)
        hub.server.attach(hubs, StreamRequest(("a",), FRAMES, StreamRules(), head=HEAD))
        body = await hub.read(ours)
        assert body.startswith(HEAD + b":too many streams\n\nretry:")
        assert await hub.read(ours) == b""
        assert (hub.server.status()["streams"], hub.server.status()["rejected"]) == (1, 1)

    run_hub(story, max_streams=1)


def test_a_client_that_leaves_is_forgotten(run_hub: RunHub) -> None:
    async def story(hub: RunningHub) -> None:
        stream, client = await hub.open("a")
        client.close()
        for _ in range(5):  # turns of the loop
            await asyncio.sleep(0)
        assert not hub.server.streams
        assert stream.sock.fileno() < 0
        assert hub.publish("a") == 0

    run_hub(story)


def test_a_client_that_reads_too_slowly_is_ended_alone(run_hub: RunHub) -> None:
    async def story(hub: RunningHub) -> None:
        slow, _ = await hub.open("a", max_backlog_bytes=1000)
        _, other = await hub.open("b")
        while slow.sock.fileno() >= 0:
            hub.publish("a", b'{"data": "%s"}' % (b"x" * 100_000))
            hub.server.flush()
        assert hub.server.status()["ended_slow"] == 1
        assert hub.publish("b") == 1
        assert b"data:x" in await hub.read(other)

    run_hub(story)


def test_a_slow_client_gets_all_of_its_backlog_when_it_reads(run_hub: RunHub) -> None:
    async def story(hub: RunningHub) -> None:
        stream, client = await hub.open("a", max_backlog_bytes=50_000_000)
        sent = 0
        while not stream.has_backlog:
            hub.publish("a", b'{"data": "%s"}' % (b"x" * 100_000))
            hub.server.flush()
            sent += 1
        assert hub.server.details()["backlog_bytes"] > 0
        received = bytearray()
        while received.count(b"\n\n") < sent:
            received += await hub.read(client)
        assert received.count(b"x" * 100_000) == sent
        assert hub.server.details()["backlog_bytes"] == 0

    run_hub(story)
