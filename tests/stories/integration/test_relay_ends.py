"""What becomes of streams when the worker that answers them is told to end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.support import webservers
from tests.support.bare_application import BareApplication
from tests.support.client import StreamClient
from tests.support.patience import patient
from tests.support.processes import children, running, wait_until
from tests.support.webservers import RunningServer

APPS = Path(__file__).parent / "apps"
URL = "memory://relay-ends"
STREAMS = 100
# The most that a deploy waits for relayed streams, and for the whole server: far less than the half minute
# after which servers give up to wait for them.
PROMISED_SECONDS = 2.0
STREAM_SECONDS, EXIT_SECONDS = patient(PROMISED_SECONDS), patient(4.0)
LAST_BLOCK = re.compile(rb"\n\nretry:(\d+)\n\n\Z")
RETRY = b"retry:1\n\n"


@pytest.fixture(scope="module")
def hub() -> Iterator[BareApplication]:
    """The hub of all tests here, which stays while web servers come and go."""
    with BareApplication(URL) as client:
        yield client


def start(name: str, *options: str, env: Mapping[str, str] | None = None) -> RunningServer:
    """Start a server whose streams are relayed, and quiet: no heartbeat comes to the help of a test."""
    settings = {
        "FLASK_SSE_BROKER_URL": URL,
        "FLASK_SSE_TAKEOVER": "off",
        "FLASK_SSE_HEARTBEAT_SECONDS": "60",
        **(env or {}),
    }
    return webservers.start(name, "plain:app", APPS, settings, options)


@contextlib.contextmanager
def open_streams(server: RunningServer, count: int, channel: str) -> Iterator[list[StreamClient]]:
    with contextlib.ExitStack() as stack:
        path = f"/stream?channel={channel}"
        streams = [stack.enter_context(server.stream(path)) for _ in range(count)]
        for stream in streams:
            stream.wait_opened()
        yield streams


def wait_ended(streams: list[StreamClient], since: float) -> list[bytes]:
    """Wait for the proper end of all streams, and return the reconnection times that they said last."""
    retries = []
    for stream in streams:
        assert stream.wait_closed(since + STREAM_SECONDS - time.monotonic()) == "last chunk"
        assert stream.raw.endswith(b"\r\n0\r\n\r\n")
        last = LAST_BLOCK.search(stream.reading.body)
        assert last, stream.raw[-500:]
        retries.append(last[1])
    return retries


def test_100_relayed_streams_end_by_themselves_when_the_server_is_told_to_end(
    hub: BareApplication, channel: str
) -> None:
    with (
        start("gunicorn-gthread", "--threads", str(STREAMS + 5)) as server,
        open_streams(server, STREAMS, channel) as streams,
    ):
        assert hub.publish("before", channel=channel) == STREAMS
        began = time.monotonic()
        os.kill(server.process.pid, signal.SIGTERM)
        retries = wait_ended(streams, began)
        assert all(stream.next_event().data == "before" for stream in streams)
        assert len(set(retries)) > STREAMS // 2
        for stream in streams:
            stream.close()
        assert server.process.wait(EXIT_SECONDS) == 0
        assert "Traceback" not in server.process.output()
    assert hub.publish("after", channel=channel) == 0


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gunicorn-tls", 1),  # its worker is a sync one
        ("gunicorn-gevent", 5),
        ("gunicorn-gevent_pywsgi", 5),
        ("gunicorn-asgi", 1),
    ],
)
def test_relayed_streams_end_and_come_back_when_gunicorn_reloads(
    name: str, count: int, hub: BareApplication, channel: str
) -> None:
    with start(name) as server, open_streams(server, count, channel) as streams:
        (old,) = children(server.process.pid)
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: {*children(server.process.pid)} - {old}, what="the new worker")
        wait_ended(streams, time.monotonic())
        for stream in streams:
            stream.close()
        wait_until(lambda: not running(old), EXIT_SECONDS, "the old worker to end")
        with open_streams(server, 1, channel) as (again,):
            assert hub.publish("again", channel=channel) == 1
            assert again.next_event().data == "again"
        assert "Traceback" not in server.process.output()
        server.process.kill_tree()


def test_relayed_streams_end_when_uvicorn_is_told_to_end(hub: BareApplication, channel: str) -> None:
    with start("uvicorn-uvloop") as server, open_streams(server, 1, channel) as streams:
        began = time.monotonic()
        os.kill(server.process.pid, signal.SIGTERM)
        wait_ended(streams, began)
        # It ends in its own way, and then by the signal.
        assert server.process.wait(EXIT_SECONDS) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gunicorn-asgi", ["-k", "uvicorn.workers.UvicornWorker"]),
        ("hypercorn", []),
        ("hypercorn-a2wsgi", []),
    ],
)
def test_relayed_streams_end_when_an_asgi_server_is_told_to_end(
    name: str, options: list[str], hub: BareApplication, channel: str
) -> None:
    """(14.32) uvicorn's server is in a task of its loop, below a worker of gunicorn that says it is alive."""
    with start(name, *options) as server, open_streams(server, 1, channel) as streams:
        began = time.monotonic()
        os.kill(server.process.pid, signal.SIGTERM)
        wait_ended(streams, began)
        assert server.process.wait(EXIT_SECONDS) == 0
        assert "Traceback" not in server.process.output()


def test_a_quiet_relayed_stream_outlives_the_time_out_of_a_threaded_worker(
    hub: BareApplication, channel: str
) -> None:
    with (
        start("gunicorn-gthread", "--timeout", "5") as server,
        open_streams(server, 1, channel) as (stream,),
    ):
        before = children(server.process.pid)
        # gunicorn looks once a second for workers that were silent for their time-out.
        with pytest.raises(TimeoutError):
            stream.next_event(timeout=7.5)
        assert "WORKER TIMEOUT" not in server.process.output()
        assert children(server.process.pid) == before
        assert hub.publish("still here", channel=channel) == 1
        assert stream.next_event().data == "still here"
        server.process.kill_tree()


@pytest.mark.parametrize("name", ["gunicorn-sync", "gunicorn-gthread", "gunicorn-gevent"])
def test_streams_that_were_taken_over_outlive_their_server(name: str, channel: str) -> None:
    url = f"memory://{channel}"
    env = {"SSE_BROKER_URL": url, "SSE_TAKEOVER": "auto", "SSE_HUB_LINGER_SECONDS": "0.1"}
    with (
        BareApplication(url, hub_linger_seconds=0.1) as hub,
        start(name, env={f"FLASK_{key}": value for key, value in env.items()}) as server,
        open_streams(server, 1, channel) as (stream,),
    ):
        assert hub.status()["streams"] == 1
        assert server.process.terminate(EXIT_SECONDS) == 0
        assert hub.publish("the server has gone", channel=channel) == 1
        assert stream.next_event().data == "the server has gone"
        hub.close()
        assert stream.wait_closed() == "eof"
        assert LAST_BLOCK.search(stream.reading.body)
