"""The systems that are compared: each starts on the core of what is measured, as its documentation says."""

from __future__ import annotations

import http.client
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.brokers import Broker, start_valkey
from tests.support.hubs import separate_hubs
from tests.support.nginx import nginx_user
from tests.support.processes import Process, children, free_port, wait_until
from tests.support.tools import require
from tests.support.webservers import SCRIPTS

from flask_sse import Publisher
from flask_sse.hub.client.open_client import open_hub_client
from flask_sse.settings import Settings

from .harness import EVENT_BYTES, Client, Commanded, event_data, native, on_both_cores, on_server_core
from .tools import NCHAN

OPENING_AT_ONCE = 64
SETTLE_SECONDS = 0.3
SERVERS = Path(__file__).parent / "servers"


@dataclass
class System:
    """A server that runs.

    Attributes:
        name: What it is called in tables.
        port: Where it listens.
        publish: Publishes data to a channel.
        pids: All its processes.
        path: Where its streams are; ``%d`` where each has a channel of its own.
        broker: What carries its events; ``None`` where it does so itself.
        hub: The process that writes to the clients, where that is another one.
        is_silent: Whether a stream has no response head before its first event.
    """

    name: str
    port: int
    publish: Callable[[str, str], object]
    pids: Sequence[int]
    path: str = "/stream"
    broker: Broker | None = None
    hub: int = 0
    is_silent: bool = False

    def send(self, events: int, per_second: float) -> None:
        """Publish events to the channel ``sse`` at a pace."""
        due = time.monotonic()
        for _ in range(events):
            self.publish(event_data(), "sse")
            due += 1 / per_second
            time.sleep(max(0.0, due - time.monotonic()))

    def pause(self) -> None:
        """Stop all its processes, so that they do not disturb others."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let its processes continue, and do what has become due."""
        self._signal(signal.SIGCONT)
        time.sleep(SETTLE_SECONDS)

    def _signal(self, number: int) -> None:
        for pid in self.pids:
            os.kill(pid, number)

    @contextmanager
    def clients(self, count: int, path: str = "", header: str = "", *, others: int = 0) -> Iterator[Client]:
        """Open streams, beside others that are open, and yield when they get what is published."""
        at_once = count if self.is_silent else OPENING_AT_ONCE
        with Client(self.port, path or self.path, count, at_once=at_once, header=header) as client:
            if self.is_silent:
                # Its publications say how many streams have subscribed.
                subscribed = count + others
                wait_until(
                    lambda: time.sleep(1) or self.publish("ready?", "sse") == subscribed, 60, "subscribed"
                )
            client.wait_opened()
            client.reset()
            yield client


class Floor(System):
    """A C program that calls ``send()`` and does nothing else."""

    def __init__(self, port: int, program: Commanded) -> None:
        super().__init__("C send() loop (floor)", port, self._publish, [program.pid], path="/")
        self._program = program

    def _publish(self, _: str, __: str) -> None:
        self.send(1, 1e9)

    def send(self, events: int, per_second: float) -> None:
        """See ``System.send``."""
        self._program.ask(f"send {events} {int(1e9 / per_second)} {EVENT_BYTES}")


@contextmanager
def floor() -> Iterator[System]:
    """The floor: no system can be cheaper."""
    port = free_port()
    with Commanded(on_server_core(native("floor"), str(port))) as program:
        program.answer("start")
        yield Floor(port, program)


@contextmanager
def flask_sse_2(
    app: str = "quickstart:app",
    env: Mapping[str, str] | None = None,
    *,
    worker: Sequence[str] = ("-k", "sync"),
    name: str = "Flask-SSE 2",
    both_cores: bool = False,
) -> Iterator[System]:
    """Ours: gunicorn with one worker, a hub process, Valkey."""
    place = on_both_cores if both_cores else on_server_core
    with start_valkey() as broker, separate_hubs():
        settings = {"REDIS_URL": broker.url, "PYTHONPATH": str(SERVERS), **(env or {})}
        port = free_port()
        argv = place(*_gunicorn(port, *worker, app))
        with Process(argv, settings, ready=port) as server:
            # The application starts the hub, on its own core, when it is needed.
            get(port, "/stream?channel=warm", whole=False)
            # With the same settings, for others mean another hub.
            hub_client = open_hub_client(Settings.from_mapping(settings))
            wait_until(lambda: hub_client.status()["opened"], what="the hub that has the stream")
            hub = int(str(hub_client.status()["pid"]))
            publisher = Publisher(broker.url)
            system = System(
                name,
                port,
                lambda data, channel: publisher.publish(data, channel=channel),
                [server.pid, *children(server.pid), hub],
                broker=broker,
                hub=hub,
            )
            yield system
            publisher.close()
            hub_client.close()


@contextmanager
def flask_sse_1() -> Iterator[System]:
    """Flask-SSE 1.0: gunicorn with gevent, as its documentation has it, and Valkey."""
    with start_valkey() as broker:
        old = os.pathsep.join([str(require("flask-sse-1.0")), str(SERVERS)])
        port = free_port()
        argv = on_server_core(
            *_gunicorn(port, "-k", "gevent", "--worker-connections", "4000", "quickstart:app")
        )
        publisher = Publisher(broker.url)

        with Process(argv, {"REDIS_URL": broker.url, "PYTHONPATH": old}, ready=port) as server:
            yield System(
                "Flask-SSE 1.0 (gevent)",
                port,
                lambda data, channel: publisher.publish(data, channel=channel),
                _with_workers(server),
                broker=broker,
                is_silent=True,
            )
        publisher.close()


@contextmanager
def nchan(*, redis: bool = False) -> Iterator[System]:
    """nchan in nginx, published to over HTTP; events stay in nginx or go through Valkey."""
    port = free_port()
    with ExitStack() as stack:
        broker = stack.enter_context(start_valkey()) if redis else None
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nchan-")))
        configuration = (
            (SERVERS / "nchan.conf")
            .read_text()
            .format(
                user=nginx_user(),
                module=NCHAN,
                port=port,
                upstream=f"upstream redis {{ nchan_redis_server {broker.url}; }}" if broker else "",
                redis="nchan_redis_pass redis;" if broker else "",
            )
        )
        (folder / "nginx.conf").write_text(configuration)
        argv = on_server_core(require("nginx"), "-p", folder, "-c", "nginx.conf", "-e", "stderr")
        server = stack.enter_context(Process(argv, ready=port))
        yield System(
            "nchan, Redis" if redis else "nchan",
            port,
            poster(port, "/publish/"),
            _with_workers(server),
            path="/stream/sse",
            broker=broker,
        )


@contextmanager
def better_sse() -> Iterator[System]:
    """better-sse on Node, published to over HTTP."""
    port = free_port()
    program = SERVERS / "better-sse" / "server.js"
    with Process(on_server_core(require("node"), program, str(port)), ready=port) as server:
        yield System("better-sse (Node)", port, poster(port, "/"), [server.pid], path="/")


@contextmanager
def sse_starlette() -> Iterator[System]:
    """sse-starlette on uvicorn, one queue a client, Valkey."""
    port = free_port()
    with start_valkey() as broker:
        argv = on_server_core(
            SCRIPTS / "uvicorn",
            "--port",
            str(port),
            "--log-level",
            "warning",
            "--backlog",
            "2048",
            "uvicorn_app:app",
        )
        env = {"REDIS_URL": broker.url, "PYTHONPATH": str(SERVERS)}
        with Process(argv, env, ready=port) as server:
            redis = broker.client()
            yield System(
                "sse-starlette (uvicorn)",
                port,
                lambda data, channel: redis.publish(channel, data),
                [server.pid],
                broker=broker,
            )


def poster(port: int, path: str) -> Callable[[str, str], None]:
    """Return what publishes over one connection that stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def post(data: str, channel: str) -> None:
        connection.request("POST", path + channel, data)
        connection.getresponse().read()

    return post


def get(port: int, path: str, *, whole: bool = True) -> None:
    """Ask for a page; its head alone for a stream."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    if whole:
        response.read()
    connection.close()


def _with_workers(server: Process) -> list[int]:
    """Return the pids of a server that listens before it has a worker."""
    return [server.pid, *wait_until(lambda: children(server.pid), what="a worker")]


def _gunicorn(port: int, *words: str) -> list[str | Path]:
    # No timeout: a server that stood still while others were measured is not broken.
    options = ("--workers", "1", "--timeout", "0", "--backlog", "2048", "--no-control-socket")
    return [SCRIPTS / "gunicorn", *options, "--bind", f"127.0.0.1:{port}", *words]
