"""An application that one client attacks, with default settings, its hub and its broker."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.brokers import start_valkey
from tests.support.hubs import separate_hubs
from tests.support.processes import Process, children, suspended
from tests.support.webservers import RunningServer, start
from tests.tools import ROOT

from flask_sse import Publisher

from .one_client import ARCHIVE, FLOOD, PAGES, REFUSED
from .others import Others

BRIEF = Path(__file__).parent / "brief"
APPS = ROOT / "tests" / "stories" / "integration" / "apps"
THREADS = 4
CONFIG = {
    # As long as a run of an hour is remembered for an hour, so long is one of two seconds.
    "SSE_HISTORY_RULES": '{"run:job-*": {"seconds": 2}, "archive": {"size": 10000}, "flood": {"size": 5}}',
}
# Meanwhile the hub is stopped, and new pages are told to reconnect.
STANDSTILL, STANDSTILL_SECONDS = "reloads", 3.5
BOTH, MEMORY, VALKEY = ("memory", "valkey"), ("memory",), ("valkey",)


class Worst(NamedTuple):
    """What one client does.

    Attributes:
        number: Of the fault.
        attack: What it does.
        brokers: Where it makes a difference.
    """

    number: int
    attack: str
    brokers: tuple[str, ...]


WORST = [
    Worst(13, "replays", BOTH),
    Worst(14, STANDSTILL, VALKEY),
    Worst(15, "made_up_names", BOTH),
    Worst(15, "short_runs", BOTH),
    Worst(16, "refused_reads", VALKEY),
    Worst(17, "endless_responses", MEMORY),
    Worst(18, "slow_readers", BOTH),
    Worst(19, "made_up_runs", MEMORY),
]


class Served(NamedTuple):
    """How an application is served.

    Attributes:
        server: A key of ``WEB_SERVERS``.
        threads: Of its worker.
        config: Settings that are not the default ones.
    """

    server: str = "gunicorn-gthread"
    threads: int = THREADS
    config: Mapping[str, str] = {}


BY_DEFAULT = Served()
# A client is given up when it takes nothing for half of a heartbeat.
SOON_GIVEN_UP = Served(config={"SSE_HEARTBEAT_SECONDS": "2"})
# Each page holds a thread, also for as long as the server has not noticed that it has left.
RELAYED = Served(threads=4 * PAGES, config={"SSE_TAKEOVER": "off", "SSE_MAX_STREAMS_PER_ADDRESS": str(PAGES)})
# It accepts nobody while it has no descriptors, for it works on one request at a time.
ONE_AT_A_TIME = Served("gunicorn-sync", threads=1)


class Site:
    """An application, its hub and its broker, which forget in seconds; by default with default settings."""

    def __init__(self, name: str, stack: contextlib.ExitStack, served: Served = BY_DEFAULT) -> None:
        self.served = served
        config = {**CONFIG, **served.config}
        stack.enter_context(separate_hubs())
        broker = stack.enter_context(start_valkey()) if name == "valkey" else None
        url = broker.url if broker else f"memory://{uuid.uuid4().hex}"
        env = {f"FLASK_{key}": value for key, value in {"SSE_BROKER_URL": url, **config}.items()}
        # The hub gets the directory in which Flask-SSE was found, and nothing else of the application's path.
        installation = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (installation / "flask_sse").symlink_to(ROOT / "src" / "flask_sse")
        (installation / "sitecustomize.py").symlink_to(BRIEF / "sitecustomize.py")
        env["PYTHONPATH"] = os.pathsep.join([str(installation), str(APPS), str(ROOT)])
        self.redis = broker.client() if broker else None
        self.web: RunningServer = stack.enter_context(
            start(served.server, "crowd:app", APPS, env, ("--threads", str(served.threads)))
        )
        # First of all, so that it is the application that starts the hub.
        with self.web.stream("/stream?channel=pages") as page:
            page.wait_opened()
        self.publisher = Publisher(url, **config)
        stack.callback(self.publisher.close)
        for start_number in range(0, 2000, 200):
            numbers = range(start_number, start_number + 200)
            self.publisher.publish_many(
                {"data": f"{number} {'x' * 200}", "channel": ARCHIVE} for number in numbers
            )
        self.publisher.publish("the last one", channel=ARCHIVE)
        self.publisher.publish("not large", channel=FLOOD)
        if self.redis:
            self.redis.set(f"flask-sse:{{{REFUSED}}}:m", "of another type")
        self.hub_pid = int(self.status()["pid"])
        (self.worker_pid,) = children(self.web.process.pid)

    def status(self) -> dict[str, float]:
        """Ask the hub how it is."""
        answer: dict[str, float] = json.loads(self.web.get("/status").body)
        return answer

    def keys(self) -> set[bytes]:
        """Return the names of all keys of the broker."""
        return set(self.redis.scan_iter(count=1000)) if self.redis else set()

    def scripts_run(self) -> int:
        """Return how many scripts the broker has run."""
        assert self.redis
        stats = self.redis.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))

    def attacked(self, worst: Worst, seconds: float) -> Others:
        """Let one client do its worst for so long; return what others noticed."""
        with self._others(worst) as others:
            self._attack(worst.attack, seconds)
        return others

    def left_alone(self, worst: Worst, seconds: float) -> Others:
        """Let the others do what they do beside that client, without it."""
        with self._others(worst) as others:
            time.sleep(seconds)
        return others

    def _others(self, worst: Worst) -> Others:
        floods, come_anew = worst.attack == "slow_readers", worst.attack != STANDSTILL
        return Others(self.web.port, self.publisher, floods=floods, come_anew=come_anew)

    def _attack(self, attack: str, seconds: float) -> None:
        module = "tests.stories.faults.one_client"
        argv = [sys.executable, "-m", module, attack, str(self.web.port), str(seconds)]
        with Process(argv, cwd=ROOT) as client:
            if attack == STANDSTILL:
                time.sleep(seconds / 2)
                with suspended(self.hub_pid):
                    time.sleep(STANDSTILL_SECONDS)
            assert client.wait(seconds + 60) == 0, client.output()
