"""Takeover: the hub gets the client's own connection, and the web server keeps a dead one.

Three steps: copy the connection to a new descriptor, put a dead socket in its place, hand the copy to the
hub. The dead socket is one end of a fresh socketpair, at the number that the web server holds: whatever the
server still does with it (write its head, shut down, poll, close) reaches no client. The hub gets the copy
together with the response head.

The first two steps are one call, made where the server can neither close nor use the connection
(``ClientSocket.exclusively``), and nothing waits there. They come before the third one: once the hub has the
connection, the server must not be able to write to it. From then on the connection is ours alone: what the
hub does not take is answered here, and never by the server as well.

Ways that were tried and fail: closing or detaching the server's socket makes it log errors or lose count
of its connections; a plain copy without the dead socket is cut by the server's own shutdown; uWSGI's
``disconnect`` sends heads to other users' connections.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any, Self

from ..hub.server.descriptors import duplicate
from .client_socket import ClientSocket, end_request

_NOT_IN_HEAD = {"connection", "content-length", "keep-alive", "transfer-encoding"}
_DRAIN_BYTES = 64 * 1024

Headers = list[tuple[str, str]]


class TakenConnection:
    """A client's connection that the web server does not have any more.

    Leaving the ``with`` block closes this process's copy; the hub has its own.

    Args:
        client: The connection, as ``find_client_socket`` found it.

    Attributes:
        descriptor: The copy.

    Raises:
        ConnectionError: If the client has left already, so that nothing is to be answered.
        OSError: If the connection cannot be taken now; nothing was changed, nor will be.
    """

    def __init__(self, client: ClientSocket) -> None:
        self._client = client
        self._dead, servers = socket.socketpair()
        try:
            self._dead.shutdown(socket.SHUT_WR)
            self.descriptor = _replace_by(client, servers.fileno())
        except BaseException:
            self._dead.close()
            raise
        finally:
            servers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        os.close(self.descriptor)
        if kind is not None:
            self._dead.close()

    def answer_and_end(self, answer: bytes) -> None:
        """Send a short answer to the client, and end the connection.

        A client that does not take it at once sees the end alone, and reconnects as after any end.
        """
        # Borrowed, for there may be no descriptor left for a copy.
        sock = socket.socket(fileno=self.descriptor)
        with contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send(answer, getattr(socket, "MSG_NOSIGNAL", 0))
            sock.shutdown(socket.SHUT_WR)
            # Unread bytes would turn the end into a reset, which may overtake the answer.
            sock.recv(_DRAIN_BYTES)
        sock.detach()

    def finish_request(self, start_response: Callable[..., Any], status: str, headers: Headers) -> DeadBody:
        """Answer the web server, with a body that goes into the dead socket.

        Args:
            start_response: The web server's.
            status: As Flask computed it, ``200 OK``.
            headers: As Flask computed them.
        """
        start_response(status, [*headers, ("Connection", "close")] if self._client.close_header else headers)
        end_request(start_response)
        return DeadBody(self._dead, self._client.body)


def response_head(status: str, headers: Headers) -> bytes:
    """Return the HTTP/1.1 head of a response whose body ends when the connection does."""
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _NOT_IN_HEAD]
    if not any(name.lower() == "date" for name, _ in headers):
        lines.append(f"Date: {formatdate(usegmt=True)}")
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
        """Discard what the server wrote, because unread bytes would turn the end into a reset."""
        self._sock.setblocking(False)
        try:
            self._sock.recv(_DRAIN_BYTES)
        except OSError:
            pass
        finally:
            self._sock.close()


def _replace_by(client: ClientSocket, replacement: int) -> int:
    """Copy the client's connection and put another one in its place; return the copy."""
    copies: list[int] = []

    def copy_and_replace(number: int) -> None:
        copies.append(duplicate(number))
        os.dup2(replacement, number, inheritable=False)

    try:
        client.exclusively(copy_and_replace)
    except BaseException:
        # Also where the call was made and only the wait for it was interrupted.
        for copy in copies:
            os.close(copy)
        raise
    return copies[0]
