"""Broadcast the load of this machine once per second, and the number of open streams when it changes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app import app

from flask_sse import SSEError, sse

LOOK_SECONDS = 0.25
LOOKS_PER_READING = 4

Reading = dict[str, str | float]


def main() -> None:
    server = int(sys.argv[1])
    readings = machine()
    look, known = 0, None
    while os.getppid() == server:  # a killed server leaves this process another parent
        time.sleep(LOOK_SECONDS)
        look = (look + 1) % LOOKS_PER_READING
        # The next call starts another hub.
        with app.app_context(), suppress(SSEError):
            streams = sse.status()["streams"]
            if look == 0:
                sse.publish(next(readings), type="reading")
            if look == 0 or streams != known:
                sse.publish({"open": streams}, type="streams")
                known = streams


def machine() -> Iterator[Reading]:
    """Yield the load of the machine since the last reading, as far as the system reports it by itself."""
    if not Path("/proc/stat").exists():
        while True:
            load = os.getloadavg()[0] / (os.cpu_count() or 1)
            yield {"name": "Load average per CPU", "percent": min(100.0, 100 * load)}
    idle, total = cpu_times()
    while True:
        idle_before, total_before = idle, total
        idle, total = cpu_times()
        share = 1 - (idle - idle_before) / max(1, total - total_before)
        yield {"name": "CPU in use", "percent": 100 * max(0.0, share), "memory": memory_percent()}


def cpu_times() -> tuple[int, int]:
    """Return the idle time and the total time of all CPUs, in ticks since the start."""
    times = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return times[3] + times[4], sum(times)


def memory_percent() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return 100 * (1 - kilobytes["MemAvailable"] / kilobytes["MemTotal"])


if __name__ == "__main__":
    main()
