"""Supervised hub: one of the hubs of a supervisor, with the processes that are in charge of it in turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace

from ...jitter import backoff_seconds, failures_in_a_row
from ..server.control_listener import ControlListener
from .child_process import ChildProcess, end_of
from .job import DRAIN, FAILED, REPLACED, STOP, Job

logger = logging.getLogger(__name__)

RESTART_FIRST_SECONDS = 0.1
RESTART_MAX_SECONDS = 5.0


class SupervisedHub:
    """One hub: the process that is in charge, and at times its successor.

    Args:
        job: What its processes are to do.
        listener: Its listening socket.
        replaces: Whether the first process takes the place of a hub that is there.
        is_activated: Whether systemd has made the socket, and removes it.
    """

    def __init__(self, job: Job, listener: ControlListener, *, replaces: bool, is_activated: bool) -> None:
        self._job = job
        self._listener = listener
        self._replaces = replaces
        self._is_activated = is_activated
        self._process: ChildProcess | None = None
        self._failed_successors: set[int] = set()
        # Held while a process takes the place of another one, so that an end in between is judged after it.
        self._changing = asyncio.Lock()
        self._ending = asyncio.Event()
        self._at_once = False

    async def first_start(self) -> int:
        """Start it; return 0, or the exit code of a process that did not become ready."""
        if self._ending.is_set():
            return 0
        try:
            self._process = await self._start(replaces=self._replaces)
        except OSError as error:
            logger.error("cannot start a hub: %s", error)  # noqa: TRY400 - the text says it all
            return FAILED
        if not await self._process.becomes_ready():
            code = await self._process.exit_code()
            logger.error("hub process %d %s before it was ready", self._process.pid, end_of(code))
            return code if code > 0 else FAILED
        # Not before: until it has replaced the hub that was there, the path is that hub's.
        self._listener.owns_path = not self._is_activated
        if self._ending.is_set():
            self._listener.close()
        return 0

    async def run(self) -> None:
        """Restart it whenever it fails, until ``end``, or until a hub of another parent replaces it."""
        loop = asyncio.get_running_loop()
        failures = 0
        while (process := self._process) is not None:
            began = loop.time()
            code = await process.exit_code()
            async with self._changing:
                if process is not self._process:
                    continue  # its successor is in charge
                # Not by a successor of its own that had its streams and failed before it was ready.
                is_replaced = code == REPLACED and process.successor not in self._failed_successors
                if self._ending.is_set() or is_replaced:
                    return
                failures = failures_in_a_row(failures, loop.time() - began)
                await self._restart(process, code, failures)

    async def _restart(self, process: ChildProcess, code: int, failures: int) -> None:
        logger.error("hub process %d %s; last report: %s", process.pid, end_of(code), process.last_report)
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
                # Short of memory or descriptors, which passes; no other process would start it.
                logger.error("cannot start a hub: %s", error)  # noqa: TRY400 - the text says it all
                failures += 1
            else:
                return

    async def reload(self) -> None:
        """Replace its process by a new one; where that fails, the old one continues."""
        async with self._changing:
            if self._ending.is_set():
                return
            try:
                successor = await self._start(replaces=True)
            except OSError as error:
                logger.error("reload failed, the old hub continues: %s", error)  # noqa: TRY400 - the text says it all
                return
            if await successor.becomes_ready():
                self._process = successor
                if self._ending.is_set():
                    successor.send(STOP if self._at_once else DRAIN)
            else:
                code = await successor.exit_code()
                logger.error("reload failed, the old hub continues: its successor %s", end_of(code))
                self._failed_successors.add(successor.pid)

    def end(self, *, at_once: bool) -> None:
        """End it: all streams one after the other, or at once."""
        self._ending.set()
        self._at_once = at_once
        # First, so that an application that connects from here on does not wait for what ends.
        self._listener.close()
        if self._process is not None:
            self._process.send(STOP if at_once else DRAIN)

    def abandon(self) -> None:
        """Remove the socket, if this process has made it; nothing was started."""
        self._listener.close()

    def close(self) -> None:
        """Close the socket, which stays at its path for the hub that replaced this one."""
        self._listener.release()

    async def _start(self, *, replaces: bool) -> ChildProcess:
        job = replace(self._job, listener=self._listener.sock.fileno(), replaces=replaces)
        process = await ChildProcess.start(job)
        if self._ending.is_set():
            # ``end`` was called while it started, and could not reach it.
            process.send(STOP if self._at_once else DRAIN)
        return process
