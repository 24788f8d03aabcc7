"""Applications connect and leave, and the hub outlives the last of them for a while."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.operators import URL

from flask_sse.hub.client.config import hub_config
from flask_sse.hub.server.control_listener import ControlListener
from flask_sse.hub.server.hub_loop import HubLoop
from flask_sse.hub.server.hub_server import HubServer
from flask_sse.settings import Settings


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        yield Path(directory) / "hub.sock"


def test_a_listener_that_fails_at_each_accept_is_asked_once_a_second(path: Path) -> None:
    """(13.22) Whatever the error is: here EINVAL, of a socket that does not listen and is always readable."""

    class Counted(socket.socket):
        asked = 0

        def accept(self) -> tuple[socket.socket, object]:
            self.asked += 1
            return super().accept()

    async def serve(sock: Counted) -> None:
        server = HubServer(**hub_config(Settings(URL)))
        server.applications.listen(ControlListener(path, sock, owns_path=False), linger_seconds=None)
        running = asyncio.create_task(server.run())
        await asyncio.sleep(0.5)
        server.stop("done")
        await running

    with Counted(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        with asyncio.Runner(loop_factory=HubLoop) as runner:
            runner.run(serve(sock))
        assert 1 <= sock.asked <= 2
