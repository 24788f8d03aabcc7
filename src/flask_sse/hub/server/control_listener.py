"""Control listener: the Unix socket that applications connect to, and the lock of the hub behind it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

BACKLOG = 1024


class ControlListener:
    """A listening socket at a path, for this user only.

    Args:
        path: Where applications look for it.
        sock: The socket.
        lock: The descriptor of the lock; ``None`` for a hub that no application starts.
        owns_path: Whether this process removes the socket from its path at the end. It does not where its
            parent, systemd or another hub has the same socket.

    Attributes:
        sock: What connections are accepted from; it never blocks.
        lock: The descriptor of the lock.
        owns_path: As given.
    """

    def __init__(
        self, path: Path, sock: socket.socket, lock: int | None = None, *, owns_path: bool = True
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.lock = lock
        self._path = path
        self.owns_path = owns_path
        self._identity = identity(path)

    @classmethod
    def at(cls, path: Path, lock: int | None = None) -> ControlListener:
        """Listen at a path, in place of a socket that a dead process left there.

        Raises:
            OSError: If a process listens there or the path cannot be used.
        """
        return cls(path, _listen_privately(path), lock)

    @property
    def is_found(self) -> bool:
        """Whether the socket is still at its path, where applications look for it."""
        return identity(self._path) == self._identity

    def close(self) -> None:
        """Accept no more connections, and remove the files."""
        # Unlinked before it is closed: an application that connects in between would be in the queue of a
        # socket that is about to close. It finds no socket instead, and starts another hub.
        if self.owns_path and self.is_found:
            self._path.unlink(missing_ok=True)
            # The lock file goes while the lock is held. A process that opened it before notices, once it has
            # the lock, that the path names another file or none (see ``identity``).
            if self.lock is not None:
                self._path.with_suffix(".lock").unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Close this process's descriptors; another process has its own, or no file is left."""
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
    # ``bind`` fails at a path that exists, also where the process that bound it is dead. Only a refused
    # connection tells that no process listens; a hub that is there keeps its socket, and ``bind`` fails.
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
    # By the mask and not by ``chmod`` afterwards: in between, other users could connect.
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
