"""Find a broker by the scheme of its URL; its client library is imported only then."""

from __future__ import annotations

from ..urls import MEMORY_SCHEME, check_url
from .base import BrokerFeed, BrokerPublisher, Carrier, Sink
from .memory import MemoryFeed, MemoryPublisher

_KEY = "broker URL"


def open_publisher(url: str, carrier: Carrier) -> BrokerPublisher:
    """Return the application's end of the broker at ``url``; it connects when it is used.

    Args:
        url: The broker's URL.
        carrier: The way to this machine's hub, for a broker that lives in it.

    Raises:
        InvalidSettingError: If the URL cannot be used.
    """
    if check_url(_KEY, url) == MEMORY_SCHEME:
        return MemoryPublisher(url, carrier)
    from .redis.publisher import RedisPublisher  # noqa: PLC0415 - see above

    return RedisPublisher(url)


def open_feed(url: str, sink: Sink) -> BrokerFeed:
    """Return the hub's end of the broker at ``url``.

    Raises:
        InvalidSettingError: If the URL cannot be used.
    """
    if check_url(_KEY, url) == MEMORY_SCHEME:
        return MemoryFeed(sink)
    from .redis.feed import RedisFeed  # noqa: PLC0415 - see above

    return RedisFeed(url, sink)
