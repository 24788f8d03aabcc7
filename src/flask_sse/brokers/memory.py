"""``memory://``: the broker that lives in the hub, for every process of one user on one machine.

Nothing to install. Events do not leave the machine, and two applications that use the same URL share
their channels: ``memory://shop`` and ``memory://forum`` are two.
"""

from __future__ import annotations

import asyncio

from ..errors import BrokerUnavailableError, HubError
from .base import Carrier, Sink


class MemoryPublisher:
    """Publishes through the control connection to the hub."""

    def __init__(self, url: str, carrier: Carrier) -> None:
        self._url = url
        self._carrier = carrier

    def publish(self, channel: str, envelope: bytes) -> int:
        """See ``BrokerPublisher.publish``."""
        try:
            return self._carrier.publish(channel, envelope)
        except HubError as error:
            raise BrokerUnavailableError(self._url, error) from error

    def close(self) -> None:
        """Do nothing: the connections are the carrier's."""


class MemoryFeed:
    """Hands what the hub was told to publish straight to its streams."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def publish(self, channel: str, envelope: bytes) -> int:
        """Deliver at once and return the number of streams."""
        return self._sink.deliver(channel, envelope)

    def subscribe(self, channel: str) -> None:
        """See ``BrokerFeed.subscribe``; it holds at once."""
        self._sink.subscribed(channel)

    def unsubscribe(self, channel: str) -> None:
        """Do nothing: the hub knows its streams."""

    async def run(self) -> None:
        """Wait to be cancelled: there is no connection to keep."""
        await asyncio.get_running_loop().create_future()
