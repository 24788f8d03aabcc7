"""What the two ends of a broker must do."""

from __future__ import annotations

from typing import Protocol


class BrokerPublisher(Protocol):
    """The application's end: blocking, safe to call from any thread, greenlet or forked process."""

    def publish(self, channel: str, envelope: bytes) -> int:
        """Give one envelope to every hub that listens to ``channel``.

        Returns:
            The number of receivers. For ``memory://`` these are streams, for Redis hubs and streams of 1.0.

        Raises:
            BrokerUnavailableError: If the broker did not confirm within 2 seconds. Nothing is
                queued: the caller decides whether to publish again.
        """
        ...

    def close(self) -> None:
        """Give back all connections; a later call of ``publish`` opens new ones."""
        ...


class BrokerFeed(Protocol):
    """The hub's end: every call happens on the hub's event loop, and none of them waits but ``run``."""

    def subscribe(self, channel: str) -> None:
        """Begin to listen to ``channel``; ``Sink.subscribed`` tells when that holds."""
        ...

    def unsubscribe(self, channel: str) -> None:
        """Stop listening to ``channel``."""
        ...

    async def run(self) -> None:
        """Keep the connection and feed the sink until cancelled."""
        ...


class Sink(Protocol):
    """What a feed tells the hub, on the hub's event loop."""

    def deliver(self, channel: str, envelope: bytes) -> int:
        """Take an envelope; the return value is the number of streams that get it."""
        ...

    def subscribed(self, channel: str) -> None:
        """Take note that events of ``channel`` that are published from now on will come.

        It is told again after each lost connection: what was published meanwhile may be missing.
        """
        ...

    def refused(self, channel: str, reason: str) -> None:
        """Take note that the broker lets nobody listen to ``channel``; others are not affected."""
        ...

    def broker_lost(self, reason: str) -> None:
        """Take note that no events come until channels are ``subscribed`` again."""
        ...


class Carrier(Protocol):
    """Brings an envelope to the hub of this machine, for the broker that lives in it."""

    def publish(self, channel: str, envelope: bytes) -> int:
        """Deliver and return the number of streams.

        Raises:
            HubError: If no hub took it.
        """
        ...
