"""The hub as a process of its own: what happens between its start and its event loop.

Whoever starts it writes a *job* to its standard input, a line of JSON. An application then leaves it alone;
the command ``flask-sse hub`` stays its parent, keeps the other end open, and reads what it reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...errors import HubUnavailableError, InvalidSettingError
from ...wording import counted
from ..handover.receiver import Receiver
from ..server.control_listener import ControlListener
from ..server.descriptors import raise_descriptor_limit
from ..server.hub_log import log_crash
from ..server.hub_loop import HubLoop
from ..server.hub_server import HubServer
from ..server.revocation_journal import Journal
from .logs import log_to_stderr

logger = logging.getLogger(__name__)

# The descriptors of a process that an application starts.
JOB_FD, LOCK_FD = 0, 3

# Exit codes, of this process and of the command.
ENDED = 0
FAILED = 1
BAD_USAGE = 2
IN_USE = 3
NOT_TAKEN_OVER = 4

# Told to the parent only.
REPLACED = 5

# What the parent may write behind the job.
DRAIN, STOP = b"drain\n", b"stop\n"

REPORT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What a hub process is to do.

    Attributes:
        path: Where applications look for it.
        config: What ``hub_config`` returns.
        processes: How many hubs share the streams.
        lock: The descriptor of the lock that comes with it; ``None`` where it takes over, or has a parent.
        listener: The descriptor of a listening socket that its parent keeps; ``None`` where it has none.
        replaces: Whether it takes the place of the hub that is there, by a handover.
        only_if_older: Whether it does so only if that hub is of an older release.
        log_level: From where on it writes to its log.
        json_logs: Whether it writes a JSON object a line.
    """

    path: str
    config: dict[str, Any] = field(repr=False)
    processes: int = 1
    lock: int | None = None
    listener: int | None = None
    replaces: bool = False
    only_if_older: bool = False
    log_level: str = "INFO"
    json_logs: bool = False

    def line(self) -> str:
        """Return what is written to the standard input of the process."""
        # A line, for the end of the file may not come: a fork of another thread copies the pipe.
        return json.dumps(asdict(self)) + "\n"


def main() -> int:
    """Do the job that stands on standard input; return the exit code."""
    try:
        if os.isatty(JOB_FD):
            raise ValueError("a person")
        job = Job(**json.loads(_read_line(JOB_FD)))
    except (ValueError, TypeError, OSError):
        sys.stderr.write("a hub of your own is started with: flask-sse hub --socket PATH\n")
        return BAD_USAGE
    log_to_stderr(job.log_level, json_logs=job.json_logs)
    # Where Python itself crashes, it writes what each thread was doing.
    faulthandler.enable()
    if job.listener is None:
        _leave_the_application(job)
    raise_descriptor_limit()
    return _run(_serve(job))


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # No byte more: what the parent tells may come right behind it.
        piece = os.read(descriptor, 1)
        if not piece:
            break
        line += piece
    return line


def _leave_the_application(job: Job) -> None:
    if os.fork():
        # The application waits for this process; the hub itself is nobody's child.
        os._exit(0)
    os.setsid()
    os.chdir("/")
    # A web server's listening socket must not live on in here after the server has stopped.
    for number in map(int, os.listdir("/dev/fd")):  # noqa: PTH208 - numbers, not paths
        if number > sys.stderr.fileno() and number != job.lock:
            with contextlib.suppress(OSError):
                os.close(number)


def _run(main: Coroutine[Any, Any, int]) -> int:
    """Run the event loop to its end, also where the loop itself is out of memory for a moment."""
    with asyncio.Runner(loop_factory=HubLoop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        while True:
            try:
                return loop.run_until_complete(task)
            except MemoryError as error:
                log_crash(logger, error, "the event loop", {})
                if task.done():
                    return FAILED
            except Exception as error:  # noqa: BLE001 - it is the last one that sees it
                log_crash(logger, error, "serve", {})
                return FAILED


async def _serve(job: Job) -> int:
    path = Path(job.path)
    try:
        server = HubServer(**job.config, processes=job.processes)
        if job.replaces:
            _take_over(server, job, path)
        else:
            _listen(server, job, path)
    except HubUnavailableError as error:
        logger.error("%s", error)  # noqa: TRY400 - the text says it all
        return NOT_TAKEN_OVER
    except (OSError, InvalidSettingError) as error:
        logger.error("cannot begin at %s: %s", path, error)  # noqa: TRY400 - the text says it all
        return BAD_USAGE
    _drain_on_signals(server)
    logger.info("ready at %s", path)
    reports = None
    if job.listener is not None:
        reports = asyncio.create_task(_report(server))
        asyncio.get_running_loop().add_reader(JOB_FD, _obey, server)
    reason = await server.run()
    if reports is not None:
        reports.cancel()
        if server.is_replaced:
            _tell_parent({"successor": server.successor})
    logger.info("stopped: %s; %s", reason, server.status())
    return REPLACED if server.is_replaced else ENDED


def _drain_on_signals(server: HubServer) -> None:
    """End on SIGTERM and SIGINT: the first one drains, the second one ends at once."""
    received: list[str] = []

    def end(name: str) -> None:
        if received:
            server.stop(name)
        received.append(name)
        server.drain(name)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, number.name)


def _listen(server: HubServer, job: Job, path: Path) -> None:
    server.keep_revocations(Journal.beside(path))
    if job.listener is not None:
        server.applications.listen(_kept(job.listener, path), linger_seconds=None)
        return
    # The lock says that no other hub lives here: what is there is left over.
    path.unlink(missing_ok=True)
    # The socket appears when the hub is ready, so whoever can connect is answered.
    server.applications.listen(ControlListener.at(path, job.lock), linger_seconds=0.0)


def _take_over(server: HubServer, job: Job, path: Path) -> None:
    receiver = Receiver(path, only_if_older=job.only_if_older)
    snapshot = receiver.snapshot
    server.restore(snapshot)
    listener = ControlListener(path, socket.socket(fileno=snapshot.listener), snapshot.lock)
    if job.listener is not None:
        listener.release()
        listener = _kept(job.listener, path)
    # All is restored: what fails from here on would end the streams.
    receiver.commit()
    server.keep_revocations(Journal.beside(path))
    streams, apps = counted(len(snapshot.streams), "stream"), counted(len(snapshot.apps), "application")
    logger.info("took over %s and %s", streams, apps)
    server.applications.listen(listener, linger_seconds=snapshot.linger_seconds)


def _kept(listener: int, path: Path) -> ControlListener:
    return ControlListener(path, socket.socket(fileno=listener), owns_path=False)


def _obey(server: HubServer) -> None:
    """Do what the parent asks for; one that is gone asks for the end."""
    command = os.read(JOB_FD, 1024)
    if not command:
        asyncio.get_running_loop().remove_reader(JOB_FD)
        server.drain("its parent is gone")
    elif STOP in command:
        server.stop("told twice to end")
    else:
        server.drain("told to end")


def _tell_parent(report: Mapping[str, object]) -> None:
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), json.dumps(report).encode() + b"\n")


async def _report(server: HubServer) -> None:
    """Tell the parent, from time to time, how the hub is: should it be killed, the last report remains."""
    os.set_blocking(sys.stdout.fileno(), False)
    while True:
        _tell_parent(server.status())
        await asyncio.sleep(REPORT_SECONDS)
