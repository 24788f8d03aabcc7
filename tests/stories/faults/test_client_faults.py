"""Clients that leave, read slowly, come in masses or hold back their requests: others notice nothing."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.support.brokers import Broker
from tests.support.client import StreamClient, connect, request_bytes
from tests.support.local import LocalServer, serve
from tests.support.nginx import Nginx
from tests.support.patience import patient
from tests.support.processes import wait_until
from tests.support.proxy import Proxy
from tests.support.swarm import Swarm

from flask_sse.hub.core.history_reads import KEPT_SECONDS

EVENTS = 100
# What does not come promptly does not come: nothing else wakes it.
PROMPT_SECONDS = patient(1.0)
BIG = "x" * 20_000
CROWD = 200
HALF_REQUESTS = 300


@pytest.fixture
def server(channel: str) -> Iterator[LocalServer]:
    """An application whose hub keeps little for slow clients."""
    with serve(
        SSE_BROKER_URL=f"memory://{channel}", SSE_MAX_BACKLOG_BYTES=200_000, SSE_HEARTBEAT_SECONDS=0.5
    ) as running:
        yield running


def wait_streams(server: LocalServer, count: int) -> None:
    wait_until(lambda: server.status()["streams"] == count, what=f"{count} streams")


def slowest_of(server: LocalServer, page: StreamClient, data: str, count: int = EVENTS) -> float:
    """Publish events one after the other; return how long the slowest took to reach a page."""
    slowest = 0.0
    for number in range(count):
        began = time.monotonic()
        server.publish(f"{number} {data}")
        assert page.next_event().data.startswith(f"{number} ")
        slowest = max(slowest, time.monotonic() - began)
    return slowest


@pytest.mark.parametrize("leave", [StreamClient.close, StreamClient.reset], ids=["FIN", "RST"])
def test_28_a_client_that_leaves_is_let_go(
    server: LocalServer, leave: Callable[[StreamClient], None]
) -> None:
    with server.stream("/stream") as stays:
        stays.wait_opened()
        gone = server.stream("/stream")
        gone.wait_opened()
        leave(gone)
        wait_streams(server, 1)
        assert slowest_of(server, stays, "", 3) < PROMPT_SECONDS


def test_29_a_client_that_vanishes_without_a_word_is_ended_by_its_age(channel: str) -> None:
    """Its connection stays open and nothing is read from it, so only bounds can end it."""
    settings = {"SSE_BROKER_URL": f"memory://{channel}", "SSE_HEARTBEAT_SECONDS": 0.5}
    with (
        serve(**settings, SSE_MAX_STREAM_SECONDS=2, SSE_RETRY_MS=100) as server,
        Proxy(server.port) as proxy,
        StreamClient(proxy.port, "/stream") as gone,
    ):
        gone.wait_opened()
        proxy.black_hole()
        assert server.status()["streams"] == 1
        wait_streams(server, 0)


@contextlib.contextmanager
def never_reads(server: LocalServer) -> Iterator[None]:
    """A client with a receive buffer of 4 KB that reads nothing."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(request_bytes("/stream"))
        yield


@contextlib.contextmanager
def reads_a_byte_a_second(server: LocalServer) -> Iterator[None]:
    """A client at the end of a very thin line."""
    with Proxy(server.port) as proxy:
        proxy.bandwidth(1, "downstream")
        with connect(proxy.port) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.sendall(request_bytes("/stream"))
            yield


@pytest.mark.parametrize(
    "slow", [pytest.param(never_reads, id="30"), pytest.param(reads_a_byte_a_second, id="31")]
)
def test_30_31_a_slow_client_is_ended_and_others_do_not_wait_for_it(
    server: LocalServer, slow: Callable[[LocalServer], contextlib.AbstractContextManager[None]]
) -> None:
    with server.stream("/stream") as page:
        page.wait_opened()
        alone = slowest_of(server, page, BIG)
        with slow(server):
            wait_streams(server, 2)
            beside = slowest_of(server, page, BIG)
            while server.status()["ended_slow"] == 0:
                beside = max(beside, slowest_of(server, page, BIG, 10))
            wait_streams(server, 1)
        assert alone < PROMPT_SECONDS
        assert beside < PROMPT_SECONDS
        assert slowest_of(server, page, "", 3) < PROMPT_SECONDS


def test_32_half_requests_are_no_streams(server: LocalServer) -> None:
    with ExitStack() as stack, server.stream("/stream") as page:
        page.wait_opened()
        for _ in range(HALF_REQUESTS):
            sock = stack.enter_context(connect(server.port))
            sock.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n")
        assert server.status()["streams"] == 1
        assert slowest_of(server, page, "", 3) < PROMPT_SECONDS
        with server.stream("/stream") as other:
            other.wait_opened()


def test_33_a_crowd_that_comes_back_at_once_shares_its_reads(own_valkey: Broker, channel: str) -> None:
    def pages_read() -> int:
        # The script that reads a page asks for a range; the one that compares positions does not.
        stats = own_valkey.client().info("commandstats")
        return int(stats.get("cmdstat_xrange", {"calls": 0})["calls"])

    path = f"/stream?channel={channel}"
    with serve(REDIS_URL=own_valkey.url, SSE_HUB="thread") as server, server.stream(path) as page:
        position = page.wait_opened().last_event_id
        server.publish("missed", channel=channel)
        assert page.next_event().data == "missed"
        before, began = pages_read(), time.monotonic()
        with Swarm([server.port], path, {"Last-Event-ID": position}) as crowd:
            crowd.open(CROWD)
            wait_until(lambda: crowd.events == [["missed"]] * CROWD, what="all to have it")
        # One for all that come while the page is kept, however many they are.
        assert 1 <= pages_read() - before <= 1 + (time.monotonic() - began) / KEPT_SECONDS
        with StreamClient(server.port, path, {"Last-Event-ID": position}) as last:
            assert last.next_event().data == "missed"


def test_43_a_proxy_that_buffers_compresses_and_cuts_idle_connections(server: LocalServer) -> None:
    settings = "proxy_buffering on; gzip on; gzip_types *; gzip_min_length 0; proxy_read_timeout 6s;"
    assert server.status()["streams"] == 0, "the hub runs: the proxy does not wait for its start"
    with Nginx(server.port, location=settings) as nginx, StreamClient(nginx.port, "/stream") as page:
        page.wait_opened()
        assert slowest_of(server, page, "", 3) < PROMPT_SECONDS
        heartbeats, since = page.raw.count(b"\n:\n"), time.monotonic()
        wait_until(lambda: _beats(page) > heartbeats + 5 and time.monotonic() - since > 6.5, what="silence")
        assert slowest_of(server, page, "", 3) < PROMPT_SECONDS


def _beats(page: StreamClient) -> int:
    with contextlib.suppress(TimeoutError):
        page.wait_for_bytes(b"no such bytes", 0.3)
    return page.raw.count(b"\n:\n")
