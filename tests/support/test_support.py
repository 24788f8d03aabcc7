"""The helpers work by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest
import redis
from playwright.sync_api import Page
from tests.support import processes
from tests.support.brokers import Broker, start_redis, start_replica, start_valkey
from tests.support.client import StreamClient, get
from tests.support.hubs import separate_hubs
from tests.support.nginx import Nginx
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import (
    Process,
    ProcessError,
    children,
    descriptors,
    free_port,
    running,
    wait_until,
)
from tests.support.proxy import Proxy
from tests.support.swarm import Swarm, raise_descriptor_limit
from tests.support.tools import require
from tests.support.webservers import SCRIPTS, WEB_SERVERS, RunningServer, start
from tests.tools import CLIENTS, ROOT

from flask_sse.wire.decode import Event

# A test of the test helpers.
pytestmark = [pytest.mark.long, pytest.mark.server]

# Three events; then /short ends, and /stream stays open.
APPLICATION = r"""
import os
import time

import flask

EVENTS = "".join(f"event: tick\nid: {number}\ndata: {number}\n\n" for number in range(3))

app = flask.Flask(__name__)


@app.get("/")
def greet():
    return os.environ.get("GREETING", "hello")


@app.get("/short")
def short():
    return flask.Response(iter([EVENTS]), mimetype="text/event-stream")


@app.get("/stream")
def stream():
    def body():
        yield EVENTS
        while True:
            time.sleep(0.1)
            yield ":\n\n"

    return flask.Response(body(), mimetype="text/event-stream")
"""
TICKS = [Event("tick", str(number), str(number)) for number in range(3)]

# Starts what outlives it, as an application starts its hub.
DETACHING = """
import subprocess

hub = subprocess.Popen(["sleep", "60"], start_new_session=True)
print(hub.pid, flush=True)
hub.wait()
"""

# Holds any number of streams, on a port and on a Unix socket; /end ends its stream.
CROWD_SERVER = r"""
import asyncio
import sys

async def answer(reader, writer):
    request = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\ndata: 2\n\n")
    if b"/end" not in request:
        await reader.read()
    writer.close()

async def main(port, path):
    await asyncio.start_server(answer, "127.0.0.1", int(port))
    await asyncio.start_unix_server(answer, path)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small application."""
    directory = tmp_path_factory.mktemp("application")
    (directory / "small.py").write_text(APPLICATION)
    return directory


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[RunningServer]:
    """The small application on a server with threads."""
    with start("flask-threaded", "small:app", directory) as server:
        yield server


@pytest.fixture(scope="module")
def visits(directory: Path) -> Iterator[dict[str, Future[None]]]:
    """A visit to each web server, several at a time: most of it is waiting."""

    def visit(name: str) -> None:
        with start(name, "small:app", directory, {"GREETING": name}) as server:
            answer = server.get("/")
            assert (answer.status, answer.body) == (200, name.encode())
            with server.stream("/short") as stream:
                assert stream.status == 200
                assert stream.events(3) == TICKS
            family = [server.process.pid, *children(server.process.pid)]
        wait_until(lambda: not any(map(running, family)), what=f"all processes of {name} gone")

    with ThreadPoolExecutor(4) as pool:
        yield {name: pool.submit(visit, name) for name in WEB_SERVERS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", WEB_SERVERS)
def test_web_server_answers_and_leaves_nothing_behind(name: str, visits: dict[str, Future[None]]) -> None:
    visits[name].result()


def test_process_that_fails_to_start_shows_its_output() -> None:
    code = "import sys; sys.exit('no licence')"
    with pytest.raises(ProcessError, match="ended with 1\nno licence"):
        Process([sys.executable, "-c", code], ready=free_port())


def test_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "TERMINATE_SECONDS", 0.1)
    script = "trap '' TERM; sleep 60 & echo deaf; wait"
    with Process(["sh", "-c", script], ready="deaf") as process:
        family = [process.pid, *children(process.pid)]
        assert len(family) == 2
    wait_until(lambda: not any(map(running, family)), what="all gone")


def test_tree_is_killed_at_once() -> None:
    with Process(["sh", "-c", "sleep 60 & echo started; wait"], ready="started") as process:
        (child,) = children(process.pid)
        assert descriptors(process.pid) >= 3
        process.kill_tree()
        assert process.wait() == -signal.SIGKILL
        wait_until(lambda: not running(child), what="the child gone")


def test_hub_that_outlives_its_application_is_ended_with_the_test() -> None:
    with separate_hubs() as directory:
        assert len(directory) < 40
        with Process([sys.executable, "-c", DETACHING]) as application:
            hub = int(application.wait_for_line(""))
        assert running(hub)
    wait_until(lambda: not running(hub), what="the hub gone")
    assert not Path(directory).exists()


@pytest.mark.parametrize("start_broker", [start_valkey, start_redis])
@pytest.mark.parametrize(("password", "unix"), [(None, False), ("secret", True)])
def test_broker_answers_and_comes_back_empty(
    start_broker: Callable[..., Broker], password: str | None, unix: bool
) -> None:
    with start_broker(password=password, unix=unix) as broker:
        with redis.Redis.from_url(broker.url) as client:
            assert client.set("kept", "no")
        broker.process.kill()
        broker.restart()
        with redis.Redis.from_url(broker.url) as client:
            assert client.ping()
            assert client.get("kept") is None


@pytest.fixture(params=[start_valkey, start_redis])
def start_broker(request: pytest.FixtureRequest) -> Callable[..., Broker]:
    """What starts a server, of each kind."""
    start: Callable[..., Broker] = request.param
    return start


def test_persistent_broker_keeps_what_it_held(start_broker: Callable[..., Broker]) -> None:
    with start_broker(persistent="always") as broker:
        client = broker.client()
        client.set("kept", "yes")
        broker.restart()
        assert client.get("kept") == b"yes"
        size = broker.log.stat().st_size
        client.set("later", "lost")
        broker.kill()
        assert not broker.process.alive
        broker.restart()
        assert client.get("later") == b"lost"
        broker.kill()
        os.truncate(broker.log, size)
        broker.restart()
        assert client.keys() == [b"kept"]
        assert broker.client() is client


def test_broker_takes_settings(start_broker: Callable[..., Broker]) -> None:
    limits = {"maxmemory": "10mb", "client-output-buffer-limit": "pubsub 1mb 1mb 60"}
    with start_broker(config=limits) as broker:
        assert broker.client().config_get("maxmemory") == {"maxmemory": str(10 * 1024**2)}
        (buffers,) = broker.client().config_get("client-output-buffer-limit").values()
        assert "pubsub 1048576 1048576 60" in str(buffers)


@pytest.mark.parametrize("password", [None, "secret"])
def test_replica_follows_and_can_fall_behind(
    start_broker: Callable[..., Broker], password: str | None
) -> None:
    with start_broker(password=password) as primary, Proxy(primary.port) as proxy:
        primary.client().set("number", 1)
        with start_replica(primary, port=proxy.port) as replica:
            assert replica.client().get("number") == b"1"
            proxy.black_hole()
            primary.client().set("number", 2)
            primary.kill()
            replica.client().replicaof("NO", "ONE")
            assert replica.client().incr("number") == 2


def test_clock_of_a_broker_goes_forth_and_back(start_broker: Callable[..., Broker]) -> None:
    with start_broker(clock_offset_seconds=-3600, persistent="always") as broker:

        def append() -> tuple[int, int]:
            milliseconds, sequence = os.fsdecode(broker.client().xadd("stream", {"": ""})).split("-")
            return int(milliseconds), int(sequence)

        first, _ = append()
        assert abs(first / 1000 + 3600 - time.time()) < 5
        broker.set_clock(+3600)
        ahead, _ = append()
        assert ahead - first > 7_000_000
        broker.set_clock(0)
        assert append() == (ahead, 1)
        broker.kill()
        broker.restart()
        assert append() == (ahead, 2)


def test_clock_of_an_ordinary_broker_stays(valkey: Broker) -> None:
    with pytest.raises(ValueError, match="clock_offset_seconds"):
        valkey.set_clock(1)


def test_shared_brokers_answer(valkey: Broker, redis_server: Broker, channel: str) -> None:
    for broker in (valkey, redis_server):
        with redis.Redis.from_url(broker.url) as client:
            assert client.publish(channel, "") == 0


def test_client_sees_the_head_the_chunks_and_the_end(server: RunningServer) -> None:
    with server.stream("/short", {"X-Header": "1"}, http_version="1.0") as stream:
        assert stream.next_event() == TICKS[0]
        stream.wait_for_bytes(b"data: 2\n\n")
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert stream.wait_closed() == "last chunk"
        assert stream.raw.startswith(stream.reading.head)
        assert stream.raw.endswith(b"\r\n0\r\n\r\n")
        with pytest.raises(EOFError, match="last chunk instead of 3 events"):
            stream.events(3)


def test_client_can_reset_and_can_wait_in_vain(server: RunningServer) -> None:
    stream = server.stream("/stream")
    with pytest.raises(TimeoutError, match="no 4 events within"):
        stream.events(4, timeout=0.2)
    stream.reset()


@pytest.mark.parametrize("http_version", ["1.0", "1.1"])
def test_nginx_passes_requests_on(server: RunningServer, http_version: Literal["1.0", "1.1"]) -> None:
    with Nginx(server.port, http_version) as nginx:
        assert get(nginx.port).body == b"hello"
        with StreamClient(nginx.port, "/short") as stream:
            assert stream.events(3) == TICKS
            assert stream.headers["Server"].startswith("nginx")
            assert stream.wait_closed() == "last chunk"


def test_nginx_reaches_a_unix_socket(directory: Path, tmp_path: Path) -> None:
    path = f"{tmp_path}/socket"
    words = ["--bind", f"unix:{path}", "--no-control-socket", "--pythonpath", str(directory), "small:app"]
    with Process([SCRIPTS / "gunicorn", *words], ready="Booting worker"), Nginx(path) as nginx:
        assert get(nginx.port).body == get(path).body == b"hello"


def test_swarm_counts_events_and_ends(tmp_path: Path) -> None:
    raise_descriptor_limit()
    port, path = free_port(), f"{tmp_path}/socket"
    argv = [sys.executable, "-c", CROWD_SERVER, str(port), path]
    with Process(argv, ready="ready") as crowd, Swarm([port, path], "/") as swarm:
        with StreamClient(path, "/end") as stream:
            assert stream.wait_closed() == "eof"
        swarm.open(1000)
        swarm.wait_opened()
        swarm.wait_events(2)
        assert swarm.events == [["1", "2"]] * 1000
        assert not swarm.closed
        crowd.kill()
        wait_until(lambda: len(swarm.closed) == 1000, what="all closed")
        swarm.open(1)
        with pytest.raises(ConnectionError, match="1 of 1001"):
            swarm.wait_opened()


@pytest.mark.parametrize("name", ["listen.mjs", "listen_httpx_sse.py", "listen_sseclient.py"])
def test_independent_client_prints_events(server: RunningServer, name: str) -> None:
    with listen(name, f"{server.url}/stream", 3) as client:
        assert client.wait() == 0
        first, *events = client.output().splitlines()
    assert first == "open"
    assert [Event(*json.loads(event).values()) for event in events] == TICKS


@pytest.mark.parametrize("name", ["listen.mjs", "listen_httpx_sse.py", "listen_sseclient.py"])
def test_independent_client_fails_when_the_stream_ends(server: RunningServer, name: str) -> None:
    with listen(name, f"{server.url}/short", 4) as client:
        assert client.wait() == 1
        assert client.output().count('"tick"') == 3


def listen(name: str, url: str, count: int) -> Process:
    """Start an independent client that listens for ``count`` ticks."""
    if name.endswith(".py"):
        program = Path(sys.executable)
    else:
        require("eventsource")
        program = require("node")
    return Process([program, CLIENTS / name, url, "tick", str(count)])


def test_browser_hears_a_stream(server: RunningServer, chromium: Page) -> None:
    chromium.goto(server.url)
    assert chromium.inner_text("body") == "hello"
    chromium.evaluate("""
        source = new EventSource("/stream");
        source.addEventListener("tick", (event) => { document.title += event.data; });
    """)
    chromium.wait_for_function("document.title === '012'")


def test_missing_tool_skips_on_a_laptop_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool is missing"):
        require("no-such-tool")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool is missing"):
        require("no-such-tool")


LEAVES_A_SOCKET = """
import gc
import socket

def test_that_fails():
    left = socket.socket()
    left.itself = [left]
    assert left is None

def test_that_comes_next():
    gc.collect()
"""


def test_what_a_failed_test_leaves_open_does_not_fail_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "test_leaves.py").write_text(LEAVES_A_SOCKET)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "/dev/null",
        "-p",
        "no:asyncio",
        "--rootdir",
        str(tmp_path),
        "-W",
        "error",
    ]
    for plugin, counts in (("tests.support.leftovers", "1 failed, 1 passed"), ("pytester", "2 failed")):
        run = subprocess.run(
            [*command, "-p", plugin, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENT_SECONDS,
        )
        assert counts in run.stdout, run.stdout
