"""Hub client: what an application can ask of its hub, whatever the way to it.

Safe from every thread and greenlet, and after a fork. ``open_client`` chooses one of its implementations.
"""

from __future__ import annotations

from typing import Any, Protocol

from ...brokers.base import Carrier
from ..protocol.stream_request import StreamRequest


class StreamServer(Protocol):
    """What writes streams: the hub, or what stands for it. Blocks for at most a few seconds."""

    def attach(self, descriptor: int, request: StreamRequest) -> None:
        """Hand a connection over. The hub gets a copy; the caller closes its own.

        Raises:
            HubUnavailableError: If no hub took it; then nothing was written to it.
        """
        ...


class HubClient(StreamServer, Carrier, Protocol):
    """What an application can ask of its hub. Blocks for at most a few seconds.

    What it has of ``Carrier`` concerns the broker that lives in the hub.
    """

    def count_rejected(self, limit: str) -> None:
        """Have the hub count a stream that the application rejected by a limit of its own.

        Raises:
            HubUnavailableError: If no hub answered.
        """
        ...

    def status(self) -> dict[str, object]:
        """Return counts of what is open and of what happened.

        Raises:
            HubUnavailableError: If no hub answered.
        """
        ...

    def details(self) -> dict[str, Any]:
        """Return counts, and what is open: see ``Statistics.details``.

        Raises:
            HubUnavailableError: If no hub answered.
        """
        ...

    def close(self) -> None:
        """Give all connections back; later calls open new ones."""
        ...
