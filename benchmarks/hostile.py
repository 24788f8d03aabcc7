"""How much longer does an event take to all others while one client does its worst?

The attacks are those of ``tests/stories/faults``. Each round measures the others alone and beside the attack,
and the ratio counts. The hub, the web server and all clients use both cores, as on a small machine.
"""

from __future__ import annotations

import contextlib

from tests.stories.faults.site import STANDSTILL, WORST, Site

from .harness import Measured, Report

ROUNDS = 3
SECONDS = 5.0


def main() -> None:
    """Measure each attack with each broker for which it makes a difference."""
    report = Report(
        "The others beside one client",
        f"from publication to arrival, {ROUNDS} rounds of {SECONDS:g} s alone and {SECONDS:g} s beside each",
    )
    rows: list[tuple[str, Measured, Measured, Measured]] = []
    for broker in ("memory", "valkey"):
        with contextlib.ExitStack() as stack:
            site = Site(broker, stack)
            for worst in WORST:
                # While the hub stands still nothing arrives, which is no question of the client.
                if broker in worst.brokers and worst.attack != STANDSTILL:
                    alone, beside = Measured(), Measured()
                    for _ in range(ROUNDS):
                        alone.values.append(1000 * site.left_alone(worst, SECONDS).p99_seconds)
                        beside.values.append(1000 * site.attacked(worst, SECONDS).p99_seconds)
                    rows.append((f"{worst.attack}, {broker}", alone, beside, beside.over(alone)))
    report.table(["attack", "99 % alone, ms", "99 % beside it, ms", "ratio"], rows)
    for name, _, _, ratio in rows:
        report.at_most(f"99 % beside {name}, of that alone", ratio, 10, " x")


if __name__ == "__main__":
    main()
