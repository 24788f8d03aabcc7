"""Runs in the workers of job queues, which are killed, and in a process whose threads gevent has replaced."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tests.stories.docs.snippets import shell
from tests.support.brokers import Broker
from tests.support.client import StreamClient, get
from tests.support.local import LocalServer, make_app
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, free_port
from tests.support.webservers import SCRIPTS

from flask_sse import new_run

# The first attempt yields its process id until it is killed, and the second one comes to its end. Leases are
# short, and so is the silence that is a death, in the same proportion.
JOBS = """
import os, pathlib, time
from flask_sse import Publisher
from flask_sse.producing import attempt, producer

vars(producer).update(CHECK_SECONDS=0.05, ALIVE_SECONDS=0.5)
vars(attempt).update(CHECK_SECONDS=0.05, RENEW_SECONDS=0.3, LEASE_SECONDS=1.0)
publisher = Publisher(os.environ["EVENTS_URL"])
killed = pathlib.Path("killed")

def rows():
    yield {"pid": os.getpid()}
    while not killed.exists():
        time.sleep(0.05)
        yield "row"
    yield "all"

def export(channel):
    return publisher.produce(rows(), channel)
"""
CELERY = """
import os
from celery import Celery
import jobs

app = Celery("tasks", broker=os.environ["QUEUE_URL"])
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)
export = app.task(jobs.export, name="export")
"""
START_CELERY = """
import sys, tasks
tasks.export.delay(sys.argv[1])
"""
START_RQ = """
import os, sys, jobs
from redis import Redis
from rq import Queue, Retry

queue = Queue(connection=Redis.from_url(os.environ["QUEUE_URL"]))
queue.enqueue(jobs.export, sys.argv[1], retry=Retry(max=1))
"""


@pytest.fixture
def env(redis_server: Broker, valkey: Broker, tmp_path: Path) -> dict[str, str]:
    """Queues in one server, events in another; the modules of the jobs."""
    modules = {"jobs": JOBS, "tasks": CELERY, "celery_start": START_CELERY, "rq_start": START_RQ}
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    queues = redis_server.url.removesuffix("/0") + "/2"
    with redis.Redis.from_url(queues) as server:
        server.flushdb()
    return {"QUEUE_URL": queues, "EVENTS_URL": valkey.url, "PYTHONPATH": str(tmp_path)}


@pytest.fixture
def server(valkey: Broker) -> Iterator[LocalServer]:
    """An application whose pages follow the run."""
    with LocalServer(make_app(SSE_BROKER_URL=valkey.url, SSE_HUB="thread")) as server:
        yield server


def kill_first_attempt(stream: StreamClient, folder: Path) -> None:
    begin, first = stream.events(2)
    assert begin.type == "run-begin"
    (folder / "killed").touch()
    os.kill(json.loads(first.data)["pid"], signal.SIGKILL)


def assert_second_attempt(stream: StreamClient) -> None:
    """The page that was open all the time has followed the second attempt to its end."""
    assert stream.wait_closed() == "eof"
    assert stream.raw.count(b"event:run-begin") == 2
    assert stream.raw.count(b"event:stream-end") == 1
    assert b'"reason": "finished"' in stream.raw
    assert stream.raw.count(b"data:all\n") == 1


def start(env: dict[str, str], folder: Path, script: str, channel: str) -> None:
    with Process([SCRIPTS / "python", folder / f"{script}.py", channel], env, folder) as process:
        assert process.wait(PATIENT_SECONDS) == 0


def test_a_worker_of_celery_that_is_killed_in_the_middle_of_a_run(
    env: dict[str, str], server: LocalServer, tmp_path: Path
) -> None:
    channel = new_run()
    command = "celery -A tasks worker --loglevel INFO --concurrency 1 --without-gossip --without-mingle"
    with shell(command, tmp_path, env) as worker, server.stream(f"/stream?channel={channel}") as stream:
        worker.wait_for_line(" ready.")
        start(env, tmp_path, "celery_start", channel)
        kill_first_attempt(stream, tmp_path)
        assert_second_attempt(stream)


def test_a_worker_of_rq_that_is_killed_in_the_middle_of_a_run(
    env: dict[str, str], server: LocalServer, tmp_path: Path
) -> None:
    channel = new_run()
    command = "rq worker --with-scheduler --url $QUEUE_URL"
    with shell(command, tmp_path, env) as worker, server.stream(f"/stream?channel={channel}") as stream:
        worker.wait_for_line("Listening on")
        start(env, tmp_path, "rq_start", channel)
        kill_first_attempt(stream, tmp_path)
        assert_second_attempt(stream)


GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, gevent
from flask import Flask, g, request
from gevent.pywsgi import WSGIServer
from flask_sse import new_run, sse, RunInProgressError

app = Flask("patched")
app.config["SSE_BROKER_URL"] = sys.argv[2]
app.register_blueprint(sse, url_prefix="/stream")

def work():
    try:
        for number in range(5):
            gevent.sleep(0.02)
            yield f"{request.args['q']} {number} {'user' in g}"
        if request.args["q"] == "late":
            with gevent.Timeout(0.01):
                gevent.sleep(5)
        if request.args["q"] == "endless":
            while True:
                gevent.sleep(0.02)
                yield "again"
    finally:
        print("closed", request.args["q"], flush=True)

@app.get("/answer")
def answer():
    g.user = "ann"
    return sse.response(work())

@app.get("/run")
def run():
    return sse.run(work())

@app.get("/twice")
def twice():
    name = new_run(prefix="twice-")
    sse.run(work(), name)
    try:
        sse.run(work(), name)
    except RunInProgressError as error:
        return type(error).__name__

@app.get("/cancel")
def cancel():
    sse.cancel(request.args["channel"])
    return ""

print("listens", flush=True)
WSGIServer(("127.0.0.1", int(sys.argv[1])), app, log=None).serve_forever()
"""


def test_generators_where_gevent_has_replaced_threads(valkey: Broker, tmp_path: Path) -> None:
    port = free_port()
    script = tmp_path / "patched.py"
    script.write_text(GEVENT)
    with Process([sys.executable, script, str(port), valkey.url], cwd=tmp_path, ready=port) as process:
        with StreamClient(port, "/answer?q=why") as stream:
            assert stream.wait_closed() == "eof"
            assert [event.data for event in stream.events(5)] == [f"why {n} False" for n in range(5)]
            assert b'"finished"' in stream.raw
        with StreamClient(port, "/answer?q=late") as stream:
            assert stream.wait_closed() == "eof"
            assert stream.raw.count(b"event:stream-end") == 1
            assert b'"failed"' in stream.raw
        process.wait_for_line("gevent.timeout.Timeout")
        with StreamClient(port, "/answer?q=endless") as stream:
            stream.events(6)
        process.wait_for_line("closed endless")
        channel = get(port, "/run?q=endless").body.decode()
        with StreamClient(port, f"/stream?channel={channel}") as stream:
            assert stream.events(2)[1].data == "endless 0 False"
            get(port, f"/cancel?channel={channel}")
            assert stream.wait_closed() == "eof"
            assert b'"cancelled"' in stream.raw
        assert get(port, "/twice?q=why").body == b"RunInProgressError"
