"""Peer credentials: which user and process is at the other end of a Unix socket, as the kernel says.

File modes keep other users away from the socket, but an operator may set them wrong. ``SO_PEERCRED`` cannot
be forged: the kernel notes the credentials of a process as it calls ``connect`` or ``listen``.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from ...errors import ProtocolError

_LINUX_CREDENTIALS = struct.Struct("iII")
# <sys/ucred.h>: struct xucred begins with the version and the user id; LOCAL_PEERCRED is option 1
# of level 0.
_MACOS_CREDENTIALS = struct.Struct("II")
_MACOS_CREDENTIALS_BYTES = 76


def peer_uid(sock: socket.socket) -> int | None:
    """Return the user id of the process that connected; ``None`` where the system does not tell."""
    if hasattr(socket, "SO_PEERCRED"):
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_CREDENTIALS.size)
        return int(_LINUX_CREDENTIALS.unpack(data)[1])
    if hasattr(socket, "LOCAL_PEERCRED"):
        data = sock.getsockopt(0, socket.LOCAL_PEERCRED, _MACOS_CREDENTIALS_BYTES)
        return int(_MACOS_CREDENTIALS.unpack_from(data)[1])
    return None


def peer_pid(sock: socket.socket) -> int | None:
    """Return the process that connected.

    Returns:
        ``None`` where the system does not tell. A process in another PID namespace, as of a container, has no
        number here and the kernel says 0: that is ``None``, too, for 0 would signal our own process group.
    """
    if hasattr(socket, "SO_PEERCRED"):
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_CREDENTIALS.size)
        return int(_LINUX_CREDENTIALS.unpack(data)[0]) or None
    return None


def is_trusted(uid: int | None) -> bool:
    """Tell whether ``uid`` is this process's own user or root; unknown ones rest on file modes."""
    return uid is None or uid in {0, os.geteuid()}


def connect(sock: socket.socket, path: Path) -> None:
    """Connect to the hub that listens at a path, if it belongs to our own user.

    The check comes before the first byte is sent: a client's connection and cookies go to no other user, who
    may have made the socket first.

    Raises:
        OSError: If no process listens there.
        ProtocolError: If it belongs to another user.
    """
    sock.connect(str(path))
    if not is_trusted(uid := peer_uid(sock)):
        raise ProtocolError(
            f"it belongs to another user ({uid}); run hub and application as the same user, or give this "
            "one a hub of its own (SSE_HUB)"
        )
