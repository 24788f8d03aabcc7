"""Supervisor: the process of ``flask-sse hub``, the parent of an operator's hubs, which restarts them.

Rules of this file: it holds no stream and does nothing that could fail under load. It keeps the listening
sockets open, so that applications wait for a hub that is restarted instead of failing: the kernel queues
their connections. It sends commands to its hubs through their standard input, and reads reports from their
standard output.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import HubUnavailableError, ProtocolError
from ..handover.peer_credentials import connect
from ..protocol.packet import ANSWER_SECONDS, Packet, PacketDecoder
from ..server.control_listener import ControlListener, numbered
from .job import BAD_USAGE, ENDED, IN_USE, NOT_REPLACED, Job
from .supervised_hub import SupervisedHub
from .systemd import notify

logger = logging.getLogger(__name__)

_ANSWER_BYTES = 64 * 1024
_IN_USE_HINT = (
    "a hub runs there already, or another program listens; --replace replaces that hub and keeps its "
    "streams; another --socket lets this one run beside it"
)


class Supervisor:
    """Runs hubs until a signal ends it, or until hubs of another parent replace them.

    Args:
        path: Where applications look for the first hub; the others listen beside it.
        job: What each of them is to do.
        replaces: Whether to take the place of hubs that run there.
        activated: Listening sockets that systemd has made, and removes.
    """

    def __init__(self, path: Path, job: Job, *, replaces: bool, activated: Sequence[socket.socket]) -> None:
        self._path = path
        self._job = job
        self._replaces = replaces
        self._activated = activated
        self._hubs: list[SupervisedHub] = []
        self._signals = 0
        self._tried = path
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve; return the exit code."""
        try:
            self._hubs = self._make_hubs()
        except HubUnavailableError as error:
            logger.error("%s", error)  # noqa: TRY400 - the text says it all
            return NOT_REPLACED
        except OSError as error:
            path = self._tried
            is_in_use = error.errno == errno.EADDRINUSE and path.is_socket()
            reason = _IN_USE_HINT if is_in_use else error
            logger.error("cannot start at %s: %s", path, reason)  # noqa: TRY400 - the text says it all
            return IN_USE if is_in_use else BAD_USAGE
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._start_reload)
        return await self._serve()

    async def _serve(self) -> int:
        codes = await asyncio.gather(*(hub.first_start() for hub in self._hubs))
        failures = {hub: code for hub, code in zip(self._hubs, codes, strict=True) if code}
        if len(failures) == len(codes) or (failures and not self._replaces):
            self._end("not all hubs could start")
        else:
            # A hub that could not be replaced keeps its streams, and is another parent's.
            self._hubs = [hub for hub in self._hubs if hub not in failures]
            if not self._signals:
                logger.info("ready at %s", self._path)
                notify("READY=1")
        await asyncio.gather(*(hub.run() for hub in self._hubs))
        for hub in (*self._hubs, *failures):
            hub.close()
        return max(failures.values(), default=ENDED)

    def _make_hubs(self) -> list[SupervisedHub]:
        """Return the hubs to start: with the sockets of the hubs that are there, of systemd, or new ones."""
        hubs: list[SupervisedHub] = []
        try:
            for number in range(self._job.processes):
                path = self._tried = numbered(self._path, number)
                job = replace(self._job, path=str(path))
                running = ask_for_listener(path, self._job.processes) if self._replaces else None
                is_activated = number < len(self._activated)
                if running is not None:
                    listener = ControlListener(path, running, owns_path=False)
                elif is_activated:
                    listener = ControlListener(path, self._activated[number], owns_path=False)
                else:
                    listener = ControlListener.at(path)
                hubs.append(
                    SupervisedHub(job, listener, replaces=running is not None, is_activated=is_activated)
                )
        except BaseException:
            for hub in hubs:
                hub.abandon()
            raise
        return hubs

    def _end(self, reason: str) -> None:
        self._signals += 1
        logger.info("%s: ending", reason)
        notify("STOPPING=1")
        for hub in self._hubs:
            hub.end(at_once=self._signals > 1)

    def _start_reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        """Replace all hubs by new processes, with their streams."""
        if self._signals:
            return
        logger.info("SIGHUP: starting new hubs")
        notify("RELOADING=1", monotonic=True)
        for hub in self._hubs:
            await hub.reload()
        if not self._signals:
            notify("READY=1")


def ask_for_listener(path: Path, processes: int) -> socket.socket | None:
    """Return the listening socket of the hub that is there; ``None`` if there is none.

    Raises:
        HubUnavailableError: If it belongs to another user, or does not send its socket.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(ANSWER_SECONDS)
            connect(sock, path)
            sock.sendall(Packet("listener", {}).encode())
            data, descriptors, _, _ = socket.recv_fds(sock, _ANSWER_BYTES, 1)
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


def supervise(path: Path, job: Job, *, replaces: bool, activated: Sequence[socket.socket]) -> int:
    """Run hubs until a signal ends them; return the exit code."""

    async def run() -> int:
        return await Supervisor(path, job, replaces=replaces, activated=activated).run()

    return asyncio.run(run())
