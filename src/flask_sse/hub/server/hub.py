"""Hub: what the applications that are connected ask of a hub, as ``HubServer`` answers it."""

from __future__ import annotations

import socket
from typing import Any, Protocol

from ...brokers.base import Page, Publication, Receipt
from ...wire.cursor import Cursor
from ..protocol.stream_request import StreamRequest
from .hub_log import HubLog


class Hub(Protocol):
    """What applications ask of the hub."""

    max_event_bytes: int
    processes: int
    log: HubLog

    def attach(self, sock: socket.socket, request: StreamRequest) -> None:
        """Open a stream, or reject it; ``sock`` is the hub's from here on."""
        ...

    def submit(self, publication: Publication) -> Receipt | None:
        """Deliver an event for the broker that lives in the hub; ``None`` if this hub has another."""
        ...

    def cursor(self, channel: str) -> Cursor | None:
        """Return the position behind the last event of a channel; ``None`` as in ``submit``."""
        ...

    def read(self, channel: str, since: str) -> Page | None:
        """Return a piece of the history of a channel; ``None`` as in ``submit``."""
        ...

    def count_rejected(self, limit: str) -> None:
        """Count a stream that an application rejected."""
        ...

    def status(self) -> dict[str, Any]:
        """Return counts."""
        ...

    def details(self) -> dict[str, Any]:
        """Return counts, rates, and the busiest channels and slowest clients."""
        ...

    def hand_over(self, sock: socket.socket) -> None:
        """Hand over to the successor at the other end of ``sock``."""
        ...

    @property
    def has_time(self) -> bool:
        """Whether this turn of the loop may do more."""
        ...

    def free_memory(self) -> None:
        """End the largest backlogs where memory is limited, before a publication fails for lack of it."""
        ...
