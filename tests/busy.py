"""Runs a command beside processes that burn the cores: ``python tests/busy.py COMMAND``."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PROCESSES = 2
# Each looks for its parent, so that none is left where that one is killed.
BURN = """
import os
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    sum(range(100_000))
"""


@contextmanager
def busy_cores() -> Iterator[list[int]]:
    """Burn the cores in the ``with`` block; yields the ids of the processes that do."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(PROCESSES):
            # In a session of its own, for Ctrl-C is for the command.
            argv = [sys.executable, "-c", BURN]
            processes.append(subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True))
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def main(argv: list[str]) -> int:
    """Run the command beside busy cores, and return its exit status."""
    with busy_cores(), subprocess.Popen(argv) as command:
        signal.signal(signal.SIGTERM, lambda *_: command.terminate())
        while True:
            try:
                status = command.wait()
            except KeyboardInterrupt:
                continue  # the command has it as well, and ends when it has cleaned up
            return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
