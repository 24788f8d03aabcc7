"""One connection to a server, on which every wait has an end."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Self

from .address import Address

_RECEIVE_BYTES = 64 * 1024
# What a browser offers; we speak the second one.
BROWSERS_PROTOCOLS = ("h2", "http/1.1")


class Line:
    """A connection; leaving the ``with`` block closes it.

    Args:
        address: Where to.
        seconds: For the connection and the handshake of TLS. A name server may take its own time.
        protocols: What is offered with TLS.

    Raises:
        OSError: If there is none in that time: ``socket.gaierror``, ``ssl.SSLError`` and ``TimeoutError``
            tell apart why.
    """

    def __init__(
        self, address: Address, seconds: float, protocols: tuple[str, ...] = BROWSERS_PROTOCOLS[1:]
    ) -> None:
        self._sock = _connect(address, time.monotonic() + seconds)
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.is_encrypted:
                context = ssl.create_default_context()
                context.set_alpn_protocols(list(protocols))
                self._sock = context.wrap_socket(self._sock, server_hostname=address.host)
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def protocol(self) -> str:
        """What was agreed on with TLS; empty where nothing was."""
        return (isinstance(self._sock, ssl.SSLSocket) and self._sock.selected_alpn_protocol()) or ""

    def send(self, data: bytes, seconds: float) -> None:
        """Send all of it.

        Raises:
            OSError: If the server does not take it in that time.
        """
        self._sock.settimeout(seconds)
        self._sock.sendall(data)

    def receive(self, until: float) -> bytes | None:
        """Return what comes next: nothing at the end, ``None`` if nothing came in time.

        Args:
            until: When to return at the latest, as ``time.monotonic`` has it.

        Raises:
            OSError: If the connection broke.
        """
        left = until - time.monotonic()
        if left <= 0:
            return None
        self._sock.settimeout(left)
        try:
            return self._sock.recv(_RECEIVE_BYTES)
        except TimeoutError:
            return None

    def close(self) -> None:
        """Leave."""
        self._sock.close()


def _connect(address: Address, deadline: float) -> socket.socket:
    """Connect to the first of the host's addresses that answers, with what time is left for each."""
    last: OSError = OSError("the host has no address")
    for family, kind, proto, _, where in socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, proto)
        try:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            sock.connect(where)
            sock.settimeout(max(0.001, deadline - time.monotonic()))
        except OSError as error:
            sock.close()
            last = error
        else:
            return sock
    raise last
