"""A server that does with each connection what a test says: proxies that tamper, and hostile ones."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Collection
from typing import Self

from .client import HEAD_END, RECEIVE_BYTES, connect
from .patience import PATIENT_SECONDS

# Is given the client's connection and its request; the connection is closed when it returns.
Script = Callable[[socket.socket, bytes], None]

CONNECTION_SECONDS = PATIENT_SECONDS


class ScriptedServer:
    """A running server; leaving the ``with`` block ends it and all its connections.

    Args:
        script: Is called in a thread of its own for each connection, when the request is there.

    Attributes:
        port: Its port of 127.0.0.1.
        url: Its address, without a slash at the end.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="scripted")]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.settimeout(CONNECTION_SECONDS)
                self._clients.append(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            request = b""
            while HEAD_END not in request:
                piece = client.recv(RECEIVE_BYTES)
                if not piece:
                    return
                request += piece
            self._script(client, request)


def tampering(upstream_port: int, *, drops: Collection[str] = (), holds_bytes: int = 0) -> Script:
    """Return the script of a proxy that passes a stream on, but not as it is.

    Args:
        upstream_port: The server's port of 127.0.0.1.
        drops: Headers of the answer that it takes out.
        holds_bytes: It passes nothing on before it has so many, or all.
    """
    dropped = tuple(f"{name.lower()}:".encode() for name in drops)

    def script(client: socket.socket, request: bytes) -> None:
        with connect(upstream_port) as server, selectors.DefaultSelector() as selector:
            server.sendall(request)
            selector.register(server, selectors.EVENT_READ)
            selector.register(client, selectors.EVENT_READ)
            held, is_head_over, is_passing = b"", False, False
            while not any(key.fileobj is client for key, _ in selector.select(CONNECTION_SECONDS)):
                piece = server.recv(RECEIVE_BYTES)
                held += piece
                if not is_head_over and HEAD_END in held:
                    held, is_head_over = _without(held, dropped), True
                is_passing = is_passing or (is_head_over and len(held) >= holds_bytes) or not piece
                if is_passing:
                    client.sendall(held)
                    held = b""
                if not piece:
                    return

    return script


def _without(answer: bytes, dropped: tuple[bytes, ...]) -> bytes:
    head, _, body = answer.partition(HEAD_END)
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(dropped)]
    return b"\r\n".join(lines) + HEAD_END + body
