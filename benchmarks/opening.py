"""What does it cost to open a stream through Flask?"""

from __future__ import annotations

from tests.support.processes import wait_until

from flask_sse.hub.client.open_client import open_hub_client
from flask_sse.settings import Settings

from . import systems
from .harness import ROUNDS, Client, Measured, Report, cpu_seconds, use_client_core

REQUESTS = 1000


def main() -> None:
    """Open streams on one sync worker, beside as many requests for a short JSON on the same server."""
    use_client_core()
    report = Report(
        "Opening a stream",
        f"{REQUESTS} requests to one sync worker of gunicorn, {ROUNDS} rounds; CPU a request",
    )
    json, stream, worker, hub = Measured(), Measured(), Measured(), Measured()
    with systems.flask_sse_2() as system:
        assert system.broker is not None
        hub_client = open_hub_client(Settings(system.broker.url))
        web = [pid for pid in system.pids if pid != system.hub]

        def cost(path: str) -> tuple[float, float]:
            """Return microseconds of CPU a request: of the web server, and of the hub."""
            before = cpu_seconds(web), cpu_seconds([system.hub])
            with Client(system.port, path, REQUESTS) as client:
                client.wait_opened()
                after = cpu_seconds(web), cpu_seconds([system.hub])
            wait_until(lambda: hub_client.status()["streams"] == 0, 30, "no stream is left")
            of_web, of_hub = (b - a for a, b in zip(before, after, strict=True))
            return of_web / REQUESTS * 1e6, of_hub / REQUESTS * 1e6

        for number in range(ROUNDS + 1):
            view, (of_worker, of_hub) = sum(cost("/json")), cost("/stream")
            if number:  # the first round warms up
                json.values.append(view)
                stream.values.append(of_worker + of_hub)
                worker.values.append(of_worker)
                hub.values.append(of_hub)
        hub_client.close()
    report.table(
        ["", "CPU µs a request"],
        [
            ("short JSON", json),
            ("stream", stream),
            ("  of which web server", worker),
            ("  of which hub", hub),
        ],
    )
    report.at_most("a stream, of a short JSON", stream.over(json), 1.4, " x")


if __name__ == "__main__":
    main()
