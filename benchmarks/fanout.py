"""What does one delivered event cost in CPU time?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from . import systems
from .harness import ROUNDS, Client, Measured, Report, cpu_seconds, in_turns, use_client_core
from .systems import System

EVENTS = 20
WARM_UP_EVENTS = 3
PER_SECOND = 10.0

Starter = Callable[[], AbstractContextManager[System]]


def cost(system: System, client: Client, events: int, per_second: float) -> float:
    """Return microseconds of CPU for each event that reached a client, while other systems stand still."""
    system.resume()
    system.send(WARM_UP_EVENTS, per_second)
    client.wait_events(WARM_UP_EVENTS * client.count)
    client.reset()
    before = cpu_seconds(system.pids)
    system.send(events, per_second)
    client.wait_events(events * client.count)
    used = cpu_seconds(system.pids) - before
    system.pause()
    return used / (events * client.count) * 1e6


def costs(
    starters: Sequence[tuple[Starter, int]],
    events: Callable[[int], int] = lambda _: EVENTS,
    rounds: int = ROUNDS,
    per_second: float = PER_SECOND,
) -> dict[tuple[str, int], Measured]:
    """Return the cost by system and number of clients, measured in turns; all keep their clients."""
    with ExitStack() as stack:
        measures: dict[tuple[str, int], Callable[[], float]] = {}
        for start, clients in starters:
            system = stack.enter_context(start())
            stack.callback(system.resume)
            client = stack.enter_context(system.clients(clients))
            system.pause()
            measures[system.name, clients] = partial(cost, system, client, events(clients), per_second)
        return in_turns(measures, rounds)


def main() -> None:
    """Measure with 1000 clients beside all peers, and with 10 000 beside those that can hold them."""
    use_client_core()
    all_systems: list[Starter] = [
        systems.floor,
        systems.flask_sse_2,
        systems.nchan,
        systems.better_sse,
        systems.sse_starlette,
        systems.flask_sse_1,
    ]
    for clients, starters in ((1000, all_systems), (10_000, all_systems[:3])):
        report = Report(
            f"Fan-out to {clients} clients",
            f"{EVENTS} events of 100 bytes, {PER_SECOND:g} a second, {ROUNDS} rounds; CPU of all processes",
        )
        measured = costs([(start, clients) for start in starters])
        results = {name: values for (name, _), values in measured.items()}
        floor, ours = results["C send() loop (floor)"], results["Flask-SSE 2"]
        report.table(
            ["system", "CPU µs per delivered event", "x floor"],
            [(name, values, values.over(floor)) for name, values in results.items()],
        )
        report.at_most("of the C floor", ours.over(floor), 1.25, " x")
        report.at_most("of nchan", ours.over(results["nchan"]), 0.7, " x")
        if old := results.get("Flask-SSE 1.0 (gevent)"):
            report.at_most("of Flask-SSE 1.0", ours.over(old), 1 / 8, " x")


if __name__ == "__main__":
    main()
