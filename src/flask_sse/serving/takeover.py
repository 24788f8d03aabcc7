"""Takeover: the hub gets the client's own connection, and the web server keeps a dead one.

The connection is copied to a new descriptor, and one end of a fresh socketpair takes the place of the number
that the web server holds. Whatever the server still does with it (write its head, shut down, poll, close)
reaches nobody. Then the copy goes to the hub together with the response head.

Both steps of the swap are done where the server can neither close nor use the connection
(``ClientSocket.exclusively``), and nothing waits there. From then on the connection is ours alone: what the
hub does not take is answered here, and never by the server as well.

Ways that were tried and fail: closing or detaching the server's socket makes it log errors or lose count
of its connections; a plain copy without the swap is cut by the server's own shutdown; uWSGI's
``disconnect`` sends heads to other users' connections.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

from werkzeug.http import http_date

from ..hub.server.descriptors import duplicate
from .servers import ClientSocket, end_request

_NOT_IN_HEAD = {"connection", "content-length", "keep-alive", "transfer-encoding"}
_DRAIN_BYTES = 64 * 1024

Headers = list[tuple[str, str]]


def take_over(
    client: ClientSocket,
    start_response: Callable[..., Any],
    status: str,
    headers: Headers,
    hand_over: Callable[[int], None],
) -> DeadBody:
    """Take the client's connection, give it away and answer the web server with an empty response.

    Args:
        client: The connection, as ``find_client_socket`` found it.
        start_response: The web server's.
        status: As Flask computed it, ``200 OK``.
        headers: As Flask computed them.
        hand_over: Gives the descriptor to the hub, which makes its own copy, or answers the client itself.

    Raises:
        ConnectionError: If the client has left already, so that nobody is to be answered.
        OSError: If the connection cannot be taken now; nothing was changed, nor will be.
    """
    ours, servers = socket.socketpair()
    try:
        ours.shutdown(socket.SHUT_WR)
        copy = _swap(client, servers.fileno())
    except BaseException:
        ours.close()
        raise
    finally:
        servers.close()
    try:
        hand_over(copy)
    except BaseException:
        ours.close()
        raise
    finally:
        os.close(copy)
    start_response(status, [*headers, ("Connection", "close")] if client.close_header else headers)
    end_request(start_response)
    return DeadBody(ours, client.body)


def answer_and_end(descriptor: int, answer: bytes) -> None:
    """Send a short answer to a client whose connection was taken, and end the connection.

    A client that does not take it at once sees the end alone, and comes back as after any end.
    """
    # Borrowed, for there may be no descriptor left for a copy.
    sock = socket.socket(fileno=descriptor)
    with contextlib.suppress(OSError):
        sock.setblocking(False)
        sock.send(answer, getattr(socket, "MSG_NOSIGNAL", 0))
        sock.shutdown(socket.SHUT_WR)
        # Unread bytes would turn the end into a reset, which may overtake the answer.
        sock.recv(_DRAIN_BYTES)
    sock.detach()


def response_head(status: str, headers: Headers) -> bytes:
    """Return the HTTP/1.1 head of a response whose body ends when the connection does."""
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _NOT_IN_HEAD]
    if not any(name.lower() == "date" for name, _ in headers):
        lines.append(f"Date: {http_date()}")
    lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class DeadBody:
    """What the web server sends into the dead connection; it owns our end of that."""

    def __init__(self, sock: socket.socket, pieces: tuple[bytes, ...]) -> None:
        self._sock = sock
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        """Swallow what the server wrote, because unread bytes would turn the end into a reset."""
        self._sock.setblocking(False)
        try:
            self._sock.recv(_DRAIN_BYTES)
        except OSError:
            pass
        finally:
            self._sock.close()


def _swap(client: ClientSocket, replacement: int) -> int:
    """Put a dead connection in the place of the client's; return the descriptor that is the client's now."""
    copies: list[int] = []

    def swap(number: int) -> None:
        copies.append(duplicate(number))
        os.dup2(replacement, number, inheritable=False)

    try:
        client.exclusively(swap)
    except BaseException:
        for copy in copies:
            os.close(copy)
        raise
    return copies[0]
