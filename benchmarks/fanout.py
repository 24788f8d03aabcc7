"""What does one delivered event cost in CPU time? See README.md for the method."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from tests.support import webservers
from tests.support.brokers import Broker, start_valkey
from tests.support.hubs import separate_hubs
from tests.support.processes import Process, children, free_port
from tests.support.swarm import Swarm
from tests.support.tools import require

from flask_sse import Publisher
from flask_sse.hub.link import open_link
from flask_sse.settings import Settings

CLIENTS = 1000
EVENTS = 30
PER_SECOND = 10.0
ROUNDS = 3
DATA = "x" * 93
APPS = Path(__file__).parent / "apps"

Cost = Callable[[Broker], float]


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time that processes used so far, the kernel's part included."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def open_all(swarm: Swarm) -> None:
    swarm.open(CLIENTS)
    swarm.wait_opened()


def publish_all(url: str) -> None:
    publisher = Publisher(url)
    for _ in range(EVENTS):
        publisher.publish(DATA)
        time.sleep(1 / PER_SECOND)
    publisher.close()


def cost(swarm: Swarm, pids: list[int], send: Callable[[], None]) -> float:
    """Return microseconds of CPU for each event that reached a client."""
    before = cpu_seconds(pids)
    send()
    swarm.wait_events(EVENTS, 60)
    return (cpu_seconds(pids) - before) / (EVENTS * CLIENTS) * 1e6


def version_2(broker: Broker) -> float:
    env = {"REDIS_URL": broker.url}
    # A hub that stays would listen beside the next system.
    with separate_hubs(), webservers.start("gunicorn-sync", "quickstart:app", APPS, env) as server:
        link = open_link(Settings(broker.url))
        hub = int(str(link.status()["pid"]))
        with Swarm([server.port], "/stream") as swarm:
            open_all(swarm)
            pids = [server.process.pid, *children(server.process.pid), hub]
            result = cost(swarm, pids, lambda: publish_all(broker.url))
        link.close()
    return result


def version_1(broker: Broker) -> float:
    old = {"REDIS_URL": broker.url, "PYTHONPATH": os.pathsep.join([str(require("flask-sse-1.0")), str(APPS)])}
    port = free_port()
    options = ("-k", "gevent", "--worker-connections", "4000", "--no-control-socket")
    argv = [webservers.SCRIPTS / "gunicorn", *options, "--bind", f"127.0.0.1:{port}", "quickstart:app"]
    # 1.0 sends nothing before the first event, so its clients are open when they are subscribed.
    with Process(argv, old, ready=port) as server, Swarm([port], "/stream") as swarm:
        swarm.open(CLIENTS)
        admin = Publisher(broker.url)
        deadline = time.monotonic() + 60
        while admin.publish("ready?", channel="sse") < CLIENTS and time.monotonic() < deadline:
            time.sleep(0.2)
        swarm.wait_events(1, 60)
        return cost(swarm, [server.pid, *children(server.pid)], lambda: publish_all(broker.url))


def floor(_: Broker) -> float:
    port = free_port()
    argv = [sys.executable, APPS / "floor.py", port, EVENTS, PER_SECOND]
    with Process(argv, ready="ready") as process, Swarm([port], "/") as swarm:
        open_all(swarm)
        return cost(swarm, [process.pid], lambda: os.kill(process.pid, signal.SIGUSR1))


SYSTEMS: dict[str, Cost] = {
    "send() loop (floor)": floor,
    "Flask-SSE 2": version_2,
    "Flask-SSE 1.0": version_1,
}


def main() -> None:
    """Measure all systems in turn and print medians and ratios."""
    results: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    with start_valkey() as broker:
        for _ in range(ROUNDS):
            for name, measure in SYSTEMS.items():
                results[name].append(measure(broker))
    base = statistics.median(results["send() loop (floor)"])
    print(f"{CLIENTS} clients, {EVENTS} events of 100 bytes, {PER_SECOND:g} a second, {ROUNDS} rounds")
    print(f"{'system':22} {'CPU µs per delivered event':>28} {'spread':>14} {'x floor':>8}")
    for name, values in results.items():
        middle = statistics.median(values)
        spread = f"{min(values):.1f} - {max(values):.1f}"
        print(f"{name:22} {middle:28.1f} {spread:>14} {middle / base:8.2f}")


if __name__ == "__main__":
    main()
