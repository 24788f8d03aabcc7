"""Connections to Redis and Valkey: what every one of them has in common."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

from redis.backoff import NoBackoff

from ...errors import InvalidSettingError
from ...urls import shown_url

_ALIASES = {"valkey": "redis", "valkeys": "rediss"}


def redis_py_url(url: str) -> str:
    """Return ``url`` with a scheme that redis-py knows; Valkey speaks the same protocol."""
    scheme, separator, rest = url.partition("://")
    return f"{_ALIASES.get(scheme, scheme)}{separator}{rest}"


def open_by_url(kind: Any, url: str, retry: Any, **options: Any) -> Any:
    """Open a client or a pool; what we set, an option of the URL does not change.

    Args:
        kind: A class with ``from_url``.
        url: Where the server is.
        retry: redis-py's class of retries for that kind; there are none, because a second PUBLISH could
            double the event.
        options: redis-py's.

    Raises:
        InvalidSettingError: If the URL cannot be used.
    """
    options = {"protocol": 2, "decode_responses": False, "retry": retry(NoBackoff(), 0), **options}
    address, _, query = redis_py_url(url).partition("?")
    kept = urlencode([pair for pair in parse_qsl(query) if pair[0] not in options])
    try:
        opened = kind.from_url(f"{address}?{kept}" if kept else address, **options)
        pool = getattr(opened, "connection_pool", opened)
        # Options that redis-py does not know it refuses only when it connects.
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError):
        # Not the error's own text: it may have the password.
        hint = "an option behind ? is none of redis-py's, or its value cannot be used"
        raise InvalidSettingError("broker URL", shown_url(url), hint) from None
    return opened
