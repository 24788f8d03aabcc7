"""Socket activation and readiness notifications, for systemd and programs like it.

The protocols are those of ``sd_listen_fds(3)`` and ``sd_notify(3)``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

FIRST_DESCRIPTOR = 3


def activated_sockets() -> list[socket.socket]:
    """Return the listening sockets that this process was started with; once.

    Raises:
        ValueError: If applications cannot connect to one of them; the text says why.
    """
    is_ours = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = os.environ.pop("LISTEN_FDS", "0")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not is_ours or not count.isdigit():
        return []
    sockets = [_listening(FIRST_DESCRIPTOR + number) for number in range(int(count))]
    for sock in sockets:
        os.set_inheritable(sock.fileno(), False)
    return sockets


def _listening(descriptor: int) -> socket.socket:
    """Return a listening Unix socket; another kind would be readable without end, and accept nothing."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ValueError(f"descriptor {descriptor} is not a socket: {error}") from error
    if sock.family != socket.AF_UNIX:
        raise ValueError(f"descriptor {descriptor} is not a Unix socket; set ListenStream= to a path")
    if sock.type != socket.SOCK_STREAM:
        kind = getattr(sock.type, "name", sock.type)
        raise ValueError(f"descriptor {descriptor} is a socket of type {kind}; use ListenStream=")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError(f"descriptor {descriptor} does not listen; use ListenStream= and Accept=no")
    return sock


def notify(state: str, *, monotonic: bool = False) -> None:
    """Notify the service manager of the state of this process, if there is one.

    Args:
        state: As ``READY=1``.
        monotonic: Whether to add the time, as ``RELOADING=1`` needs it.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    if monotonic:
        state += f"\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.send(state.encode())
