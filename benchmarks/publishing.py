"""What does it cost to publish?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack

from tests.support.brokers import start_valkey
from tests.support.tools import require

from .harness import Commanded, Measured, Report, in_turns, on_server_core, use_client_core
from .systems import SERVERS

# Short rounds and many, for the pace of a core changes within seconds.
EVENTS = 300
ROUNDS = 25
OURS, MANY, OLD = "Flask-SSE 2, publish", "Flask-SSE 2, publish_many(100)", "Flask-SSE 1.0, publish"
SCRIPT = "redis-py, the same script"
KINDS = {SCRIPT: "script", OURS: "one", MANY: "many", OLD: "old"}


class Publishing:
    """One way to publish, in a process of its own."""

    def __init__(self, program: Commanded) -> None:
        self.elapsed = Measured()
        self._program = program

    def cpu(self) -> float:
        """Return microseconds of CPU an event, and note how long it took."""
        elapsed, cpu = map(int, self._program.ask(str(EVENTS)))
        self.elapsed.values.append(elapsed / EVENTS / 1000)
        return cpu / EVENTS / 1000


def main() -> None:
    """Measure publishers on one core, with Valkey on the other and nobody who listens."""
    use_client_core()
    report = Report(
        "Publishing, history on",
        f"{EVENTS} events of 90 bytes of data one after the other, {ROUNDS} rounds; the publisher's own CPU",
    )
    with ExitStack() as stack:
        broker = stack.enter_context(start_valkey())
        ways: dict[str, Publishing] = {}
        measures: dict[str, Callable[[], float]] = {}
        for name, kind in KINDS.items():
            place = [f"PYTHONPATH={require('flask-sse-1.0') if kind == 'old' else ''}"]
            argv = ["env", f"REDIS_URL={broker.url}", *place, sys.executable, SERVERS / "publish.py", kind]
            way = Publishing(stack.enter_context(Commanded(on_server_core(*argv))))
            way.cpu()
            way.elapsed.values.clear()
            ways[name] = way
            measures[name] = way.cpu
        cpu = in_turns(measures, ROUNDS)
    elapsed = {name: way.elapsed for name, way in ways.items()}
    report.table(
        ["", "CPU µs an event", "x script", "µs elapsed", "x script"],
        [
            (name, cpu[name], cpu[name].over(cpu[SCRIPT]), elapsed[name], elapsed[name].over(elapsed[SCRIPT]))
            for name in KINDS
        ],
    )
    for what, values in (("CPU", cpu), ("time", elapsed)):
        ours = values[OURS]
        report.at_most(f"{what} of publish, of a bare script call", ours.over(values[SCRIPT]), 1.4, " x")
        report.at_most(f"{what} of publish, of 1.0's", ours.over(values[OLD]), 1 / 8, " x")
        report.at_least(f"{what} of publish, of publish_many's an event", ours.over(values[MANY]), 5, " x")


if __name__ == "__main__":
    main()
