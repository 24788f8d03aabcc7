"""What does an idle stream take?"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import psutil

from . import systems
from .harness import Measured, Report, use_client_core
from .systems import System

STREAMS = 15_000
KEPT_STREAMS = 100  # opened before, so that what is allocated once does not count
CALM_SECONDS = 1.0


def private_bytes(pids: list[int]) -> int:
    """Return the memory that processes share with nobody."""
    return sum(psutil.Process(pid).memory_full_info().uss for pid in pids)


def bytes_a_stream(
    start: Callable[[], AbstractContextManager[System]], streams: int, path: str = ""
) -> float:
    """Return by how much the memory grows with each stream: the hub's, or that of all processes of a peer."""
    with start() as system, system.clients(KEPT_STREAMS, path):
        pids = [system.hub] if system.hub else list(system.pids)
        time.sleep(CALM_SECONDS)
        before = private_bytes(pids)
        # The numbers of the channels begin at 0 once more, so the kept streams share theirs.
        with system.clients(streams, path, others=KEPT_STREAMS):
            time.sleep(CALM_SECONDS)
            return (private_bytes(pids) - before) / streams


def main() -> None:
    """Measure one system after the other, each with as many streams as it can hold without ado."""
    use_client_core()
    report = Report(
        "Memory of an idle stream",
        f"private memory in user space for each stream beyond the first {KEPT_STREAMS}; "
        "one round, for memory hardly varies",
    )
    own_channels = "/stream?channel=c%d"
    measures = {
        "Flask-SSE 2 (hub)": (systems.flask_sse_2, STREAMS, ""),
        "Flask-SSE 2 (hub), a channel each": (systems.flask_sse_2, STREAMS, own_channels),
        "nchan": (systems.nchan, STREAMS, ""),
        "better-sse (Node)": (systems.better_sse, 5000, ""),
        "sse-starlette (uvicorn)": (systems.sse_starlette, 3000, ""),
        "Flask-SSE 1.0 (gevent)": (systems.flask_sse_1, 1000, ""),
    }
    results = {
        name: Measured([bytes_a_stream(start, streams, path)])
        for name, (start, streams, path) in measures.items()
    }
    ours = results["Flask-SSE 2 (hub)"]
    report.table(
        ["system", "streams", "bytes a stream", "x ours"],
        [(name, measures[name][1], values, values.over(ours)) for name, values in results.items()],
    )
    report.at_most("memory of an idle stream", ours, 1536, " bytes")


if __name__ == "__main__":
    main()
