"""TCP options of clients' connections, for small writes and to notice clients that vanish without closing.

A client vanishes when its link is down or its machine has crashed. What is written to it is unacknowledged
then, and the system would retransmit it for about 15 minutes. Idle connections are probed (keepalive).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Protocol

# A connection with data that was not acknowledged for so long is closed by the system.
UNACKNOWLEDGED_MS = 20_000
# An idle connection is probed after this time, and closed by the system after as many probes without answer.
_IDLE_SECONDS = 60
_PROBE_SECONDS = 10
_PROBES = 3

Option = tuple[int, int, int]


class HasOptions(Protocol):
    """A socket, or an object with its methods for options."""

    def getsockopt(self, level: int, name: int, /) -> int:
        """See ``socket``."""

    def setsockopt(self, level: int, name: int, value: int, /) -> None:
        """See ``socket``."""


def tcp_options(patience_seconds: float = 0) -> list[Option]:
    """Return the level, the name and the value of each option that this system has.

    Args:
        patience_seconds: How long a client may read nothing, if that is longer than ``UNACKNOWLEDGED_MS``: to
            the system, such a client is as one that has vanished.
    """
    values = {
        "TCP_NODELAY": 1,
        "TCP_USER_TIMEOUT": max(UNACKNOWLEDGED_MS, int(patience_seconds * 1000)),
        "TCP_KEEPIDLE": _IDLE_SECONDS,
        "TCP_KEEPINTVL": _PROBE_SECONDS,
        "TCP_KEEPCNT": _PROBES,
    }
    tcp = int(socket.IPPROTO_TCP)
    known = [(tcp, getattr(socket, name), value) for name, value in values.items() if hasattr(socket, name)]
    return [*known, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


def set_options(sock: HasOptions, options: Iterable[Option]) -> None:
    """Set options of a connection; nothing happens to one that is no TCP connection or is closed."""
    try:
        for level, name, value in options:
            sock.setsockopt(level, name, value)
    except OSError:
        return


def get_options(sock: HasOptions, options: Iterable[Option]) -> list[Option]:
    """Return the same options with the values that a connection has now; none if it is no TCP connection."""
    try:
        return [(level, name, sock.getsockopt(level, name)) for level, name, _ in options]
    except OSError:
        return []
