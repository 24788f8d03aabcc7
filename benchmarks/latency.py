"""How long does an event take from publication to arrival, and what if the application is busy?"""

from __future__ import annotations

from . import systems
from .harness import ROUNDS, Client, Measured, Report, use_client_core
from .systems import System

CLIENTS = 1000
EVENTS = 30
PER_SECOND = 10.0
WORKER = ("-k", "gthread", "--threads", "4")


class Latency:
    """Median, 99th percentile and maximum over all clients, milliseconds, once a round."""

    def __init__(self) -> None:
        self.p50, self.p99, self.longest = Measured(), Measured(), Measured()

    def measure(self, system: System, client: Client) -> None:
        """Publish for a while and note what the clients saw."""
        client.reset()
        system.send(EVENTS, PER_SECOND)
        client.wait_events(EVENTS * client.count)
        for measured, value in zip((self.p50, self.p99, self.longest), client.latency_ms(), strict=True):
            measured.values.append(value)


def main() -> None:
    """Measure while the application rests, and while four threads of its process burn CPU."""
    use_client_core()
    report = Report(
        f"Publication to arrival, {CLIENTS} clients",
        f"{EVENTS} events of 100 bytes, {PER_SECOND:g} a second, {ROUNDS} rounds; web server and hub may use "
        "both cores, publisher, Valkey and all clients share one",
    )
    latencies = {"quiet": Latency(), "busy": Latency()}
    with (
        systems.flask_sse_2("busy:app", worker=WORKER, both_cores=True) as system,
        system.clients(CLIENTS) as client,
    ):
        Latency().measure(system, client)
        for _ in range(ROUNDS):
            for state, latency in latencies.items():
                systems.get(system.port, f"/{state}")
                latency.measure(system, client)
        systems.get(system.port, "/quiet")
    report.table(
        ["application", "median, ms", "99 %", "longest"],
        [(state, each.p50, each.p99, each.longest) for state, each in latencies.items()],
    )
    quiet, busy = latencies.values()
    report.at_most("99 % when busy, of that when quiet", busy.p99.over(quiet.p99), 2, " x")


if __name__ == "__main__":
    main()
