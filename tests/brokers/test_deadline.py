"""14.25: one deadline for a call of the application, whatever it waits for and how often."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from tests.support.brokers import Broker, start_redis
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until
from tests.support.promises import promised
from tests.support.proxy import Proxy

from flask_sse import BrokerUnavailableError, Publisher
from flask_sse.brokers.deadline import deadline, deadline_extended, seconds_left
from flask_sse.brokers.redis.connection import addresses_of

PROMISED_SECONDS = 2.2  # promised: 2
# What a command takes of a server that is slow: less than any limit of one command.
SLOW_SECONDS = 0.8

CALLS: dict[str, Callable[[Publisher], object]] = {
    "publish": lambda publisher: publisher.publish("x", channel="slow"),
    "publish_many": lambda publisher: publisher.publish_many([{"data": "x", "channel": "slow"}] * 1000),
    "cursor": lambda publisher: publisher.cursor("slow"),
    "disconnect": lambda publisher: publisher.disconnect(channel="slow"),
    "cancel": lambda publisher: publisher.cancel("run:slow"),
}


@pytest.fixture
def slow(valkey: Broker) -> Iterator[Proxy]:
    """A server with all scripts, as it is after the first call of any process."""
    with contextlib.closing(Publisher(valkey.url)) as publisher:
        for call in CALLS.values():
            call(publisher)
    with Proxy(valkey.port) as proxy:
        proxy.latency(SLOW_SECONDS, direction="downstream")
        yield proxy


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_is_over_in_two_seconds_however_many_commands_it_needs(
    slow: Proxy, call: Callable[[Publisher], object]
) -> None:
    """``publish_many`` took 8 seconds."""
    url = f"redis://127.0.0.1:{slow.port}/3"
    publisher = Publisher(url)
    with (
        contextlib.closing(publisher),
        promised(PROMISED_SECONDS),
        contextlib.suppress(BrokerUnavailableError),
    ):
        call(publisher)


def test_publish_reaches_a_slow_server(slow: Proxy) -> None:
    """A deadline that no call can keep would be an outage for as long as the server is slow."""
    with contextlib.closing(Publisher(f"redis://127.0.0.1:{slow.port}")) as publisher:
        # On a busy machine one may fail by the deadline, but not all.
        for _ in range(2):
            wait_until(lambda: is_published(publisher), what="an event that the server takes")


def is_published(publisher: Publisher) -> bool:
    with promised(PROMISED_SECONDS), contextlib.suppress(BrokerUnavailableError):
        return bool(publisher.publish("x", channel="slow").id)
    return False


def test_an_error_of_publish_many_says_what_a_slow_server_has_taken(slow: Proxy) -> None:
    with contextlib.closing(Publisher(f"redis://127.0.0.1:{slow.port}")) as publisher:
        publisher.publish("connects")
        with promised(PROMISED_SECONDS), pytest.raises(BrokerUnavailableError) as caught:
            publisher.publish_many([{"data": "x", "channel": "slow"}] * 1000)
        assert len(caught.value.published) in {100, 200}, "one or two commands, as the machine allows"


def test_an_answer_that_comes_byte_by_byte_is_no_longer_waited_for(valkey: Broker) -> None:
    with (
        Proxy(valkey.port) as proxy,
        contextlib.closing(Publisher(f"redis://127.0.0.1:{proxy.port}")) as publisher,
    ):
        publisher.publish("connects")
        proxy.bandwidth(10, "downstream")
        with promised(PROMISED_SECONDS), pytest.raises(BrokerUnavailableError):
            publisher.publish_many([{"data": "x"}] * 100)


def test_a_handshake_of_tls_counts() -> None:
    with start_redis(tls=True) as broker, Proxy(broker.port) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}?ssl_cert_reqs=none"
        with contextlib.closing(Publisher(url)) as publisher:
            publisher.publish("x")
        proxy.latency(SLOW_SECONDS)
        publisher = Publisher(url)
        with contextlib.closing(publisher), promised(PROMISED_SECONDS), pytest.raises(BrokerUnavailableError):
            publisher.publish("x")


def test_memory_has_one_deadline_for_all_batches() -> None:
    url = f"memory://{uuid.uuid4().hex}"
    with contextlib.closing(Publisher(url)) as publisher:
        publisher.publish("starts the hub")
        link = publisher._submitter()._hub_client  # the hub's pid
        pid = int(str(link.status()["pid"]))
        stopped = threading.Event()

        def slow_down() -> None:
            """Let the hub work for a moment in each second."""
            while not stopped.is_set():
                os.kill(pid, signal.SIGSTOP)
                stopped.wait(0.7)
                os.kill(pid, signal.SIGCONT)
                stopped.wait(0.002)

        thread = threading.Thread(target=slow_down)
        thread.start()
        try:
            with promised(PROMISED_SECONDS), contextlib.suppress(BrokerUnavailableError):
                publisher.publish_many([{"data": "x" * 1000}] * 3000)
        finally:
            stopped.set()
            thread.join()
            os.kill(pid, signal.SIGCONT)


# -- names ------------------------------------------------------------------------------------------


def test_a_lookup_that_hangs_is_left_behind_and_there_is_one_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    lookups = []

    def getaddrinfo(host: str, *_: object) -> list[object]:
        lookups.append(host)
        answer.wait(PATIENT_SECONDS)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    try:
        with contextlib.closing(Publisher("redis://redis.example")) as publisher:
            for _ in range(2):
                with (
                    promised(PROMISED_SECONDS),
                    pytest.raises(BrokerUnavailableError, match=r"not looked up in time") as caught,
                ):
                    publisher.publish("x")
                assert "redis.example:6379" in str(caught.value)
        assert lookups == ["redis.example"]
    finally:
        answer.set()


def test_a_name_that_is_not_known_is_said_so() -> None:
    publisher = Publisher("redis://no-such-host.invalid")
    refused = pytest.raises(BrokerUnavailableError, match=r"no-such-host\.invalid:6379")
    with contextlib.closing(publisher), promised(PROMISED_SECONDS), refused:
        publisher.publish("x")


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    valkey: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        socket.create_server(("127.0.0.2", valkey.port), backlog=0) as listener,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        rows = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, valkey.port))
            for ip in ("127.0.0.2", "127.0.0.1")
        ]
        real = socket.getaddrinfo

        def getaddrinfo(host: str, *rest: object) -> object:
            return rows if host == "redis.example" else real(host, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        url = f"redis://redis.example:{valkey.port}"
        with contextlib.closing(Publisher(url)) as publisher, promised(PROMISED_SECONDS):
            assert publisher.publish("x").id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_looks_up_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that does it is not there."""
    began, answer = threading.Event(), threading.Event()

    def getaddrinfo(*_: object) -> list[object]:
        began.set()
        answer.wait(PATIENT_SECONDS)
        return []

    with monkeypatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        looking = pool.submit(addresses_of, "localhost", 1)
        assert began.wait(PATIENT_SECONDS)
        pid = os.fork()
        if not pid:
            patch.undo()
            found = False
            with contextlib.suppress(BaseException):
                found = "127.0.0.1" in addresses_of("localhost", 1)
            os._exit(0 if found else 1)
        answer.set()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert looking.result() == []


def test_a_connection_that_is_made_too_late_is_closed(
    valkey: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    connect = redis.connection.Connection._connect

    def connect_until_too_late(connection: redis.connection.Connection) -> socket.socket:
        sock: socket.socket = connect(connection)  # type: ignore[no-untyped-call] # redis-py's
        made.append(sock)
        with contextlib.suppress(TimeoutError):
            while seconds_left():
                time.sleep(0.01)
        return sock

    monkeypatch.setattr(redis.connection.Connection, "_connect", connect_until_too_late)
    publisher, fails = Publisher(valkey.url), pytest.raises(BrokerUnavailableError)
    with contextlib.closing(publisher), deadline(0.2), fails:
        publisher.publish("x")
    assert [sock.fileno() for sock in made] == [-1]


# -- connections of the pool ------------------------------------------------------------------------


def test_callers_wait_for_one_of_few_connections(valkey: Broker) -> None:
    """14.31: the second of two threads failed at once."""
    url = f"{valkey.url}?max_connections=1"
    with contextlib.closing(Publisher(url)) as publisher, ThreadPoolExecutor(16) as pool:
        published = list(pool.map(lambda n: publisher.publish(n, channel="few"), range(300)))
    assert len({each.id for each in published}) == 300


def test_callers_wait_for_a_connection_no_longer_than_their_deadline(valkey: Broker) -> None:
    with Proxy(valkey.port) as proxy, ThreadPoolExecutor(2) as pool:
        url = f"redis://127.0.0.1:{proxy.port}?max_connections=1"
        with contextlib.closing(Publisher(url)) as publisher:
            publisher.publish("connects")
            proxy.black_hole()
            with promised(PROMISED_SECONDS):
                calls = [pool.submit(publisher.publish, n) for n in range(2)]
                failed = [call.exception() for call in calls]
            assert [type(error).__name__ for error in failed] == ["RedisUnavailableError"] * 2
            proxy.restore()
            assert publisher.publish("again").id


def test_a_forked_process_has_all_connections_of_its_own(valkey: Broker) -> None:
    with Proxy(valkey.port) as proxy, ThreadPoolExecutor(1) as pool:
        url = f"redis://127.0.0.1:{proxy.port}?max_connections=1"
        with contextlib.closing(Publisher(url)) as publisher:
            publisher.publish("connects")
            proxy.latency(0.5)
            busy = pool.submit(publisher.publish, "in the parent")
            while not proxy_is_used(publisher):
                time.sleep(0.001)
            pid = os.fork()
            if not pid:
                code = 1
                with contextlib.suppress(BaseException):
                    code = 0 if publisher.publish("in the child").id else 1
                os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert busy.result().id


def proxy_is_used(publisher: Publisher) -> bool:
    return bool(publisher._submitter()._own_broker._waiting)  # type: ignore[attr-defined]


# -- the deadline itself ----------------------------------------------------------------------------


def test_of_two_deadlines_the_outer_one_counts() -> None:
    with deadline(1), deadline(100):
        assert seconds_left() <= 1


def test_a_deadline_that_has_passed_is_an_error() -> None:
    with deadline(0), pytest.raises(TimeoutError):
        seconds_left()


def test_what_does_not_count_is_added() -> None:
    with deadline(100):
        with deadline_extended():
            time.sleep(0.01)
        assert seconds_left() > 100 - 0.01


def test_another_thread_has_no_deadline() -> None:
    with deadline(1), ThreadPoolExecutor(1) as pool:
        assert pool.submit(seconds_left).result() == float("inf")
