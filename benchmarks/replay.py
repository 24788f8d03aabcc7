"""What happens when many clients come back at once?"""

from __future__ import annotations

import threading
import time
from math import ceil

import redis

from flask_sse import Publisher
from flask_sse.brokers.base import PAGE_EVENTS

from . import systems
from .harness import ROUNDS, Measured, Report, cpu_seconds, event_data, use_client_core
from .systems import System

CLIENTS = 200
MISSED = 1000
FEW_MISSED = 5
PER_SECOND = 50.0
LIVE_EVENTS = 50


class Case:
    """What it took to bring all clients up to date, once a round."""

    def __init__(self) -> None:
        self.reads, self.cpu, self.ms = Measured(), Measured(), Measured()

    def measure(self, system: System, publisher: Publisher, missed: int, live: int) -> None:
        """Publish what the clients miss, and let them all come back while more is published."""
        assert system.broker is not None
        broker = system.broker.client()
        cursor = publisher.cursor("sse")
        publisher.publish_many([{"data": event_data()} for _ in range(missed)])
        reads, cpu, began = scripts_run(broker), cpu_seconds([system.hub]), time.monotonic_ns()
        publishing = threading.Thread(target=system.send, args=(live, PER_SECOND))
        publishing.start()
        # Without ``clients``, which forgets what came before all were there.
        with systems.Client(system.port, system.path, CLIENTS, header=f"Last-Event-ID: {cursor}") as client:
            ended = client.wait_events(CLIENTS * (missed + live))
        publishing.join()
        self.ms.values.append((ended - began) / 1e6)
        self.cpu.values.append((cpu_seconds([system.hub]) - cpu) / (CLIENTS * (missed + live)) * 1e6)
        self.reads.values.append(scripts_run(broker) - reads - live)


def scripts_run(broker: redis.Redis) -> int:
    """Return how many scripts ran: to publish, and to read the history."""
    calls: int = broker.info("commandstats")["cmdstat_evalsha"]["calls"]  # type: ignore[index]
    return calls


def main() -> None:
    """Measure with many missed events, and with a few while more are published."""
    use_client_core()
    report = Report(
        f"Replay to {CLIENTS} clients that come back at once",
        f"{ROUNDS} rounds, each from a position that nobody has asked for before; where more events come,",
        "clients come to several positions, each of which is read once",
    )
    many, few = Case(), Case()
    with systems.flask_sse_2() as system, system.clients(1):
        assert system.broker is not None
        publisher = Publisher(system.broker.url)
        for number in range(ROUNDS + 1):
            for case, missed, live in ((many, MISSED, 0), (few, FEW_MISSED, LIVE_EVENTS)):
                (case if number else Case()).measure(system, publisher, missed, live)
        publisher.close()
    report.table(
        ["missed events", "reads of the broker", "hub CPU µs per delivered event", "ms until all have all"],
        [
            (f"{MISSED}", many.reads, many.cpu, many.ms),
            (f"{FEW_MISSED}, and {LIVE_EVENTS} come at {PER_SECOND:g}/s", few.reads, few.cpu, few.ms),
        ],
    )
    pages = ceil(MISSED / PAGE_EVENTS)
    report.at_most(f"reads of {MISSED} events, {PAGE_EVENTS} a page", many.reads, pages)


if __name__ == "__main__":
    main()
