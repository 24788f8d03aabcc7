"""One worker and many streams, a deploy in the midst of them, and nginx in front."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from tests.support import webservers
from tests.support.bare_application import BareApplication
from tests.support.client import StreamClient, get
from tests.support.nginx import Nginx
from tests.support.numbers import Numbers
from tests.support.processes import Process, children, descriptors, free_port, running, wait_until
from tests.support.swarm import Swarm
from tests.support.webservers import WEB_SERVERS, RunningServer
from tests.tools import ROOT

APPS = Path(__file__).parent / "apps"
URL = "memory://many"
# No heartbeat comes to the help of a test.
ENV = {"STORY_BROKER_URL": URL, "STORY_HEARTBEAT_SECONDS": "60"}
STREAMS, REQUESTS, EVENTS = 500, 200, 20


@pytest.fixture(scope="module")
def hub() -> Iterator[BareApplication]:
    """The hub of all tests here, which stays while web servers come and go."""
    with BareApplication(URL) as client:
        yield client


@pytest.fixture(scope="module")
def server(hub: BareApplication) -> Iterator[RunningServer]:
    """One worker that answers one request at a time."""
    with webservers.start("gunicorn-sync", "story:app", APPS, ENV) as server:
        yield server


def test_one_sync_worker_holds_500_streams_and_answers_requests(
    server: RunningServer, hub: BareApplication, channel: str
) -> None:
    with server.stream("/stream") as first:
        first.wait_opened()
    assert server.get("/ordinary").status == 200
    family = [server.process.pid, *children(server.process.pid), hub.pid]
    assert len(family) == 3, "one master, one worker, one hub"
    wait_until(lambda: hub.status()["streams"] == 0, what="the first stream gone")
    before = [descriptors(pid) for pid in family]

    with Swarm([server.port], f"/stream?channel={channel}") as swarm:
        swarm.open(STREAMS)
        swarm.wait_opened()
        wait_until(lambda: hub.status()["streams"] == STREAMS, what="all streams in the hub")
        for number in range(REQUESTS):
            assert server.get(f"/ordinary?who={number}").body == b"ordinary %d" % number
            if number % (REQUESTS // EVENTS) == 0:
                assert hub.publish(str(number), channel=channel) == STREAMS
        swarm.wait_events(EVENTS)
        assert swarm.events == [[str(number) for number in range(0, REQUESTS, 10)]] * STREAMS
        assert not swarm.closed

    wait_until(lambda: hub.status()["streams"] == 0, what="the hub to notice that all left")
    wait_until(lambda: [descriptors(pid) for pid in family] <= before, what=f"descriptors back to {before}")
    assert "Traceback" not in server.process.output()


def test_deploy_by_kill_drops_no_stream_and_no_event(hub: BareApplication, channel: str) -> None:
    port = free_port()
    path = f"/stream?channel={channel}"
    with gunicorn(port) as old, Nginx(port) as nginx, Swarm([port, port, nginx.port], path) as swarm:
        swarm.open(30)
        swarm.wait_opened()
        wait_until(lambda: hub.status()["streams"] == 30, what="all streams in the hub")
        with Numbers(URL, channel, 200) as publisher:
            swarm.wait_events(10)
            workers = wait_until(lambda: two_workers(old), what="two workers")
            old.kill_tree()
            wait_until(lambda: not any(map(running, workers)), what="all of them gone")
            swarm.wait_events(len(publisher.sent) + 10)
            with gunicorn(port) as new, StreamClient(port, path) as late:
                late.wait_opened()
                assert get(nginx.port, "/ordinary?who=after").body == b"ordinary after"
                swarm.wait_events(len(publisher.sent) + 10)
                heard = [int(event.data) for event in late.events(10)]
                assert heard == list(range(heard[0], heard[0] + 10))
                assert not set(children(new.pid)) & set(workers)
        assert not swarm.closed
        swarm.wait_events(len(publisher.sent))
        assert swarm.events == [publisher.sent] * 30


def gunicorn(port: int) -> Process:
    """Start a master and two workers on ``port``."""
    argv = [*WEB_SERVERS["gunicorn-sync"].argv("story:app", port), "--workers", "2"]
    paths = [str(APPS), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return Process(argv, {**ENV, "PYTHONPATH": os.pathsep.join(filter(None, paths))}, ready=port)


def two_workers(master: Process) -> list[int] | None:
    workers = children(master.pid)
    return workers if len(workers) == 2 else None


@pytest.mark.parametrize("http_version", ["1.0", "1.1"])
def test_nginx_holds_nothing_back_and_tells_of_clients_that_leave(
    server: RunningServer, hub: BareApplication, channel: str, http_version: Literal["1.0", "1.1"]
) -> None:
    path = f"/stream?channel={channel}"
    with Nginx(server.port, http_version) as nginx:
        for number in range(3):
            with StreamClient(nginx.port, path) as stream:
                stream.wait_opened()
                assert stream.headers["Server"].startswith("nginx")
                for data in ("at once", "x" * 100_000, "again"):
                    assert hub.publish(data, channel=channel) == 1
                    assert stream.next_event().data == data
                # A connection that nginx would use again is none of the stream's.
                assert get(nginx.port, f"/ordinary?who={number}").body == b"ordinary %d" % number
            wait_until(lambda: hub.publish("anyone?", channel=channel) == 0, what="nginx to tell the hub")
