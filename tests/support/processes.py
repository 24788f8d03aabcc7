"""Child processes that tests start, and end by their own pid."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import psutil

from .patience import PATIENT_SECONDS

T = TypeVar("T")

POLL_SECONDS = 0.01
TERMINATE_SECONDS = 3.0  # what gets that long to end by itself before it is killed
OUTPUT_SHOWN = 8000  # characters of output in an error, the last ones
# Below the ports that systems give to outgoing connections: none of those can take a port while its
# server restarts, nor can a client that keeps trying connect to itself. Above 10080, the last of those to
# which browsers do not connect (Fetch, 2.9 "Port blocking").
PORTS = range(10_081, 32_000)


class ProcessError(Exception):
    """A process ended, or did not do what was waited for; the text holds its output."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(
    condition: Callable[[], T | None], seconds: float = PATIENT_SECONDS, what: str = "condition"
) -> T:
    """Return the first true value of ``condition``, or raise ``TimeoutError`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"{what}: not within {seconds} s"
            raise TimeoutError(message)
        time.sleep(POLL_SECONDS)


class Process:
    """A started process; leaving the ``with`` block ends it and what it forked.

    It gets a session of its own, so that what it forked can be told from what it set free on purpose:
    a hub has a session of *its* own and outlives the process, as it does in production.

    Args:
        argv: Its command line.
        env: Variables on top of our own.
        cwd: Its working directory; ``None`` for ours.
        ready: The port that it listens on, or the text that it writes, once it is started; the
            constructor waits for it.
        stdin: A descriptor that it reads from; nothing by default.

    Attributes:
        allowed: How the path of its program must begin, one of these.
        argv: Its command line.
        pid: Its process id.
    """

    allowed: ClassVar[tuple[str, ...]] = ("",)

    def __init__(
        self,
        argv: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: int | str | None = None,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.argv = [str(word) for word in argv]
        if not self.argv[0].startswith(self.allowed):
            raise ProcessError(f"{self.argv[0]}: only tests with the marker `server` start it")
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._popen = subprocess.Popen(
            self.argv,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._popen.pid
        try:
            if isinstance(ready, int):
                self.wait_for_port(ready)
            elif ready:
                self.wait_for_line(ready)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def output(self) -> str:
        """Return all it has written so far, both streams; also after its end."""
        if self._output.closed:
            return self._last_output
        descriptor = self._output.fileno()
        # pread, for the child's writes move the offset of the same open file.
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")

    def wait(self, seconds: float = PATIENT_SECONDS) -> int:
        """Wait for its end and return the exit status, negative for a signal."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self._error(f"did not end within {seconds} s") from None

    def wait_for_line(self, text: str, seconds: float = PATIENT_SECONDS) -> str:
        """Return the first line of output with ``text`` in it, as soon as there is one."""

        def line() -> str | None:
            *whole, _ = self.output().split("\n")
            return next((line for line in whole if text in line), None)

        return self._wait_until(line, seconds, f"no line with {text!r}")

    def wait_for_port(self, port: int, seconds: float = PATIENT_SECONDS) -> None:
        """Return as soon as ``port`` of 127.0.0.1 takes connections."""

        def connects() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        self._wait_until(connects, seconds, f"does not listen on port {port}")

    def terminate(self, seconds: float = PATIENT_SECONDS) -> int:
        """Send SIGTERM and return the exit status."""
        self._popen.terminate()
        return self.wait(seconds)

    def kill(self) -> int:
        """Send SIGKILL to this process alone and return the exit status."""
        self._popen.kill()
        return self.wait()

    def kill_tree(self) -> None:
        """Send SIGKILL to this process and to all below it, at once, as a machine that loses power."""
        for pid in (self.pid, *children(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """End it: SIGTERM, then SIGKILL for what of its session is still there."""
        if self._output.closed:
            return
        if self.alive:
            with contextlib.suppress(ProcessError):
                self.terminate(TERMINATE_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self._last_output = self.output()
        self._output.close()

    def _wait_until(self, condition: Callable[[], T | None], seconds: float, complaint: str) -> T:
        def met() -> T | None:
            alive = self.alive  # asked first: it may do what we wait for and then end
            value = condition()
            if not value and not alive:
                raise self._error(f"{complaint}; it ended with {self.wait()}")
            return value

        try:
            return wait_until(met, seconds)
        except TimeoutError:
            raise self._error(f"{complaint} within {seconds} s") from None

    def _error(self, complaint: str) -> ProcessError:
        return ProcessError(f"{shlex.join(self.argv)}: {complaint}\n{self.output()[-OUTPUT_SHOWN:]}")


def descriptors(pid: int) -> int:
    """Return how many file descriptors the process has open."""
    return psutil.Process(pid).num_fds()


def children(pid: int) -> list[int]:
    """Return the pids of all processes below ``pid``; none if it has ended."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def running(pid: int) -> bool:
    """Tell whether the process has not ended; a zombie has."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """Keep a process from running; its connections stay open, and new ones are made."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
