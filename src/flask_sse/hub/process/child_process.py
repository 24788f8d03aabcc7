"""Child process: one hub process of a supervisor, and what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal

from .interpreter import hub_command, hub_environment
from .job import Job

_REPORT_BYTES = 64 * 1024


class ChildProcess:
    """A hub process that this one has started.

    Attributes:
        pid: Its number.
        last_report: Its counts, as it reported them last, for the log.
        successor: The process that has replaced it; ``None`` if none has.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid
        self.last_report = "none"
        self.successor: int | None = None
        self._is_ready = asyncio.Event()
        self._reader = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def start(cls, job: Job) -> ChildProcess:
        """Start a process, which does the job.

        Raises:
            OSError: If none can be started now.
        """
        if job.listener is None:
            raise ValueError("a job without listener")
        process = await asyncio.create_subprocess_exec(
            *hub_command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=hub_environment(),
            pass_fds=[job.listener],
            # Ctrl-C at a terminal is for the parent, which ends its hubs in its own way.
            start_new_session=True,
            limit=_REPORT_BYTES,
        )
        started = cls(process)
        started.send(job.line().encode())
        return started

    def send(self, command: bytes) -> None:
        """Write to its standard input; nothing happens if it has ended."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(command)

    async def becomes_ready(self) -> bool:
        """Wait for its first report; ``False`` if it ended before."""
        ready = asyncio.get_running_loop().create_task(self._is_ready.wait())
        await asyncio.wait((ready, self._reader), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return self._is_ready.is_set()

    async def exit_code(self) -> int:
        """Wait for its end and return its exit code; negative for the signal that killed it."""
        code = await self._process.wait()
        # The last line may name its successor, and can come behind the end of the process.
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
            self._is_ready.set()


def end_of(code: int) -> str:
    """Return in words how a process with an exit code has ended."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"
    return f"ended with {code}"
