"""A broker that cannot be reached: publish says so soon, streams open and wait, and go on when it is back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from tests.support.brokers import Broker, start_redis, start_valkey
from tests.support.local import serve
from tests.support.processes import free_port, running, suspended, wait_until
from tests.support.promises import promised

from flask_sse import BrokerUnavailableError, Publisher
from flask_sse.brokers.redis import feed

PUBLISH_SECONDS = 2.2  # promised: 2
AWAY = b":the broker cannot be reached; events come as soon as it is back\n\n"
HEARTBEATS = b"\n:\n\n:\n\n"


@contextmanager
def closed_port() -> Iterator[str]:
    """Nothing listens."""
    yield f"redis://127.0.0.1:{free_port()}"


@contextmanager
def missing_socket() -> Iterator[str]:
    """A Unix socket that is not there."""
    yield "unix:///nowhere/redis.sock"


@contextmanager
def silent() -> Iterator[str]:
    """Connections are made, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"redis://:password@127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def black_hole() -> Iterator[str]:
    """Packets vanish: the queue of the listener is full, so the kernel drops new connections."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def refused_in_time() -> Iterator[pytest.ExceptionInfo[BrokerUnavailableError]]:
    with promised(PUBLISH_SECONDS), pytest.raises(BrokerUnavailableError) as caught:
        yield caught


@pytest.fixture(params=[closed_port, missing_socket, silent, black_hole], ids=lambda f: f.__name__)
def away(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.param() as url:
        yield url


def test_publish_says_within_two_seconds_that_the_broker_is_away(away: str, channel: str) -> None:
    with contextlib.closing(Publisher(away)) as publisher:
        with refused_in_time() as caught:
            publisher.publish("hello", channel=channel)
        address = away.partition("://")[2].rpartition("@")[2].partition("/0")[0]
        assert address in str(caught.value)
        assert address in caught.value.broker


def test_a_stream_opens_says_that_the_broker_is_away_and_stays(away: str, channel: str) -> None:
    with serve(REDIS_URL=away, SSE_HEARTBEAT_SECONDS=0.1) as server:
        assert server.status()["streams"] == 0  # the hub runs
        with server.stream(f"/stream?channel={channel}") as stream:
            assert stream.status == 200
            stream.wait_for_bytes(AWAY)
            assert stream.reading.decoder.retry_ms is not None
            stream.wait_for_bytes(HEARTBEATS)
            assert server.status()["streams"] == 1


@pytest.mark.parametrize("start", [start_valkey, start_redis])
def test_streams_live_through_a_server_that_is_killed_and_started_anew(
    start: Callable[[], Broker], channel: str
) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(start())
        server = stack.enter_context(serve(REDIS_URL=broker.url, SSE_HEARTBEAT_SECONDS=0.1))
        old = stack.enter_context(server.stream(f"/stream?channel={channel}"))
        old.wait_opened()
        assert server.publish("before", channel=channel) == 1
        assert old.next_event().data == "before"

        broker.process.kill()
        wait_until(lambda: server.status()["broker_away"], what="the hub to notice")
        with refused_in_time():
            server.publish("lost", channel=channel)
        new = stack.enter_context(server.stream(f"/stream?channel={channel}"))
        new.wait_for_bytes(AWAY)
        old.wait_for_bytes(HEARTBEATS)

        broker.restart()
        # What it held is lost, and nobody can say whether that was all.
        assert old.next_event().type == "stream-reset"
        new.wait_opened()
        assert server.publish("after", channel=channel) == 1
        for stream in (old, new):
            assert stream.next_event().data == "after"
        assert AWAY not in bytes(old.reading.body)
        assert not server.status()["broker_away"]
        with server.stream(f"/stream?channel={channel}") as later:
            later.wait_opened()
            assert AWAY not in bytes(later.reading.body)


def test_streams_wait_for_a_server_that_is_started_last(channel: str) -> None:
    with start_valkey() as broker:
        broker.stop()
        with (
            serve(REDIS_URL=broker.url) as server,
            server.stream(f"/stream?channel={channel}") as stream,
        ):
            stream.wait_for_bytes(AWAY)
            broker.restart()
            stream.wait_opened()
            assert server.publish("at last", channel=channel) == 1
            assert stream.next_event().data == "at last"


def test_a_connection_that_was_good_fails_in_time_and_serves_again(channel: str) -> None:
    with start_valkey() as broker, serve(REDIS_URL=broker.url) as server:
        assert server.publish("connects", channel=channel) == 0
        with suspended(broker.process.pid):
            with refused_in_time():
                server.publish("into nothing", channel=channel)
            with server.stream(f"/stream?channel={channel}") as stream:
                stream.wait_for_bytes(AWAY)
        # The server does what it was asked meanwhile, for the hub that asked as well.
        with server.stream(f"/stream?channel={channel}-other") as stream:
            stream.wait_opened()
            assert server.publish("back", channel=f"{channel}-other") == 1
            assert stream.next_event().data == "back"


def test_a_server_that_falls_silent_is_noticed(channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(feed, "CONNECT_SECONDS", 0.2)
    with (
        start_valkey() as broker,
        serve(REDIS_URL=broker.url, SSE_HUB="thread") as server,
        server.stream(f"/stream?channel={channel}") as stream,
    ):
        stream.wait_opened()
        with suspended(broker.process.pid):
            wait_until(lambda: server.status()["broker_away"], what="the hub to notice")
        wait_until(lambda: not server.status()["broker_away"], what="the hub to be back")
        assert server.publish("goes on", channel=channel) == 1
        assert stream.next_event().data == "goes on"


def test_a_hub_that_does_not_run_is_a_broker_that_is_away(channel: str) -> None:
    """``memory://`` lives in the hub."""
    with serve(SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}") as server:
        assert server.publish("connects", channel=channel) == 0
        with suspended(server.status()["pid"]):
            with refused_in_time():
                server.publish("on an open connection", channel=channel)
            with refused_in_time():
                server.publish("on a new connection", channel=channel)
        assert server.publish("goes on", channel=channel) == 0


def test_a_hub_that_was_killed_is_started_by_the_next_publish(channel: str) -> None:
    with serve(SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}") as server:
        with server.stream(f"/stream?channel={channel}") as stream:
            stream.wait_opened()
            killed = server.status()["pid"]
            os.kill(killed, signal.SIGKILL)
            assert stream.wait_closed() in {"eof", "reset"}
        wait_until(lambda: not running(killed), what="the end of the hub")
        assert server.publish("to nobody", channel=channel) == 0
        assert server.status()["pid"] != killed
        with server.stream(f"/stream?channel={channel}") as stream:
            stream.wait_opened()
            assert server.publish("to the next", channel=channel) == 1
            assert stream.next_event().data == "to the next"
