"""The Unix socket that applications connect to, and the lock that says that a hub lives there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

BACKLOG = 1024


class Listener:
    """A listening socket at a path, for this user only.

    Args:
        path: Where applications look for it.
        sock: The socket.
        lock: The descriptor of the lock; ``None`` for a hub that nobody else starts.
        is_kept: Whether somebody else keeps the socket open, and takes it away.

    Attributes:
        sock: What connections are accepted from; it never blocks.
        lock: The descriptor of the lock.
        is_kept: Whether somebody else takes it away.
    """

    def __init__(
        self, path: Path, sock: socket.socket, lock: int | None = None, *, is_kept: bool = False
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.lock = lock
        self._path = path
        self.is_kept = is_kept
        self._identity = identity(path)

    @classmethod
    def at(cls, path: Path, lock: int | None = None) -> Listener:
        """Listen at a path, in place of a socket that a dead process left there.

        Raises:
            OSError: If somebody listens there or the path cannot be used.
        """
        return cls(path, _listen_privately(path), lock)

    @property
    def is_found(self) -> bool:
        """Whether the socket is still at its path, where applications look for it."""
        return identity(self._path) == self._identity

    def close(self) -> None:
        """Take no more connections, and leave nothing."""
        # Unlinked first: whoever comes now starts another hub and does not meet this one's end.
        if not self.is_kept and self.is_found:
            self._path.unlink(missing_ok=True)
            if self.lock is not None:
                self._path.with_suffix(".lock").unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Close what another process has, too."""
        self.sock.close()
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def identity(file: Path | int) -> tuple[int, int] | None:
    """Return what tells a file from another one at the same path; ``None`` if there is none."""
    try:
        status = os.fstat(file) if isinstance(file, int) else file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def numbered(path: Path, number: int) -> Path:
    """Return where one of several hubs that share streams listens; the first one at ``path``."""
    return path.with_name(f"{path.name}.{number}") if number else path


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
    return listener
