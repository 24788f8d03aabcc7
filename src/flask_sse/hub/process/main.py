"""Main function of a hub process: what happens between its start and its event loop.

The process that starts it writes a *job* to its standard input, a line of JSON. An application leaves it
alone then; the command ``flask-sse hub`` stays its parent, keeps the other end open, and reads its reports.
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
from ..server.revocation_journal import RevocationJournal
from .job import BAD_USAGE, ENDED, FAILED, JOB_FD, NOT_REPLACED, REPLACED, STOP, Job
from .logs import log_to_stderr

logger = logging.getLogger(__name__)

REPORT_SECONDS = 5.0


def main() -> int:
    """Do the job that stands on standard input; return the exit code."""
    try:
        if os.isatty(JOB_FD):
            raise ValueError("a terminal")
        job = Job(**json.loads(_read_line(JOB_FD)))
    except (ValueError, TypeError, OSError):
        sys.stderr.write("a hub of your own is started with: flask-sse hub --socket PATH\n")
        return BAD_USAGE
    log_to_stderr(job.log_level, json_logs=job.json_logs)
    # Where Python itself crashes, it writes what each thread was doing.
    faulthandler.enable()
    if job.listener is None:
        _daemonize(job)
    raise_descriptor_limit()
    return _run(_serve(job))


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        # Byte by byte: a command of the parent may follow at once, and must stay in the pipe for the loop.
        piece = os.read(descriptor, 1)
        if not piece:
            break
        line += piece
    return line


def _daemonize(job: Job) -> None:
    """Detach this process from the application that started it (a double fork).

    The first one is the application's own, as it spawns this process.
    """
    if os.fork():
        # The application waits for this process alone, which ends here. The hub is then a child of the
        # system: it never stays as a zombie, and no server that waits for any of its children collects it.
        os._exit(0)
    # A session of its own: Ctrl-C at the application's terminal, and the hang-up when that is closed, go to
    # its session, and many process managers kill the group of a server.
    os.setsid()
    # No file system stays busy for as long as the hub lives.
    os.chdir("/")
    # A web server's listening socket would keep its port in use after the server has stopped.
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
            _replace(server, job, path)
        else:
            _listen(server, job, path)
    except HubUnavailableError as error:
        logger.error("%s", error)  # noqa: TRY400 - the text says it all
        return NOT_REPLACED
    except (OSError, InvalidSettingError) as error:
        logger.error("cannot start at %s: %s", path, error)  # noqa: TRY400 - the text says it all
        return BAD_USAGE
    _drain_on_signals(server)
    logger.info("ready at %s", path)
    reports = None
    if job.listener is not None:
        reports = asyncio.create_task(_report_status(server))
        asyncio.get_running_loop().add_reader(JOB_FD, _run_command, server)
    reason = await server.run()
    if reports is not None:
        reports.cancel()
        if server.is_replaced:
            _report({"successor": server.successor})
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
    server.keep_revocations(RevocationJournal.beside(path))
    if job.listener is not None:
        server.applications.listen(_parents_listener(job.listener, path), linger_seconds=None)
        return
    # The lock says that no other hub lives here: a socket that is there is left over from a dead one.
    path.unlink(missing_ok=True)
    # Bound last: an application that can connect gets an answer.
    server.applications.listen(ControlListener.at(path, job.lock), linger_seconds=0.0)


def _replace(server: HubServer, job: Job, path: Path) -> None:
    receiver = Receiver(path, only_if_older=job.only_if_older)
    snapshot = receiver.snapshot
    server.restore(snapshot)
    listener = ControlListener(path, socket.socket(fileno=snapshot.listener), snapshot.lock)
    if job.listener is not None:
        # The parent has passed the same socket, and removes it from its path; one copy is enough.
        listener.release()
        listener = _parents_listener(job.listener, path)
    # All is restored: what fails from here on would end the streams.
    receiver.commit()
    # Not before the commit: until then the file is the predecessor's, which continues if that fails.
    server.keep_revocations(RevocationJournal.beside(path))
    streams, apps = counted(len(snapshot.streams), "stream"), counted(len(snapshot.apps), "application")
    logger.info("handover received: %s and %s", streams, apps)
    server.applications.listen(listener, linger_seconds=snapshot.linger_seconds)


def _parents_listener(listener: int, path: Path) -> ControlListener:
    return ControlListener(path, socket.socket(fileno=listener), owns_path=False)


def _run_command(server: HubServer) -> None:
    """Run a command of the parent; the end of the file says that the parent has ended, and drains, too."""
    command = os.read(JOB_FD, 1024)
    if not command:
        asyncio.get_running_loop().remove_reader(JOB_FD)
        server.drain("its parent is gone")
    elif STOP in command:
        server.stop("immediate stop requested")
    else:
        server.drain("stop requested")


def _report(report: Mapping[str, object]) -> None:
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), json.dumps(report).encode() + b"\n")


async def _report_status(server: HubServer) -> None:
    """Report counts to the parent every few seconds: if this process is killed, it logs the last of them."""
    os.set_blocking(sys.stdout.fileno(), False)
    while True:
        _report(server.status())
        await asyncio.sleep(REPORT_SECONDS)
