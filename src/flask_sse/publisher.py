"""Publish from anywhere: a web application, a worker, a cron job. No Flask needed."""

from __future__ import annotations

import warnings
from typing import Any

from .brokers.registry import open_publisher
from .channels import DEFAULT_CHANNEL, check_channel
from .errors import MessageTooLargeError
from .hub.link import Link, open_link
from .settings import Settings
from .wire.envelope import pack
from .wire.message import Message

# Line feeds grow most: two bytes of an envelope become six of a frame.
_FRAME_GROWTH = 6


class LinkedPublisher:
    """Publishes with an application's settings and link."""

    def __init__(self, settings: Settings, link: Link) -> None:
        self._max_event_bytes = settings.max_event_bytes
        self._link = link
        self._broker = open_publisher(settings.broker_url, link)

    def publish(
        self,
        data: Any,
        type: str | None = None,  # noqa: A002 - 1.0's signature
        id: str | int | None = None,  # noqa: A002 - 1.0's signature
        retry: int | None = None,
        channel: str = DEFAULT_CHANNEL,
    ) -> int:
        """Publish one event.

        Args:
            data: A string is sent as it is, anything else as JSON.
            type: The event type that a page listens to; ``None`` means ``message``.
            id: The event id; ``None`` sends none.
            retry: The reconnection time of the clients, in milliseconds.
            channel: Who gets it: the streams that listen to this channel.

        Returns:
            The number of receivers. For ``memory://`` these are streams, for Redis hubs and streams of 1.0.

        Raises:
            InvalidMessageError: If a field cannot be sent.
            InvalidChannelError: If the channel's name cannot be used.
            MessageTooLargeError: If the event is over ``SSE_MAX_EVENT_BYTES`` on the wire.
            BrokerUnavailableError: If the broker did not take it within 2 seconds.
        """
        return self.send(Message(data, type=type, id=id, retry=retry), channel)

    def send(self, message: Message, channel: str) -> int:
        """Publish a message that exists already; see ``publish``."""
        check_channel(channel)
        if message.type == "error":
            warnings.warn("events of type 'error' reach a page's onerror; use another type", stacklevel=3)
        envelope = pack(message)
        # Most are so small that they need not be encoded to know that they fit.
        if _FRAME_GROWTH * len(envelope) > self._max_event_bytes:
            size = len(message.frame())
            if size > self._max_event_bytes:
                raise MessageTooLargeError(size, self._max_event_bytes)
        return self._broker.publish(channel, envelope)

    def close(self) -> None:
        """Give back all connections; a later call opens new ones."""
        self._broker.close()
        self._link.close()


class Publisher(LinkedPublisher):
    """Publishes events with nothing but the URL of the broker.

    Safe from every thread, greenlet and forked process. It connects when it is used.

    Args:
        url: The broker: ``redis://``, ``rediss://``, ``unix://``, ``valkey://`` or ``memory://``.
        config: Further settings by their names in ``app.config``.

    Raises:
        InvalidSettingError: If the URL or a setting cannot be used.

    Example::

        from flask_sse import Publisher

        Publisher("redis://localhost").publish({"done": 7}, type="progress", channel="job-1")
    """

    def __init__(self, url: str, **config: Any) -> None:
        # A hub need not wait for the next publisher as it waits for the next application.
        defaults = {"SSE_BROKER_URL": url, "SSE_HUB_LINGER_SECONDS": 0}
        settings = Settings.from_mapping({**defaults, **config})
        super().__init__(settings, open_link(settings))
