"""What every measurement needs: cores, CPU time, the client, medians and the table of targets."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from tests.tools import ROOT

ROUNDS = 5
# What is measured has a core of its own; clients, publishers and brokers share the other one.
SERVER_CORE, CLIENT_CORE = 0, 1
NATIVE = Path(__file__).parent / "native"
BUILD = ROOT / "build" / "benchmarks"
EVENT_BYTES = 100

K = TypeVar("K")


def use_client_core() -> None:
    """Run this process, and what it starts from here on, beside the clients."""
    os.sched_setaffinity(0, {CLIENT_CORE})


def on_server_core(*argv: str | Path) -> list[str | Path]:
    """Return a command line that runs on the core of what is measured, with all that it starts."""
    return ["taskset", "--cpu-list", str(SERVER_CORE), *argv]


def on_both_cores(*argv: str | Path) -> list[str | Path]:
    """Return a command line whose process may use both cores."""
    return ["taskset", "--cpu-list", f"{SERVER_CORE},{CLIENT_CORE}", *argv]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time that processes used so far, kernel and ended threads included."""
    # Linux: the clock of another process has this number.
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def native(name: str) -> Path:
    """Compile a C program of ``native`` and return it."""
    source, program = NATIVE / f"{name}.c", BUILD / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-o", program, source], check=True, timeout=60)
    return program


def event_data() -> str:
    """Return data that make an event of ``EVENT_BYTES``: a mark, the time in nanoseconds, and a filler."""
    return f"@{time.monotonic_ns():019d}".ljust(EVENT_BYTES - len("data:\n\n"), "x")


class Commanded:
    """A program that takes commands on standard input and answers each with a line."""

    def __init__(self, argv: Sequence[str | Path]) -> None:
        words = list(map(str, argv))
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def ask(self, command: str) -> list[str]:
        """Return the words of the answer behind "ok"."""
        self.tell(command)
        return self.answer(command)

    def tell(self, command: str) -> None:
        """Send a command whose ``answer`` is taken later."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def answer(self, command: str) -> list[str]:
        """Wait for the answer to a command."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        word, *rest = line.split() or ["nothing"]
        if word != "ok":
            raise RuntimeError(f"{self._process.args}: {command}: {line}")
        return rest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()


class Client(Commanded):
    """Streams of ``native/client.c``.

    Args:
        port: Of the server.
        path: Of the streams; ``%d`` stands for the number of each.
        count: How many.
        at_once: How many may wait for their response head at a time.
        header: One more line of the requests.
    """

    def __init__(self, port: int, path: str, count: int, *, at_once: int = 64, header: str = "") -> None:
        super().__init__([native("client"), str(port), path, str(count), str(at_once), header])
        self.count = count

    def wait_opened(self, seconds: float = 60) -> None:
        """Return when every stream has its response head."""
        self.ask(f"heads {seconds}")

    def wait_events(self, total: int, seconds: float = 60) -> int:
        """Wait until so many events came over all streams; return when the last did (monotonic ns)."""
        _, last_ns = self.ask(f"events {total} {seconds}")
        return int(last_ns)

    def latency_ms(self) -> tuple[float, float, float]:
        """Return median, 99th percentile and maximum from publication to arrival since the last call."""
        count, *times = map(int, self.ask("latency"))
        assert count
        p50, p99, most = (each / 1000 for each in times)
        return p50, p99, most

    def reset(self) -> None:
        """Forget what came so far."""
        self.ask("reset")


@dataclass
class Measured:
    """The same quantity, measured once a round."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(min(self.values))} - {_short(max(self.values))})"

    def over(self, other: Measured) -> Measured:
        """Return the ratio, round by round."""
        return Measured([a / b for a, b in zip(self.values, other.values, strict=True)])


def in_turns(measures: Mapping[K, Callable[[], float]], rounds: int = ROUNDS) -> dict[K, Measured]:
    """Measure everything once a round, so that what disturbs the machine meets all alike."""
    results: dict[K, Measured] = {name: Measured() for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            results[name].values.append(measure())
    return results


@dataclass(frozen=True)
class Target:
    """What was to be reached, and what was."""

    question: str
    text: str
    reached: str
    holds: bool


class Report:
    """The tables of one question, printed as they come."""

    targets: list[Target] = []  # noqa: RUF012 - of all questions, for the table at the end

    def __init__(self, question: str, *lines: str) -> None:
        self._question = question
        print("\n".join(["", question, "-" * len(question), *lines]), flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table whose first column names the rows."""
        texts = [list(columns), *([*map(str, row)] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        for row in texts:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            print("  ".join([row[0].ljust(widths[0]), *cells]), flush=True)
        print(flush=True)

    def at_most(self, what: str, measured: Measured, limit: float, unit: str = "") -> None:
        """Compare a median with the most that it may be."""
        self._target(f"{what}: at most {limit:g}{unit}", measured, measured.median <= limit)

    def at_least(self, what: str, measured: Measured, limit: float, unit: str = "") -> None:
        """Compare a median with the least that it must be."""
        self._target(f"{what}: at least {limit:g}{unit}", measured, measured.median >= limit)

    def _target(self, text: str, measured: Measured, holds: bool) -> None:
        print(f"{text}: {measured}{'' if holds else '  NOT REACHED'}", flush=True)
        Report.targets.append(Target(self._question, text, str(measured), holds))


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - digits to read
