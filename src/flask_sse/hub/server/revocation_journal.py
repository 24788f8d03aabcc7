"""Revocation journal: the file in which a hub keeps revocations, for the hub that starts after it has died.

Rules of this file: one line of JSON per revocation, appended with one write. A line that a crash cut, or
that no hub wrote, is skipped. Lines are dropped after a day, when no grant is as old, and beyond a number;
then the file is rewritten beside its place and renamed, so that a crash leaves the old or the new one. It
belongs to this user alone (mode 0600), and one that does not is not touched. Blocks; a line goes to the
system's cache, without ``fsync``: the file outlives the process, and not a crash of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from ..protocol.revocation import HISTORY, REMEMBERED_SECONDS, Revocation

MAX_BYTES = 8 * 1024 * 1024
# How much longer than a day a line may stay, so that the file is not rewritten all the time.
PRUNE_SECONDS = 600.0
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Line(NamedTuple):
    """A revocation in the file.

    Attributes:
        revocation: The revocation.
        noted_at: When it was written, in seconds of the wall clock.
        text: The line itself.
    """

    revocation: Revocation
    noted_at: float
    text: bytes


class RevocationJournal:
    """The revocations of the last day, in one file.

    Args:
        path: Where.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: deque[Line] = deque()
        self._bytes = 0
        # How much of the file is lines that were dropped.
        self._dropped_bytes = 0
        # When the first line in the file was written, also where it was dropped.
        self._oldest_at: float | None = None
        self._file: int | None = None

    @classmethod
    def beside(cls, socket_path: Path) -> RevocationJournal:
        """Return the journal of the hub that listens at a path."""
        return cls(socket_path.with_name(f"{socket_path.name.removesuffix('.sock')}.revocations"))

    def open(self) -> list[Line]:
        """Return what is kept. Nothing is written before the first ``append``.

        Raises:
            OSError: If the file cannot be used.
        """
        try:
            file = self._open(os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return []
        self._file = file
        size = os.fstat(file).st_size
        # The end alone, where the file is larger than a hub makes it.
        start = max(0, size - 2 * MAX_BYTES)
        for text in os.pread(file, size - start, start).split(b"\n"):
            line = _read_line(text)
            if line is not None:
                self._keep(line)
        self._drop(time.time())
        self._dropped_bytes = size - self._bytes
        return list(self._lines)

    def append(self, revocation: Revocation, now: float) -> None:
        """Keep a revocation.

        Raises:
            OSError: If it cannot be written.
        """
        fields = {"at": now, "revocation": asdict(revocation)}
        # A line feed before it, too: half a line that a crash or full disk has left does not spoil this one.
        line = Line(revocation, now, b"\n%s\n" % json.dumps(fields).encode())
        self._keep(line)
        self._drop(now)
        if self._file is not None and self._dropped_bytes < max(self._bytes, MAX_BYTES // 8):
            os.write(self._file, line.text)
        else:
            self._rewrite()

    def prune(self, now: float) -> None:
        """Drop lines that are too old; call it from time to time.

        Raises:
            OSError: If it cannot be written.
        """
        if self._oldest_at is not None and self._oldest_at < now - REMEMBERED_SECONDS - PRUNE_SECONDS:
            self._drop(now)
            self._rewrite()

    def close(self) -> None:
        """Close the file, which stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _keep(self, line: Line) -> None:
        self._lines.append(line)
        if self._oldest_at is None:
            self._oldest_at = line.noted_at
        self._bytes += len(line.text)

    def _drop(self, now: float) -> None:
        while self._lines and (
            len(self._lines) > HISTORY.size
            or self._bytes > MAX_BYTES
            or self._lines[0].noted_at < now - REMEMBERED_SECONDS
        ):
            size = len(self._lines.popleft().text)
            self._bytes -= size
            self._dropped_bytes += size

    def _rewrite(self) -> None:
        self.close()
        new = self._path.with_name(f"{self._path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        file = self._open(os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, new)
        try:
            with os.fdopen(os.dup(file), "wb") as stream:
                stream.writelines(line.text for line in self._lines)
            new.rename(self._path)
        except BaseException:
            os.close(file)
            raise
        self._file, self._dropped_bytes = file, 0
        self._oldest_at = self._lines[0].noted_at if self._lines else None

    def _open(self, flags: int, path: Path | None = None) -> int:
        file = os.open(path or self._path, flags | os.O_CLOEXEC | _NO_FOLLOW, 0o600)
        # Of the open file and not of the path, which another process may exchange in between.
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            os.close(file)
            raise PermissionError(f"{self._path} is not a file of this user alone (mode 0600)")
        return file


def _read_line(text: bytes) -> Line | None:
    try:
        fields = json.loads(text)
        revocation, noted_at = Revocation.of(fields["revocation"]), fields["at"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if revocation is None or not isinstance(noted_at, float):
        return None
    return Line(revocation, noted_at, b"\n%s\n" % text)
