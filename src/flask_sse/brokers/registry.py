"""Find a broker by the scheme of its URL; its client library is imported only then."""

from __future__ import annotations

from ..errors import InvalidSettingError
from .base import BrokerFeed, BrokerPublisher, Carrier, Sink
from .memory import MemoryFeed, MemoryPublisher

MEMORY_SCHEME = "memory"
_REDIS_SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")


def open_publisher(url: str, carrier: Carrier) -> BrokerPublisher:
    """Return the application's end of the broker at ``url``; it connects when it is used.

    Args:
        url: The broker's URL.
        carrier: The way to this machine's hub, for a broker that lives in it.

    Raises:
        InvalidSettingError: If no broker has that scheme.
    """
    if check_scheme(url) == MEMORY_SCHEME:
        return MemoryPublisher(url, carrier)
    from .redis.publisher import RedisPublisher  # noqa: PLC0415 - see above

    return RedisPublisher(url)


def open_feed(url: str, sink: Sink) -> BrokerFeed:
    """Return the hub's end of the broker at ``url``.

    Raises:
        InvalidSettingError: If no broker has that scheme.
    """
    if check_scheme(url) == MEMORY_SCHEME:
        return MemoryFeed(sink)
    from .redis.feed import RedisFeed  # noqa: PLC0415 - see above

    return RedisFeed(url, sink)


def check_scheme(url: str) -> str:
    """Return the scheme of ``url`` if there is a broker for it.

    Raises:
        InvalidSettingError: If not.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme in (MEMORY_SCHEME, *_REDIS_SCHEMES):
        return scheme
    known = ", ".join(f"{name}://" for name in (MEMORY_SCHEME, *_REDIS_SCHEMES))
    # The rest may have a password, and so may all of a text that is no URL.
    shown = f"{scheme}://..." if scheme.isalnum() and separator else "..."
    raise InvalidSettingError("broker URL", shown, f"it must begin with one of {known}")
