"""Minutes of chaos in real processes: two applications, each with a hub, and 50 clients that come and go.

``make faults`` runs it for a minute, ``make faults LONG=1`` for ten.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from tests.support import webservers
from tests.support.brokers import Broker, start_valkey
from tests.support.hubs import RUNTIME_DIRECTORY, separate_hubs
from tests.support.processes import children
from tests.support.webservers import RunningServer

from .chaos import Chaos
from .growth import grown, of_broker, of_process
from .node_clients import NodeClients

APPS = Path(__file__).parent.parent / "integration" / "apps"
SECONDS = 600.0 if os.environ.get("LONG") else 60.0
# Positions are checked every 40 s, a little more or less.
SETTLE_SECONDS = 110.0
RAW_CLIENTS, NODE_CLIENTS = 40, 10
CHANNELS = ["a", "b", "c"]
MAX_HUB_BYTES = 150 * 1024 * 1024
PAUSE_MS = 1500
# A hub's own: loop, sockets, log, the broker's connections and those of the application.
HUB_DESCRIPTORS = 50

pytestmark = [pytest.mark.long, pytest.mark.timeout(SECONDS + SETTLE_SECONDS + 60)]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with start_valkey(persistent="everysec") as broker:
        yield broker


@pytest.fixture
def servers(broker: Broker) -> Iterator[list[RunningServer]]:
    """Two applications of two workers each, which share nothing but the broker."""
    with ExitStack() as stack:
        running = []
        for _ in range(2):
            directory = stack.enter_context(separate_hubs())
            env = {
                "FLASK_REDIS_URL": broker.url,
                "FLASK_SSE_MAX_CHANNELS_PER_STREAM": str(len(CHANNELS)),
                RUNTIME_DIRECTORY: directory,
            }
            options = ["--workers", "2"]
            running.append(
                stack.enter_context(webservers.start("gunicorn-sync", "plain:app", APPS, env, options))
            )
        yield running


def hub_of(server: RunningServer) -> int:
    return int(server.get("/hub").body)


def kill_hub(server: RunningServer) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(hub_of(server), signal.SIGKILL)


def kill_worker(server: RunningServer) -> None:
    for pid in children(server.process.pid)[:1]:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def restart(broker: Broker) -> None:
    broker.kill()
    broker.restart()


def test_nothing_is_lost_in_silence_and_nothing_comes_twice(
    broker: Broker, servers: list[RunningServer], capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [server.url for server in servers]
    node_urls = [f"{urls[number % 2]}/stream?channel=a&channel=b" for number in range(NODE_CLIENTS)]
    with (
        Chaos(broker, urls, CHANNELS, clients=RAW_CLIENTS) as chaos,
        NodeClients(node_urls, ["a", "b"]) as node,
    ):
        chaos.more_logs = node.logs
        chaos.actions |= {
            "client replaced by another": (3, chaos.replace_a_client),
            "server paused": (
                1,
                lambda: broker.client().client_pause(PAUSE_MS, all=chaos.rng.random() < 0.5),
            ),
            "server killed and restarted": (1, lambda: restart(broker)),
            "all data removed": (0.3, broker.client().flushall),
            "hub killed": (1, lambda: kill_hub(chaos.rng.choice(servers))),
            "worker killed": (1, lambda: kill_worker(chaos.rng.choice(servers))),
        }
        chaos.run(SECONDS)
        report = chaos.settle(SETTLE_SECONDS)
        with capsys.disabled():
            happened = ", ".join(f"{count} x {name}" for name, count in sorted(chaos.done.items()))
            print(f"\n{SECONDS:g} s: {report}\n{happened}; {chaos.failed_calls} calls of publish failed")
        assert not report.violations
        assert report.events > 50 * SECONDS
        assert not node.failures()
        streams = len(chaos.clients) + NODE_CLIENTS
        hubs = [hub_of(server) for server in servers]
        before = [of_process(pid) for pid in hubs]
        for pid, snapshot in zip(hubs, before, strict=True):
            assert snapshot["threads"] == 1
            assert snapshot["descriptors"] <= streams + HUB_DESCRIPTORS
            assert psutil.Process(pid).memory_info().rss < MAX_HUB_BYTES
        keys = of_broker(broker.client())
        assert keys["keys_forever"] == 0
    # All have left: nothing may stay.
    for pid, snapshot in zip(hubs, before, strict=True):
        assert not grown(snapshot, of_process(pid), rss_bytes=5_000_000)
    assert not grown(keys, of_broker(broker.client()))
