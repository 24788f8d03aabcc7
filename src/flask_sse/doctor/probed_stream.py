"""Probed stream: the socket and the reader of its response, and the only place that waits for bytes."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable

from .observations import Ending
from .response_reader import ResponseReader
from .stream_url import StreamURL

# What browsers offer in the TLS handshake (ALPN).
_BROWSER_PROTOCOLS = ("h2", "http/1.1")
# Small enough that what one call returns is parsed well within any timeout, whatever it is.
_RECEIVE_BYTES = 16 * 1024


class ProbedStream:
    """A stream that was requested.

    Args:
        sock: On which the request was sent; the caller closes it.
        reader: Of the response.
    """

    def __init__(self, sock: socket.socket, reader: ResponseReader) -> None:
        self._sock = sock
        self._reader = reader

    @property
    def ending(self) -> Ending | None:
        """How the stream ended; ``None`` while it is open."""
        return self._reader.ending

    @property
    def last_body_at(self) -> float:
        """When the last bytes arrived, or else when the stream was requested."""
        return self._reader.last_body_at

    @property
    def first_messages(self) -> tuple[str, ...]:
        """Texts of the first comments, and types of the first events."""
        return self._reader.first_messages

    def wait_for(self, condition: Callable[[], object], timeout_seconds: float) -> bool:
        """Read until the condition holds, the time is over or the stream ends; return whether it holds."""
        deadline = time.monotonic() + timeout_seconds
        while not condition() and self.ending is None and (remaining := deadline - time.monotonic()) > 0:
            self._sock.settimeout(remaining)
            try:
                data = self._sock.recv(_RECEIVE_BYTES)
            except TimeoutError:
                break
            except OSError:
                self._reader.end("reset")
                break
            self._reader.feed(data, time.monotonic())
        return bool(condition())


def connect(
    url: StreamURL, timeout_seconds: float, protocols: tuple[str, ...] = ("http/1.1",)
) -> socket.socket:
    """Connect to the server, with TLS if the URL says so.

    Args:
        url: The server.
        timeout_seconds: For each address of the host, for the TLS handshake, and then for sending. The
            resolver has timeouts of its own.
        protocols: Offered with TLS.

    Raises:
        OSError: ``socket.gaierror``, ``ssl.SSLError`` and ``TimeoutError`` are distinct causes.
    """
    sock = socket.create_connection((url.host, url.port), timeout_seconds)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.is_encrypted:
            context = ssl.create_default_context()
            context.set_alpn_protocols(list(protocols))
            sock = context.wrap_socket(sock, server_hostname=url.host)
    except BaseException:
        sock.close()
        raise
    return sock


def browser_protocol(url: StreamURL, timeout_seconds: float) -> str:
    """Return the protocol that a browser would speak with this server; empty if it cannot be found out."""
    try:
        with connect(url, timeout_seconds, _BROWSER_PROTOCOLS) as sock:
            return (isinstance(sock, ssl.SSLSocket) and sock.selected_alpn_protocol()) or ""
    except OSError:
        return ""
