"""What does a message cost where every stream has a channel of its own?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.support.processes import wait_until

from . import systems
from .harness import ROUNDS, Client, Measured, Report, cpu_seconds, event_data, in_turns, use_client_core
from .systems import System

STREAMS = 10_000
MESSAGES = 4000
PER_SECOND = 2000.0


def send(system: System, messages: int) -> None:
    """Publish one message after the other, at a pace, each to a channel of its own choice."""
    due = time.monotonic()
    for _ in range(messages):
        system.publish(event_data(), f"c{random.randrange(STREAMS)}")
        due += 1 / PER_SECOND
        if (pause := due - time.monotonic()) > 0:
            time.sleep(pause)


def cost(system: System, pids: list[int], client: Client) -> float:
    """Return microseconds of CPU a message."""
    client.reset()
    before = cpu_seconds(pids)
    send(system, MESSAGES)
    client.wait_events(MESSAGES)
    return (cpu_seconds(pids) - before) / MESSAGES * 1e6


def main() -> None:
    """Measure the hub beside nchan, both with Valkey as broker."""
    use_client_core()
    report = Report(
        f"{STREAMS} streams on {STREAMS} channels",
        f"{PER_SECOND:g} messages of 100 bytes a second, one by one, {ROUNDS} rounds of {MESSAGES}",
        "all through Valkey",
    )
    with ExitStack() as stack:
        measures: dict[str, Callable[[], float]] = {}
        brokers = {}
        for start, path in (
            (systems.flask_sse_2, "/stream?channel=c%d"),
            (lambda: systems.nchan(redis=True), "/stream/c%d"),
        ):
            system = stack.enter_context(start())
            client = stack.enter_context(system.clients(STREAMS, path))
            pids = [system.hub] if system.hub else list(system.pids)
            name = f"{system.name}{' (hub)' if system.hub else ''}"
            assert system.broker is not None
            redis = system.broker.client()
            # Seldom asked, for the answer is long and the clients share the core.
            wait_until(
                lambda redis=redis: time.sleep(1) or len(redis.pubsub_channels()) >= STREAMS,
                120,
                f"{name} to subscribe to all",
            )
            cost(system, pids, client)
            broker = [system.broker.process.pid]
            brokers[name] = Measured()

            def measure(
                system: System = system,
                pids: list[int] = pids,
                client: Client = client,
                broker: list[int] = broker,
                of_broker: Measured = brokers[name],
            ) -> float:
                before = cpu_seconds(broker)
                result = cost(system, pids, client)
                of_broker.values.append((cpu_seconds(broker) - before) / MESSAGES * 1e6)
                return result

            measures[name] = measure
        results = in_turns(measures)
    ours, theirs = results.values()
    report.table(
        ["system", "CPU µs a message", "broker's"],
        [(name, values, brokers[name]) for name, values in results.items()],
    )
    report.at_most("hub a message", ours, 40, " µs")
    report.at_most("of nchan with Redis", ours.over(theirs), 1.0, " x")


if __name__ == "__main__":
    main()
