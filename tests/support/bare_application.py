"""An application without a web server: it publishes, and hands streams straight to a hub."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import psutil

from flask_sse.hub.client.open_client import open_hub_client
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.publisher import PublishMethods
from flask_sse.settings import Settings, StreamRules
from flask_sse.submitter import Submitter

from .client import StreamReader
from .hubs import RUNTIME_DIRECTORY
from .patience import PATIENT_SECONDS

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


class BareApplication(PublishMethods):
    """A link to a hub with what an application does through it; leaving the ``with`` block closes it.

    Args:
        broker_url: Where events are published.
        settings: Further fields of :class:`Settings`.
    """

    def __init__(self, broker_url: str, **settings: Any) -> None:
        self.settings = Settings(broker_url, **settings)
        self.hub_client = open_hub_client(self.settings)
        self._own_submitter = Submitter(self.settings, self.hub_client)

    def _submitter(self) -> Submitter:
        return self._own_submitter

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all connections to the hub back."""
        self.hub_client.close()

    def status(self) -> dict[str, Any]:
        """Return the counts of the hub."""
        return self.hub_client.status()

    @property
    def pid(self) -> int:
        """The process of the hub, started if there is none."""
        return int(self.status()["pid"])

    def hand_over(
        self, sock: socket.socket, *channels: str, rules: StreamRules | None = None, mode: str = FRAMES
    ) -> None:
        """Let the hub write a stream to ``sock``, with a response head before it."""
        rules = rules or self.settings.rules
        self.hub_client.attach(
            sock.fileno(), StreamRequest(channels, mode, rules, head=HEAD if mode == FRAMES else b"")
        )

    def stream(self, *channels: str, tcp: bool = False, **rules: Any) -> StreamReader:
        """Open a stream and return once its first bytes are there.

        Args:
            channels: What it listens to.
            tcp: Whether its connection is a TCP one instead of a pair of Unix sockets.
            rules: Fields of :class:`StreamRules`.
        """
        ours, hubs = tcp_pair() if tcp else socket.socketpair()
        stream = StreamReader(ours)
        try:
            with hubs:
                self.hand_over(hubs, *channels, rules=StreamRules(**rules))
            stream.wait_for_bytes(b"retry:")
        except BaseException:
            stream.close()
            raise
        return stream


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection: the client's and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return client, server


def publish_many(client: BareApplication, channel: str, streams: int, count: int = 100) -> None:
    """Open streams, publish to them, and check every answer and every event."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(client.stream(channel)) for _ in range(streams)]
        sent = [f"{channel} {number}" for number in range(count)]
        for data in sent:
            assert client.publish(data, channel=channel) == streams
        for stream in opened:
            assert [event.data for event in stream.events(count)] == sent


@contextlib.contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends of a connection inside the machine: the reader's and the hub's."""
    ours, hubs = socket.socketpair()
    with ours, hubs:
        ours.settimeout(PATIENT_SECONDS)
        yield ours, hubs


def hubs_in(runtime_directory: str) -> list[int]:
    """Return the hub processes that were started with this runtime directory."""
    return [
        process.pid
        for process in psutil.process_iter(["environ", "cmdline"])
        if (process.info["environ"] or {}).get(RUNTIME_DIRECTORY) == runtime_directory
        and "flask_sse.hub" in (process.info["cmdline"] or [])
    ]


def log_of(socket_path: Path) -> str:
    """Return what the hub that listens there has logged."""
    return socket_path.with_suffix(".log").read_text()
