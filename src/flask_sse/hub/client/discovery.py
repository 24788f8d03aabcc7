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
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from ...brokers.deadline import deadline_extended, seconds_left
from ...errors import HubError, HubStartError, HubUnavailableError, ProtocolError
from ...settings import Settings
from ...urls import MEMORY_SCHEME, memory_name
from ...version import is_older
from ..handover.descriptor_passing import send_with_descriptors
from ..handover.peer_credentials import connect
from ..process.interpreter import hub_command, hub_environment
from ..process.main import JOB_FD, LOCK_FD, Job
from ..protocol.hello import Hello
from ..protocol.packet import ANSWER_SECONDS, Packet, PacketDecoder
from ..server.control_listener import identity, numbered
from .config import HUB_SETTINGS, hub_config

logger = logging.getLogger(__name__)

START_SECONDS = 10.0
_RETRY_SECONDS = 0.02
_MAX_STARTS = 2
# A Unix socket's path has at most 103 bytes on macOS, of which the name of ours takes 22.
_MAX_DIRECTORY_BYTES = 80
_MAX_LOG_BYTES = 1024 * 1024
# What says that no hub process can be started on this machine, whenever it is tried. All other errors may
# pass: ENOSPC, EDQUOT, EINTR, ETIMEDOUT, ESTALE, EMFILE, ENOMEM and those that nobody has thought of.
_IMPOSSIBLE = {
    errno.EACCES,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENOENT,
    errno.ENOEXEC,
    errno.ENOLCK,
    errno.ENOSYS,
    errno.ENOTDIR,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EROFS,
}
_ANSWER_BYTES = 64 * 1024
_CLEAR_OF_TARGETS = 16


class HubConnection:
    """A control connection, introduced; used by one thread at a time.

    Attributes:
        hub_version: The release that the hub is of.
        processes: How many hubs share the streams of an application.
    """

    def __init__(self, path: Path, linger_seconds: float) -> None:
        self._decoder = PacketDecoder(_ANSWER_BYTES)
        self._sock = _socket_of(self)
        try:
            self._wait_no_longer()
            connect(self._sock, path)
            self.send([Hello(os.getpid(), linger_seconds).packet()])
            fields = self.receive()
            self.hub_version = fields.get("version")
            self.processes = int(fields.get("processes", 1))
        except BaseException:
            self.close()
            raise

    def send(self, packets: Sequence[Packet], descriptor: int | None = None) -> None:
        """Write packets, with a descriptor at the first byte."""
        data = b"".join(packet.encode() for packet in packets)
        self._wait_no_longer()
        send_with_descriptors(self._sock, data, [] if descriptor is None else [descriptor])

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
                    kind = OlderHubError if is_older(packet.fields.get("version")) else ProtocolError
                    raise kind(f"the hub refused: {packet.fields.get('reason')}")
                return packet.fields
            self._wait_no_longer()
            data = self._sock.recv(_ANSWER_BYTES)
            if not data:
                raise ConnectionResetError("the hub closed the connection")

    def _wait_no_longer(self) -> None:
        """Let the next operation end with what is left of the time of the call that it is for."""
        self._sock.settimeout(min(ANSWER_SECONDS, seconds_left()))

    def close(self) -> None:
        """Close this end; the hub goes on."""
        self._sock.close()


class Presence:
    """Tells the automatic hub that is there, if any, that an application lives. Waits for nothing.

    Attributes:
        is_known: Whether a hub was told.
    """

    def __init__(self, settings: Settings) -> None:
        self.is_known = False
        try:
            sock = _socket_of(self)
            sock.setblocking(False)
            connect(sock, hub_path(settings, make=False))
            sock.send(Hello(os.getpid(), settings.hub_linger_seconds).packet().encode())
            self.is_known = True
        except (OSError, HubError):
            pass  # none is there, or too many come at once


def _socket_of(owner: object) -> socket.socket:
    """Return a socket that is closed when nobody has its owner any more, for nobody is asked to close it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    weakref.finalize(owner, sock.close)
    return sock


class OlderHubError(ProtocolError):
    """A hub of an older release refused."""


class Finder:
    """Finds one hub, and starts it where it may.

    An automatic hub of an older release is replaced by one of this release, which takes its streams over.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._renewed_at: float | None = None

    def connect(self, number: int = 0) -> HubConnection:
        """Return a new connection.

        Args:
            number: To which of an operator's hubs, where several share the streams.

        Raises:
            HubUnavailableError: If no hub answered and none could be started.
        """
        if self._settings.hub == "auto":
            return self._connect_or_start(hub_path(self._settings))
        path = numbered(Path(self._settings.hub.removeprefix("unix:")), number)
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
                return self._connect(path)
            except (FileNotFoundError, ConnectionError, BlockingIOError) as error:
                # None there, or more applications than it can accept at once. Its text alone, for the error
                # holds this call and, in a circle, all that called it.
                failure = str(error)
                is_crowded = isinstance(error, BlockingIOError)
            except (OSError, ProtocolError) as error:
                raise HubUnavailableError(str(path), error) from error
            if time.monotonic() > deadline:
                raise HubUnavailableError(str(path), failure)
            # What a call promises is for a hub that runs.
            with nullcontext() if is_crowded else deadline_extended():
                if not _start_unless_locked(self._settings, path, may_start=starts < _MAX_STARTS):
                    time.sleep(_RETRY_SECONDS)
                else:
                    starts += 1

    def _connect(self, path: Path) -> HubConnection:
        try:
            connection = HubConnection(path, self._settings.hub_linger_seconds)
        except OlderHubError:
            if time.monotonic() > self._renew(path) + START_SECONDS:
                raise
            raise ConnectionRefusedError("an older hub is being replaced") from None
        if is_older(connection.hub_version):
            self._renew(path)
        return connection

    def _renew(self, path: Path) -> float:
        """Start a hub that takes over from an older one; once. Return when that was."""
        if self._renewed_at is None:
            self._renewed_at = time.monotonic()
            logger.info("the hub at %s is of an older release; starting one that takes over", path)
            try:
                _start(Job(str(path), hub_config(self._settings), replaces=True, only_if_older=True))
            except OSError as error:
                logger.warning("the older hub goes on: %s", error)
        return self._renewed_at


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
            _start(Job(str(path), hub_config(settings), lock=LOCK_FD), lock)
            logger.info("started a hub at %s", path)
        finally:
            os.close(lock)
    except OSError as error:
        raise _start_error(path, f"cannot start one: {error}", error) from error
    return True


def _start_error(path: Path, reason: object, error: OSError) -> HubUnavailableError:
    kind = HubStartError if error.errno in _IMPOSSIBLE else HubUnavailableError
    return kind(str(path), reason)


def hub_path(settings: Settings, *, make: bool = True) -> Path:
    """Return where the hub of this user and configuration listens.

    ``memory://`` lives in its hub, so there the name alone decides, or the application where the URL has no
    name: processes with other settings still meet. Otherwise the broker's URL counts, and those settings that
    a hub reads when it starts, for two values of them cannot share one. All others take effect in the hub
    that is there, and a deploy that changes them ends no stream.

    Args:
        settings: Of an application.
        make: Whether to make the directory if it is not there.

    Raises:
        HubStartError: If there is no directory that is safe to use.
    """
    digest = hashlib.sha256(json.dumps(_identity(settings), sort_keys=True).encode()).hexdigest()[:16]
    return private_directory(make=make) / f"{digest}.sock"


def _identity(settings: Settings) -> object:
    """Return what makes one hub another than all others of this user."""
    name = memory_name(settings.broker_url)
    if name:
        return f"{MEMORY_SCHEME}://{name}"
    if name is not None:
        # Apart from all names, so that no name is another application's.
        return [f"{MEMORY_SCHEME}://", {"application": settings.application}]
    # Only what is set, so that a release with one more setting finds the hub of the one before.
    defaults = Settings(settings.broker_url)
    own = {
        name: getattr(settings, name)
        for name in HUB_SETTINGS.values()
        if getattr(settings, name) != getattr(defaults, name)
    }
    return [settings.broker_url, own]


def private_directory(*, make: bool = True) -> Path:
    """Return this user's own directory for hubs.

    Raises:
        HubStartError: If it belongs to somebody else or others can look into it, or if it is not there and
            cannot or is not to be made.
        HubUnavailableError: If it cannot be made now.
    """
    uid = os.geteuid()
    path = _directory(uid)
    try:
        if make:
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
        status = path.lstat()
    except OSError as error:
        raise _start_error(path, error, error) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o077:
        hint = "change its owner and mode, or set XDG_RUNTIME_DIR to a directory of this user"
        raise HubStartError(str(path), f"not a directory of user {uid} alone (mode 0700); {hint}")
    return path


def _directory(uid: int) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    path = Path(runtime) / "flask-sse"
    if runtime and Path(runtime).is_dir() and len(os.fsencode(path)) <= _MAX_DIRECTORY_BYTES:
        return path
    path = _temporary_directory() / f"flask-sse-{uid}"
    if len(os.fsencode(path)) > _MAX_DIRECTORY_BYTES:
        raise HubStartError(str(path), "path too long for a socket")
    return path


def _temporary_directory() -> Path:
    """Return the system's directory for temporary files.

    Not ``tempfile.gettempdir()``: it writes a file, and where the disk is full at that moment it settles on
    another directory for the life of the process, in which no other process looks for the hub.

    Raises:
        HubStartError: If there is none that can be written to.
    """
    named = filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP")))
    for path in map(Path, (*named, "/tmp", "/var/tmp", "/usr/tmp")):  # noqa: S108 - what we make in it is checked
        if path.is_dir() and os.access(path, os.W_OK | os.X_OK):
            return path.absolute()
    raise HubStartError("the temporary directory", "there is none that can be written to; set TMPDIR")


def _take_lock(path: Path) -> int | None:
    """Return the descriptor of a lock that only this process has; ``None`` if another one has it.

    Raises:
        OSError: If the path cannot be used.
        HubUnavailableError: If its directory has just been removed.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        # The next call makes it again.
        raise HubUnavailableError(str(path), error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if identity(path) == identity(lock):
            return lock
    except BlockingIOError:
        pass
    except BaseException:
        os.close(lock)
        raise
    # Taken by another one, or a file that the hub that had it has removed meanwhile.
    os.close(lock)
    return None


def _start(job: Job, lock: int | None = None) -> None:
    """Start a hub process, which keeps ``lock`` and listens when it is ready."""
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "w") as stream:
        stream.write(job.line())
        stream.flush()
        pid = _spawn(Path(job.path).with_suffix(".log"), {JOB_FD: reader, LOCK_FD: lock})
    # It forks once more and ends at once; the hub itself is nobody's child. Where the application
    # collects its children itself, this one may be gone already.
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _spawn(log: Path, descriptors: Mapping[int, int | None]) -> int:
    """Start Python with descriptors at the numbers that ``hub.process`` expects.

    Not by ``subprocess``, which gevent replaces with one that works in the main thread only.
    """
    if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    # Clear of the target numbers, so that no copy overwrites a source.
    sources = {
        target: fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _CLEAR_OF_TARGETS)
        for target, number in descriptors.items()
        if number is not None
    }
    actions: list[tuple[object, ...]] = [
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        *((os.POSIX_SPAWN_DUP2, source, target) for target, source in sources.items()),
    ]
    command = hub_command()
    try:
        return os.posix_spawn(
            command[0],
            command,
            hub_environment(),
            file_actions=actions,
            # A thread that blocks or ignores signals must not start a hub that cannot be ended.
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM),
        )
    finally:
        for number in sources.values():
            os.close(number)
