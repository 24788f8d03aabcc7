"""The Unix socket that applications connect to."""

from __future__ import annotations

import os
import socket
from pathlib import Path

BACKLOG = 1024


class Listener:
    """A socket at a path, for this user only, in place of one that a dead process left there.

    Args:
        path: Where.

    Attributes:
        sock: What connections are accepted from; it never blocks.

    Raises:
        OSError: If somebody listens there or the path cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.sock = _listen_privately(path)
        self._identity = _identity(path)

    @property
    def is_found(self) -> bool:
        """Whether the socket is still at its path, where applications look for it."""
        return _identity(self._path) == self._identity

    def close(self) -> None:
        """Take no more connections."""
        # Unlinked first: whoever comes now starts another hub and does not meet this one's end.
        if self.is_found:
            self._path.unlink(missing_ok=True)
        self.sock.close()


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one at the same path; ``None`` if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _listen_privately(path: Path) -> socket.socket:
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
