"""How many deliveries a second, when events come as fast as possible?"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from flask_sse import Publisher

from . import systems
from .harness import ROUNDS, Client, Measured, Report, event_data, in_turns, use_client_core
from .systems import System

CLIENTS = 1000
EVENTS = 1000
BATCH = 100
TIMEOUT_SECONDS = 120


class Burst:
    """One system with its clients."""

    def __init__(self, client: Client, publish: Callable[[], None]) -> None:
        self.last_ms = Measured()
        self._client = client
        self._publish = publish

    def deliveries(self) -> float:
        """Return deliveries a second, from the first publication to the last arrival."""
        self._client.reset()
        began = time.monotonic_ns()
        self._publish()
        ended = self._client.wait_events(EVENTS * CLIENTS, TIMEOUT_SECONDS)
        # Events are stamped when they are published, so the last ones wait longest.
        _, _, longest = self._client.latency_ms()
        self.last_ms.values.append(longest)
        return EVENTS * CLIENTS / (ended - began) * 1e9


def one_by_one(system: System) -> None:
    """Publish each event in a request of its own."""
    for _ in range(EVENTS):
        system.publish(event_data(), "sse")


def in_batches(publisher: Publisher) -> None:
    """Publish a hundred events in a request."""
    for _ in range(EVENTS // BATCH):
        publisher.publish_many([{"data": event_data()} for _ in range(BATCH)])


def main() -> None:
    """Measure beside nchan, which knows no way to publish several events at once."""
    use_client_core()
    report = Report(
        f"Burst: {EVENTS} events to {CLIENTS} clients",
        f"100 bytes each, published as fast as possible, {ROUNDS} rounds",
    )
    with ExitStack() as stack:
        ours, theirs = stack.enter_context(systems.flask_sse_2()), stack.enter_context(systems.nchan())
        assert ours.broker is not None
        publisher = Publisher(ours.broker.url)
        our_client = stack.enter_context(ours.clients(CLIENTS))
        their_client = stack.enter_context(theirs.clients(CLIENTS))
        bursts = {
            "Flask-SSE 2, publish_many": Burst(our_client, lambda: in_batches(publisher)),
            "Flask-SSE 2, publish": Burst(our_client, lambda: one_by_one(ours)),
            "nchan": Burst(their_client, lambda: one_by_one(theirs)),
        }
        for burst in bursts.values():
            burst.deliveries()
            burst.last_ms.values.clear()
        results = in_turns({name: burst.deliveries for name, burst in bursts.items()})
    slowest = results["nchan"]
    report.table(
        ["system", "deliveries a second", "x nchan", "longest from publication to arrival, ms"],
        [(name, values, values.over(slowest), bursts[name].last_ms) for name, values in results.items()],
    )
    report.at_least(
        "deliveries a second, of nchan's", results["Flask-SSE 2, publish_many"].over(slowest), 3, " x"
    )


if __name__ == "__main__":
    main()
