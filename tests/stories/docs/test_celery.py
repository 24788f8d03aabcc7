"""Real workers of Celery and RQ do what the page says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.stories.docs.snippets import lay, read, shell
from tests.support.brokers import Broker, start_valkey
from tests.support.patience import PATIENT_SECONDS, patient
from tests.support.processes import Process
from tests.support.proxy import Proxy
from tests.support.webservers import SCRIPTS

FILES = {
    "tasks.py": "tasks/tasks.py",
    "start.py": "tasks/start.py",
    "rq_jobs.py": "tasks/rq_jobs.py",
    "rq_enqueue.py": "tasks/rq_enqueue.py",
}
# The parent of the worker has a connection of its own before it forks.
PUBLISH_IN_THE_PARENT = "\nprint('in the parent:', publisher.publish('before the fork', channel='orders'))\n"
# It need not look for other workers first, which takes a second.
WORKER = read("tasks/worker.sh").strip() + " --concurrency 2 --without-gossip --without-mingle"
POST = """
from start import app
print(app.test_client().post("/exports/7").get_json())
"""
RETRIES_SECONDS = patient(20)
# One answer of the broker fits, and two do not.
ONE_ANSWER_BYTES = 60


@dataclass(frozen=True)
class Workshop:
    """Where tasks are sent from, with the connection to the events' broker in our hands.

    Attributes:
        folder: With the modules of the page.
        env: The variables that they need.
        proxy: Between them and the broker of the events.
        hear: Returns the next event.
    """

    folder: Path
    env: dict[str, str]
    proxy: Proxy
    hear: Callable[[], dict[str, Any]]

    def start(self, command: str, ready: str) -> Process:
        """Start a worker."""
        return shell(command, self.folder, self.env, ready)

    def run(self, *argv: str | Path) -> str:
        """Run a program of Python and return what it writes."""
        program = SCRIPTS / "python"
        return subprocess.run(
            [program, *argv],
            cwd=self.folder,
            env=self.env,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENT_SECONDS,
        ).stdout


@pytest.fixture
def workshop(redis_server: Broker, tmp_path: Path) -> Iterator[Workshop]:
    """Queues in one server, events in another."""
    lay(tmp_path, FILES)
    queues = redis_server.url.removesuffix("/0") + "/1"
    with redis.Redis.from_url(queues) as server:
        server.flushdb()
    with (
        # Its own, for keys hold for 5 minutes.
        start_valkey() as valkey,
        Proxy(valkey.port) as proxy,
        redis.Redis.from_url(valkey.url) as client,
        client.pubsub() as pubsub,
    ):
        pubsub.subscribe("orders", "job-7")
        listening = pubsub.listen()
        for _ in range(2):
            next(listening)
        env = {
            "REDIS_URL": valkey.url.replace(str(valkey.port), str(proxy.port)),
            "CELERY_BROKER_URL": queues,
            "RQ_REDIS_URL": queues,
        }
        yield Workshop(tmp_path, env, proxy, lambda: dict(json.loads(next(listening)["data"])))


def call(task: str, *arguments: object) -> tuple[str, ...]:
    return "-c", f"import tasks; tasks.{task}.delay(*{arguments!r})"


def test_tasks_of_a_forking_worker_publish_also_after_their_parent_did(workshop: Workshop) -> None:
    tasks = workshop.folder / "tasks.py"
    whole = tasks.read_text()
    tasks.write_text(whole + PUBLISH_IN_THE_PARENT)
    with workshop.start(WORKER, " ready."):
        assert workshop.hear()["data"] == "before the fork"
        tasks.write_text(whole)
        assert workshop.run("-c", POST) == "{'channel': 'job-7'}\n"
        heard = [workshop.hear() for _ in range(1000)]
        assert heard[-1] == {"data": {"all": 1000, "done": 1000}, "type": "progress"}
        assert [event["data"]["done"] for event in heard] == list(range(1, 1001))


def test_what_celery_tries_again_reaches_pages_once(workshop: Workshop) -> None:
    with workshop.start(f"{WORKER} --pool solo", " ready.") as worker:
        workshop.run(*call("tell_paid", 1))
        assert workshop.hear()["data"] == {"order": 1}
        # It is published, and the worker does not hear of it.
        workshop.proxy.limit_data(0, "downstream")
        workshop.run(*call("tell_paid", 2))
        worker.wait_for_line("Retry in", RETRIES_SECONDS)
        worker.wait_for_line("succeeded", RETRIES_SECONDS)
        workshop.run(*call("tell_paid", 3))
        assert [workshop.hear()["data"] for _ in range(2)] == [{"order": 2}, {"order": 3}]


def test_a_task_that_failed_half_way_sends_the_rest(workshop: Workshop) -> None:
    with workshop.start(f"{WORKER} --pool solo", " ready.") as worker:
        workshop.run(*call("tell_steps", "7", ["heat"]))
        assert workshop.hear()["data"] == "heat"
        workshop.proxy.limit_data(ONE_ANSWER_BYTES, "downstream")
        workshop.run(*call("tell_steps", "7", ["mix", "bake", "eat"]))
        worker.wait_for_line("Retry in", RETRIES_SECONDS)
        assert [workshop.hear()["data"] for _ in range(3)] == ["mix", "bake", "eat"]


def test_a_job_of_rq_publishes_and_is_tried_again(workshop: Workshop) -> None:
    workshop.proxy.cut()
    command = read("tasks/rq_worker.sh").strip() + " --url $RQ_REDIS_URL"
    with workshop.start(command, "Listening on") as worker:
        workshop.run(workshop.folder / "rq_enqueue.py")
        worker.wait_for_line("UnavailableError", RETRIES_SECONDS)
        workshop.proxy.restore()
        assert workshop.hear() == {"data": {"order": 7}, "type": "paid"}
