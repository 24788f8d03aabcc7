"""How an application finds the hub of its machine, user and configuration, or starts it.

One private directory holds three files a hub: socket, lock and log. The lock is taken by whoever starts
a hub and handed on to it, so a lock that is held means a hub that lives or is being started, and one
that is free means none: the kernel lets go of it however the hub ends.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import signal
import socket
import stat
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..brokers.registry import MEMORY_SCHEME
from ..errors import HubStartError, HubUnavailableError, ProtocolError
from ..settings import Settings
from .control import Hello, Packet, PacketDecoder
from .peer import is_trusted, peer_uid
from .process import LOCK_FD, SETTINGS_FD, hub_config

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
START_SECONDS = 10.0
_RETRY_SECONDS = 0.02
_MAX_STARTS = 2
# A Unix socket's path has at most 103 bytes on macOS, of which the name of ours takes 22.
_MAX_DIRECTORY_BYTES = 80
_MAX_LOG_BYTES = 1024 * 1024
_PASSING = {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_ANSWER_BYTES = 64 * 1024
_CLEAR_OF_TARGETS = 16


class HubConnection:
    """A control connection, introduced; used by one thread at a time."""

    def __init__(self, path: Path, linger_seconds: float) -> None:
        self._decoder = PacketDecoder(_ANSWER_BYTES)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._sock.settimeout(ANSWER_SECONDS)
            self._sock.connect(str(path))
            if not is_trusted(uid := peer_uid(self._sock)):
                raise HubUnavailableError(str(path), f"it belongs to another user ({uid})")
            self.send([Hello(os.getpid(), linger_seconds).packet()])
            self.hub_pid = self.receive().get("pid")
        except BaseException:
            self.close()
            raise

    def send(self, packets: Sequence[Packet], descriptor: int | None = None) -> None:
        """Write packets, with a descriptor at the first byte."""
        data = b"".join(packet.encode() for packet in packets)
        sent = 0 if descriptor is None else socket.send_fds(self._sock, [data], [descriptor])
        if sent < len(data):
            self._sock.sendall(memoryview(data)[sent:])

    def receive(self) -> dict[str, Any]:
        """Wait for the answer to a request.

        Raises:
            ProtocolError: If the hub refused it.
            OSError: If the hub is gone or does not answer in time.
        """
        data = b""
        while True:
            # Several answers may have come at once.
            for packet in self._decoder.feed(data):
                if packet.op == "refused":
                    raise ProtocolError(f"the hub refused: {packet.fields.get('reason')}")
                return packet.fields
            data = self._sock.recv(_ANSWER_BYTES)
            if not data:
                raise ConnectionResetError("the hub closed the connection")

    def close(self) -> None:
        """Close this end; the hub goes on."""
        self._sock.close()

    def __del__(self) -> None:
        # A link is kept as long as its application; nobody is asked to close it.
        if hasattr(self, "_sock"):  # not where there was no descriptor for one
            self.close()


class Finder:
    """Finds one hub, and starts it where it may."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def connect(self) -> HubConnection:
        """Return a new connection.

        Raises:
            HubUnavailableError: If no hub answered and none could be started.
        """
        if self._settings.hub == "auto":
            return self._connect_or_start(hub_path(self._settings))
        path = Path(self._settings.hub.removeprefix("unix:"))
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return HubConnection(path, self._settings.hub_linger_seconds)
            except (OSError, ProtocolError) as error:
                if not isinstance(error, BlockingIOError) or time.monotonic() > deadline:
                    raise HubUnavailableError(str(path), error) from error
            time.sleep(_RETRY_SECONDS)  # more applications than it can accept at once

    def _connect_or_start(self, path: Path) -> HubConnection:
        deadline = time.monotonic() + START_SECONDS
        starts = 0
        while True:
            try:
                return HubConnection(path, self._settings.hub_linger_seconds)
            except (FileNotFoundError, ConnectionError, BlockingIOError) as error:
                failure = error  # none there, or more applications than it can accept at once
            except (OSError, ProtocolError) as error:
                raise HubUnavailableError(str(path), error) from error
            if time.monotonic() > deadline:
                raise HubUnavailableError(str(path), failure)
            if not _start_unless_locked(self._settings, path, may_start=starts < _MAX_STARTS):
                time.sleep(_RETRY_SECONDS)
            else:
                starts += 1


def _start_unless_locked(settings: Settings, path: Path, *, may_start: bool) -> bool:
    """Start a hub if none lives or is being started; return whether one was started.

    Raises:
        HubStartError: If none can be started here, or those that were ended at once.
        HubUnavailableError: If none can be started now.
    """
    try:
        lock = _take_lock(path.with_suffix(".lock"))
        if lock is None:
            return False
        try:
            if not may_start:
                log = path.with_suffix(".log")
                raise HubStartError(str(path), f"started twice, ended at once; see {log}")
            _start(settings, path, lock)
        finally:
            os.close(lock)
    except OSError as error:
        kind = HubUnavailableError if error.errno in _PASSING else HubStartError
        raise kind(str(path), f"cannot start one: {error}") from error
    return True


def hub_path(settings: Settings) -> Path:
    """Return where the hub of this user and configuration listens.

    ``memory://`` lives in its hub, so there the URL alone decides: processes with other settings still
    meet. Otherwise other settings mean another hub.

    Raises:
        HubStartError: If there is no directory that is safe to use.
    """
    config: object = settings.broker_url
    if not settings.broker_url.startswith(f"{MEMORY_SCHEME}://"):
        config = asdict(settings)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    return private_directory() / f"{digest}.sock"


def private_directory() -> Path:
    """Return this user's own directory for hubs, made if it is not there.

    Raises:
        HubStartError: If it belongs to somebody else or others can look into it.
    """
    uid = os.geteuid()
    path = _directory(uid)
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        status = path.lstat()
    except OSError as error:
        raise HubStartError(str(path), error) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o077:
        raise HubStartError(str(path), f"not a directory of user {uid} alone (mode 0700)")
    return path


def _directory(uid: int) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    path = Path(runtime) / "flask-sse"
    if runtime and Path(runtime).is_dir() and len(os.fsencode(path)) <= _MAX_DIRECTORY_BYTES:
        return path
    try:
        path = Path(tempfile.gettempdir()) / f"flask-sse-{uid}"
    except OSError as error:
        raise HubUnavailableError("the temporary directory", error) from error
    if len(os.fsencode(path)) > _MAX_DIRECTORY_BYTES:
        raise HubStartError(str(path), "path too long for a socket")
    return path


def _take_lock(path: Path) -> int | None:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _start(settings: Settings, path: Path, lock: int) -> None:
    """Start the hub process, which keeps ``lock`` and listens on ``path`` when it is ready."""
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "w") as stream:
        # A line, for the end of the file may not come: a fork of another thread copies the pipe.
        stream.write(json.dumps({"socket": str(path), **hub_config(settings)}) + "\n")
        stream.flush()
        pid = _spawn(path.with_suffix(".log"), reader, lock)
    # It forks once more and ends at once; the hub itself is nobody's child. Where the application
    # collects its children itself, this one may be gone already.
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    logger.info("started a hub at %s", path)


def _spawn(log: Path, *descriptors: int) -> int:
    """Start Python with descriptors at the numbers that ``hub.process`` expects.

    Not by ``subprocess``, which gevent replaces with one that works in the main thread only.
    """
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    # Clear of the target numbers, so that no copy overwrites a source.
    sources = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _CLEAR_OF_TARGETS) for number in descriptors]
    targets = (SETTINGS_FD, LOCK_FD)
    actions: list[tuple[object, ...]] = [
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        *((os.POSIX_SPAWN_DUP2, *pair) for pair in zip(sources, targets, strict=True)),
    ]
    python = _python()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        return os.posix_spawn(
            python,
            [python, "-P", "-m", "flask_sse.hub"],
            environment,
            file_actions=actions,
            # A thread that blocks or ignores signals must not start a hub that cannot be ended.
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM),
        )
    finally:
        for number in sources:
            os.close(number)


def _python() -> str:
    """Return the Python interpreter; where Python is embedded, as in uWSGI, that is not sys.executable."""
    if Path(sys.executable or "").name.startswith("python"):
        return sys.executable
    return str(Path(sysconfig.get_path("scripts")) / "python3")
