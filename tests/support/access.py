"""What tests of access rules share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask_sse.wire.decode import Event

from .client import StreamClient
from .local import LocalServer

# Starts a server of the test's own blueprint with settings.
Serve = Callable[..., LocalServer]


def opened(server: LocalServer, path: str, headers: Mapping[str, str] | None = None) -> StreamClient:
    """Open a stream that must be allowed."""
    stream = server.stream(path, headers)
    stream.wait_opened()
    return stream


def ended(stream: StreamClient) -> Event:
    """Return the last event of a stream that is over for good."""
    event = stream.next_event()
    assert event.type == "stream-end", event
    stream.wait_closed()
    return event
