"""``flask-sse hub``: the parent of an operator's hubs. It keeps their sockets and starts them again.

Rules of this file: it holds no stream and does nothing that could fail under load. It keeps the listening
sockets open, so that applications wait for a hub that is started again instead of failing. What it tells its
hubs goes through their standard input, what they tell it through their standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import HubUnavailableError, ProtocolError
from ...jitter import backoff_seconds, failures_in_a_row
from ..handover.peer_credentials import connect
from ..protocol.packet import ANSWER_SECONDS, Packet, PacketDecoder
from ..server.control_listener import ControlListener, numbered
from .interpreter import hub_command, hub_environment
from .main import BAD_USAGE, DRAIN, ENDED, FAILED, IN_USE, NOT_TAKEN_OVER, REPLACED, STOP, Job
from .systemd import notify

logger = logging.getLogger(__name__)

RESTART_FIRST_SECONDS = 0.1
RESTART_MAX_SECONDS = 5.0
_REPORT_BYTES = 64 * 1024
_IN_USE_HINT = (
    "a hub runs there already, or another program listens; --replace takes over the streams of that hub, and "
    "another --socket lets this one run beside it"
)


class Supervisor:
    """Runs hubs until it is told to end, or until others take their place.

    Args:
        path: Where applications look for the first hub; the others listen beside it.
        job: What each of them does.
        replaces: Whether to take over from hubs that run there.
        given: Listening sockets that are there before us, and after.
    """

    def __init__(self, path: Path, job: Job, *, replaces: bool, given: Sequence[socket.socket]) -> None:
        self._path = path
        self._job = job
        self._replaces = replaces
        self._given = given
        self._hubs: list[_Hub] = []
        self._signals = 0
        self._tried = path
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve; return the exit code."""
        try:
            self._hubs = self._found()
        except HubUnavailableError as error:
            logger.error("%s", error)  # noqa: TRY400 - the text says it all
            return NOT_TAKEN_OVER
        except OSError as error:
            path = self._tried
            is_in_use = error.errno == errno.EADDRINUSE and path.is_socket()
            reason = _IN_USE_HINT if is_in_use else error
            logger.error("cannot begin at %s: %s", path, reason)  # noqa: TRY400 - the text says it all
            return IN_USE if is_in_use else BAD_USAGE
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._begin_to_renew)
        return await self._serve()

    async def _serve(self) -> int:
        codes = await asyncio.gather(*(hub.first_start() for hub in self._hubs))
        failures = {hub: code for hub, code in zip(self._hubs, codes, strict=True) if code}
        if len(failures) == len(codes) or (failures and not self._replaces):
            self._end("not all hubs could begin")
        else:
            # Those that were not taken over are in charge of their streams where they are.
            self._hubs = [hub for hub in self._hubs if hub not in failures]
            if not self._signals:
                logger.info("ready at %s", self._path)
                notify("READY=1")
        await asyncio.gather(*(hub.run() for hub in self._hubs))
        for hub in (*self._hubs, *failures):
            hub.close()
        return max(failures.values(), default=ENDED)

    def _found(self) -> list[_Hub]:
        """Return the hubs to start: with sockets of systemd, of the hubs that are there, or new ones."""
        hubs: list[_Hub] = []
        try:
            for number in range(self._job.processes):
                path = self._tried = numbered(self._path, number)
                job = replace(self._job, path=str(path))
                if self._replaces and (sock := ask_for_listener(path, self._job.processes)):
                    is_given = number < len(self._given)
                    hubs.append(
                        _Hub(
                            job,
                            ControlListener(path, sock, owns_path=False),
                            replaces=True,
                            is_given=is_given,
                        )
                    )
                elif number < len(self._given):
                    listener = ControlListener(path, self._given[number], owns_path=False)
                    hubs.append(_Hub(job, listener, replaces=False, is_given=True))
                else:
                    hubs.append(_Hub(job, ControlListener.at(path), replaces=False, is_given=False))
        except BaseException:
            for hub in hubs:
                hub.leave()
            raise
        return hubs

    def _end(self, reason: str) -> None:
        self._signals += 1
        logger.info("%s: ending", reason)
        notify("STOPPING=1")
        for hub in self._hubs:
            hub.end(at_once=self._signals > 1)

    def _begin_to_renew(self) -> None:
        task = asyncio.get_running_loop().create_task(self._renew())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew(self) -> None:
        """Replace all hubs by new processes, which take over their streams."""
        if self._signals:
            return
        logger.info("SIGHUP: starting new hubs")
        notify("RELOADING=1", monotonic=True)
        for hub in self._hubs:
            await hub.renew()
        if not self._signals:
            notify("READY=1")


class _Hub:
    """One hub: the process that is in charge, and at times its successor.

    Args:
        job: What its processes do.
        listener: Its listening socket.
        replaces: Whether the first process takes over from a hub that is there.
        is_given: Whether the socket is there before us, and after.
    """

    def __init__(self, job: Job, listener: ControlListener, *, replaces: bool, is_given: bool) -> None:
        self._job = job
        self._listener = listener
        self._replaces = replaces
        self._is_given = is_given
        self._process: _Process | None = None
        self._dead_heirs: set[int] = set()
        self._changing = asyncio.Lock()
        self._ending = asyncio.Event()
        self._at_once = False

    async def first_start(self) -> int:
        """Start it; return 0, or the exit code of a process that did not begin."""
        if self._ending.is_set():
            return 0
        try:
            self._process = await self._start(replaces=self._replaces)
        except OSError as error:
            logger.error("cannot start a hub: %s", error)  # noqa: TRY400 - the text says it all
            return FAILED
        if not await self._process.has_begun():
            code = await self._process.exit_code()
            logger.error("hub process %d %s before it began", self._process.pid, _how(code))
            return code if code > 0 else FAILED
        # From here on it is ours, and goes with us.
        self._listener.owns_path = not self._is_given
        if self._ending.is_set():
            self._listener.close()
        return 0

    async def run(self) -> None:
        """Start it again whenever it fails, until it is told to end or another hub takes over."""
        loop = asyncio.get_running_loop()
        failures = 0
        while (process := self._process) is not None:
            began = loop.time()
            code = await process.exit_code()
            async with self._changing:
                if process is not self._process:
                    continue  # its successor is in charge
                if self._ending.is_set() or (code == REPLACED and process.successor not in self._dead_heirs):
                    return
                failures = failures_in_a_row(failures, loop.time() - began)
                await self._start_again(process, code, failures)

    async def _start_again(self, process: _Process, code: int, failures: int) -> None:
        logger.error("hub process %d %s; last report: %s", process.pid, _how(code), process.last_report)
        self._process = None
        while not self._ending.is_set():
            pause = backoff_seconds(failures, RESTART_FIRST_SECONDS, RESTART_MAX_SECONDS)
            logger.info("starting another one in %.2g s", pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause)
                return
            try:
                self._process = await self._start(replaces=False)
            except OSError as error:
                # Short of memory or descriptors: it passes, and nobody else would start it.
                logger.error("cannot start a hub: %s", error)  # noqa: TRY400 - the text says it all
                failures += 1
            else:
                return

    async def renew(self) -> None:
        """Let a new process take over; where it cannot, the old one goes on."""
        async with self._changing:
            if self._ending.is_set():
                return
            try:
                successor = await self._start(replaces=True)
            except OSError as error:
                logger.error("the hub of before goes on: %s", error)  # noqa: TRY400 - the text says it all
                return
            if await successor.has_begun():
                self._process = successor
                if self._ending.is_set():
                    successor.tell(STOP if self._at_once else DRAIN)
            else:
                code = await successor.exit_code()
                logger.error("the hub of before goes on: its successor %s", _how(code))
                self._dead_heirs.add(successor.pid)

    def end(self, *, at_once: bool) -> None:
        """Let it end its streams, or at once."""
        self._ending.set()
        self._at_once = at_once
        # Whoever comes now must not wait for what ends.
        self._listener.close()
        if self._process is not None:
            self._process.tell(STOP if at_once else DRAIN)

    def leave(self) -> None:
        """Leave the socket as it was found."""
        self._listener.close()

    def close(self) -> None:
        """Leave the socket to whoever took over."""
        self._listener.release()

    async def _start(self, *, replaces: bool) -> _Process:
        job = replace(self._job, listener=self._listener.sock.fileno(), replaces=replaces)
        process = await _Process.start(job)
        if self._ending.is_set():
            # Told to end meanwhile.
            process.tell(STOP if self._at_once else DRAIN)
        return process


class _Process:
    """A hub process and what it reports."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.last_report = "none"
        self.successor: int | None = None
        self._begun = asyncio.Event()
        self._reader = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def start(cls, job: Job) -> _Process:
        if job.listener is None:
            raise ValueError("a job without listener")
        process = await asyncio.create_subprocess_exec(
            *hub_command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=hub_environment(),
            pass_fds=[job.listener],
            # Ctrl-C at a terminal is for the parent, which tells it to its hubs.
            start_new_session=True,
            limit=_REPORT_BYTES,
        )
        started = cls(process)
        started.tell(job.line().encode())
        return started

    def tell(self, command: bytes) -> None:
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(command)

    async def has_begun(self) -> bool:
        """Wait for its first report; ``False`` if it ended before."""
        begun = asyncio.get_running_loop().create_task(self._begun.wait())
        await asyncio.wait((begun, self._reader), return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        return self._begun.is_set()

    async def exit_code(self) -> int:
        code = await self._process.wait()
        await self._reader
        return code

    async def _read(self) -> None:
        if self._process.stdout is None:
            return
        while line := await self._process.stdout.readline():
            with contextlib.suppress(ValueError):
                report = json.loads(line)
                if "successor" in report:
                    self.successor = report["successor"]
                else:
                    self.last_report = json.dumps(report)
            self._begun.set()


def _how(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"
    return f"ended with {code}"


def ask_for_listener(path: Path, processes: int) -> socket.socket | None:
    """Return the listening socket of the hub that is there; ``None`` if there is none.

    Raises:
        HubUnavailableError: If it belongs to somebody else, or does not give its socket.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(ANSWER_SECONDS)
            connect(sock, path)
            sock.sendall(Packet("listener", {}).encode())
            data, descriptors, _, _ = socket.recv_fds(sock, _REPORT_BYTES, 1)
            packet = next(PacketDecoder(0).feed(data))
            if packet.op == "refused" or not descriptors:
                raise ProtocolError(str(packet.fields.get("reason")))
            listener = socket.socket(fileno=descriptors[0])
            os.set_inheritable(listener.fileno(), False)
            if packet.fields.get("processes") != processes:
                listener.close()
                raise ProtocolError(
                    f"it is one of {packet.fields.get('processes')} processes, not {processes}"
                )
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (OSError, ProtocolError, StopIteration) as error:
        raise HubUnavailableError(str(path), error) from error
    return listener


def supervise(path: Path, job: Job, *, replaces: bool, given: Sequence[socket.socket]) -> int:
    """Run hubs until they are told to end; return the exit code."""

    async def run() -> int:
        return await Supervisor(path, job, replaces=replaces, given=given).run()

    return asyncio.run(run())
