"""Does the cost of an event grow with the number of clients?"""

from __future__ import annotations

import json
from pathlib import Path

from . import systems
from .fanout import Starter, costs
from .harness import BUILD, Measured, Report, use_client_core

ROUNDS = 3
# So slow that one event is out before the next one comes: who falls behind joins events, which is cheaper.
PER_SECOND = 4.0
# Clients -> events a round.
EVENTS = {100: 12, 1000: 8, 5000: 6, 15_000: 4}
FEW = [100, 1000]  # what peers can hold that do not reach 15 000
FILE = BUILD / "growth.json"

FLOOR, OURS = "C send() loop (floor)", "Flask-SSE 2"
STARTERS: list[tuple[Starter, list[int]]] = [
    (systems.floor, list(EVENTS)),
    (systems.flask_sse_2, list(EVENTS)),
    (systems.nchan, list(EVENTS)),
    (systems.better_sse, FEW),
    (systems.sse_starlette, FEW),
    (systems.flask_sse_1, FEW),
]


def growth(by_count: dict[int, Measured]) -> Measured:
    """Return the cost at the dearest number of clients over that at the cheapest."""
    dearest = max(by_count.values(), key=lambda values: values.median)
    cheapest = min(by_count.values(), key=lambda values: values.median)
    return dearest.over(cheapest)


def most_over_fewest(by_count: dict[int, Measured]) -> Measured:
    """Return the cost at the most clients over that at the fewest: below 1 where it falls."""
    return by_count[max(by_count)].over(by_count[min(by_count)])


def save(results: dict[str, dict[int, Measured]], file: Path = FILE) -> None:
    """Write the medians for the plot."""
    medians = {
        name: {count: values.median for count, values in by_count.items()}
        for name, by_count in results.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(medians, indent=1))


def main() -> None:
    """Measure all systems with as many clients as they can hold."""
    use_client_core()
    report = Report(
        "Growth with the number of clients",
        f"{min(EVENTS.values())} to {max(EVENTS.values())} events of 100 bytes, {PER_SECOND:g} a second, "
        f"{ROUNDS} rounds; CPU µs per delivered event, of all processes",
    )
    starters = [(start, count) for start, counts in STARTERS for count in counts]
    results: dict[str, dict[int, Measured]] = {}
    for (name, count), values in costs(starters, EVENTS.__getitem__, ROUNDS, PER_SECOND).items():
        results.setdefault(name, {})[count] = values
    report.table(
        ["system", *(f"{count} clients" for count in EVENTS), "dearest / cheapest", "most / fewest clients"],
        [
            (
                name,
                *(by_count.get(count, "") for count in EVENTS),
                growth(by_count),
                most_over_fewest(by_count),
            )
            for name, by_count in results.items()
        ],
    )
    ours, floor = results[OURS], results[FLOOR]
    above = {count: ours[count].over(floor[count]) for count in EVENTS}
    report.table(["", *(f"{count} clients" for count in EVENTS)], [("ours, x floor", *above.values())])
    report.at_most("ours, dearest of cheapest", growth(ours), 1.25, " x")
    save(results)


if __name__ == "__main__":
    main()
