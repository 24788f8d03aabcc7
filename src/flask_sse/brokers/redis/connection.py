"""Connections of publishers, whose waits end with the deadline of the call.

redis-py gives each read and each connect a time of its own, and lookups of names any time. So a server that
is slow, but not slow enough, holds a call for many times that. Here everything that a connection waits for
ends with ``brokers.deadline``.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from concurrent.futures import Future
from typing import Any

from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection

from ..deadline import CALL_SECONDS, seconds_left

_ANSWER_BYTES = 4096


class DeadlineSocket:
    """A connected socket whose reads and writes end with the deadline of the calling thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._timeout = sock.gettimeout()

    def settimeout(self, seconds: float | None) -> None:
        """Let reads and writes take no longer than this either."""
        self._timeout = seconds

    def recv(self, size: int, flags: int = 0) -> bytes:
        """See ``socket.socket``."""
        return self._bounded().recv(size, flags)

    def recv_into(self, buffer: bytearray) -> int:
        """See ``socket.socket``."""
        return self._bounded().recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        """See ``socket.socket``."""
        self._bounded().sendall(data)

    def _bounded(self) -> socket.socket:
        left = _left()
        self._sock.settimeout(left if self._timeout is None else min(left, self._timeout))
        return self._sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Bounded(AbstractConnection):
    """Comes before a connection of redis-py, which makes the socket."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Else redis-py tells the server its own name and version in two round trips before the first command,
        # and a server that takes half a second for each is never reached in time. By releases of redis-py.
        vars(self).update(driver_info=None, lib_name=None, lib_version=None)

    def _connect(self) -> Any:
        self.socket_connect_timeout = _left()
        return DeadlineSocket(super()._connect())  # type: ignore[no-untyped-call,safe-super] # of the class behind


class _ByName(Connection):
    """Looks the name up within the deadline, and leaves each of its addresses a share of the time."""

    def _connect(self) -> socket.socket:
        name = self.host
        addresses = addresses_of(name, self.port, self.socket_type)
        failure: OSError | None = None
        try:
            for number, address in enumerate(addresses):
                self.host, self.socket_connect_timeout = address, _left() / (len(addresses) - number)
                try:
                    sock: socket.socket = super()._connect()  # type: ignore[no-untyped-call] # redis-py's
                except OSError as error:
                    failure = error
                    continue
                try:
                    # The TLS handshake continues with it.
                    sock.settimeout(_left())
                except TimeoutError:
                    # The caller gets no connection that it could close.
                    sock.close()
                    raise
                return sock
        finally:
            # TLS compares the certificate with it, and error texts name it.
            self.host = name
        raise failure or OSError("its name has no address")


class TcpConnection(_Bounded, _ByName):
    """Over TCP."""


class TlsConnection(_Bounded, SSLConnection, _ByName):
    """Over TLS; the handshake counts."""

    def _connect(self) -> Any:
        sock = super()._connect()
        # A server of TLS 1.3 sends session tickets behind the handshake (RFC 8446, 4.6.1). While they are
        # unread the pool takes the connection for one with the answer to another call, gives it up and
        # fails at the second one. They are read before the answer to this, which may be a refusal.
        try:
            sock.sendall(b"PING\r\n")
            answer = b""
            while not answer.endswith(b"\r\n"):
                piece = sock.recv(_ANSWER_BYTES)
                if not piece:
                    raise ConnectionResetError("the server closed the connection")
                answer += piece
        except BaseException:
            sock.close()
            raise
        return sock


class UnixConnection(_Bounded, UnixDomainSocketConnection):
    """Over a Unix socket."""


def connection_class(url: str) -> type[Connection | UnixDomainSocketConnection]:
    """Return the class of connections to a server, by the scheme of its URL as redis-py has them."""
    match url.partition("://")[0]:
        case "rediss":
            return TlsConnection
        case "unix":
            return UnixConnection
    return TcpConnection


def addresses_of(host: str, port: int, family: int = 0) -> list[str]:
    """Return the addresses of a host.

    A lookup cannot be interrupted, so it has a thread of its own; a caller whose deadline passes leaves it
    behind. Later callers wait for the same one, so there is one of them for each host, however long it takes.

    Raises:
        OSError: If the name is not known, or was not looked up within the deadline.
    """
    if _is_address(host):
        return [host]
    found: Future[list[str]] = Future()
    lookup = _lookups.setdefault((host, port, family), found)
    if lookup is found:
        _look_up(host, port, family, found)
    try:
        return lookup.result(_left())
    except TimeoutError:
        raise OSError("its name was not looked up in time") from None


def _look_up(host: str, port: int, family: int, found: Future[list[str]]) -> None:
    def work() -> None:
        try:
            rows = socket.getaddrinfo(host, port, socket.AddressFamily(family), socket.SOCK_STREAM)
            found.set_result(list(dict.fromkeys(str(row[4][0]) for row in rows)))
        except Exception as error:  # noqa: BLE001 - it is raised to the callers
            found.set_exception(error)
        finally:
            _lookups.pop((host, port, family), None)

    try:
        threading.Thread(target=work, name="flask-sse lookup", daemon=True).start()
    except RuntimeError:  # the system has no more threads, or the interpreter ends
        work()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _left() -> float:
    return min(CALL_SECONDS, seconds_left())


# Those that are running. No lock: a forked process would inherit it, perhaps locked.
_lookups: dict[tuple[str, int, int], Future[list[str]]] = {}
if hasattr(os, "register_at_fork"):
    # A fork does not copy the threads.
    os.register_at_fork(after_in_child=_lookups.clear)
