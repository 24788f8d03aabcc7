"""Launcher of hub processes, one at a time per socket.

The lock file decides. The process that starts a hub takes the lock and passes it on to the hub, so a lock
that is held means a hub that runs or is being started, and a free one means none: the kernel releases it
however the hub ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ...errors import HubStartError, HubUnavailableError
from ...settings import Settings
from ..process.interpreter import hub_command, hub_environment
from ..process.job import JOB_FD, LOCK_FD, Job
from ..server.control_listener import identity
from .config import hub_config
from .runtime_directory import start_error

logger = logging.getLogger(__name__)

_MAX_LOG_BYTES = 1024 * 1024
_CLEAR_OF_TARGETS = 16


def start_unless_locked(settings: Settings, path: Path, *, may_start: bool) -> bool:
    """Start a hub if none runs or is being started; return whether one was started.

    Raises:
        HubStartError: If none can be started here, or those that were ended at once.
        HubUnavailableError: If none can be started now.
    """
    try:
        lock = take_lock(path.with_suffix(".lock"))
        if lock is None:
            return False
        try:
            if not may_start:
                log = path.with_suffix(".log")
                raise HubStartError(str(path), f"started twice, ended at once; see {log}")
            start(Job(str(path), hub_config(settings), lock=LOCK_FD), lock)
            logger.info("started a hub at %s", path)
        finally:
            os.close(lock)
    except OSError as error:
        raise start_error(path, f"cannot start one: {error}", error) from error
    return True


def take_lock(path: Path) -> int | None:
    """Return the descriptor of a lock that only this process has; ``None`` if another one has it.

    Raises:
        OSError: If the path cannot be used.
        HubUnavailableError: If its directory has just been removed.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        # The next call makes the directory again.
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
    # Held by another process; or a hub that ended has removed the file between our open and our lock, and the
    # next process locks a new file of that name.
    os.close(lock)
    return None


def start(job: Job, lock: int | None = None) -> None:
    """Start a hub process, which keeps ``lock`` and listens when it is ready."""
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "w") as stream:
        stream.write(job.line())
        stream.flush()
        pid = _spawn(Path(job.path).with_suffix(".log"), {JOB_FD: reader, LOCK_FD: lock})
    # It forks once more and ends at once, so the hub itself is no child of the application (double fork).
    # Where the application waits for its children itself, this one may be gone already.
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
