"""A hub on a loop of the test itself: each step of it is taken by the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from tests.support.patience import PATIENT_SECONDS

from flask_sse.brokers.base import Publication
from flask_sse.hub.client.config import hub_config
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.hub.server.hub_loop import HubLoop
from flask_sse.hub.server.hub_server import HubServer
from flask_sse.hub.server.stream import Stream
from flask_sse.settings import History, Settings, StreamRules

HEAD = b"head\r\n\r\n"


class RunningHub:
    """A hub that runs while the test waits, and the clients' ends of its streams."""

    def __init__(self, server: HubServer) -> None:
        self.server = server
        self.clients: list[socket.socket] = []

    async def open(self, channel: str, **rules: Any) -> tuple[Stream, socket.socket]:
        """Open a stream and wait for its first bytes."""
        ours, hubs = socket.socketpair()
        self.clients.append(ours)
        ours.setblocking(False)
        before = self.server.streams
        self.server.attach(hubs, StreamRequest((channel,), FRAMES, StreamRules(**rules), head=HEAD))
        assert (await self.read(ours)).startswith(HEAD)
        (stream,) = self.server.streams - before
        return stream, ours

    async def read(self, client: socket.socket) -> bytes:
        """Return what comes next; empty at the end."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65536), PATIENT_SECONDS)

    def publish(self, channel: str, data: bytes = b'{"data": "x"}') -> int:
        """Return how many streams get an event."""
        receipt = self.server.submit(Publication(channel, data, History()))
        assert receipt is not None
        return receipt.receivers


Story = Callable[[RunningHub], Coroutine[Any, Any, None]]


@pytest.fixture
def run_hub() -> Iterator[Callable[..., None]]:
    clients: list[socket.socket] = []

    def run(story: Story, **settings: Any) -> None:
        async def main() -> None:
            server = HubServer(**hub_config(Settings("memory://in-process", **settings)))
            hub = RunningHub(server)
            running = asyncio.create_task(server.run())
            try:
                await story(hub)
            finally:
                server.stop("done")
                await running
                clients.extend(hub.clients)

        with asyncio.Runner(loop_factory=HubLoop) as runner:
            runner.run(main())

    yield run
    for client in clients:
        client.close()
