"""The Unix socket that applications connect to."""

from __future__ import annotations

import os
import socket
from pathlib import Path

BACKLOG = 1024


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one at the same path; ``None`` if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def listen_privately(path: Path) -> socket.socket:
    """Listen on ``path`` for this user only, in place of a socket that a dead process left there.

    Raises:
        OSError: If somebody listens there or the path cannot be used.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
