"""Threads, greenlets and forked processes share a client of one hub, whatever happens to the hub."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from tests.support.bare_application import BareApplication, publish_many, socket_pair
from tests.support.client import StreamReader
from tests.support.forks import by_multiprocessing, by_os
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, running, wait_until
from tests.support.promises import promised
from tests.tools import ROOT

from flask_sse.errors import BrokerUnavailableError, HubUnavailableError
from flask_sse.hub.client.thread_hub_client import ThreadHubClient

URL = "memory://client"


@pytest.fixture(params=["auto", "thread"])
def client(request: pytest.FixtureRequest) -> Iterator[BareApplication]:
    """A client of a hub process, and one of a hub in a thread."""
    with BareApplication(URL, hub=request.param) as client:
        yield client


@pytest.fixture
def process_client(runtime_directory: str) -> Iterator[BareApplication]:
    """A client of a hub process that a test may stop or kill."""
    with BareApplication(URL) as client:
        yield client


def test_20_threads_publish_in_order_and_get_their_own_answers(client: BareApplication, channel: str) -> None:
    with contextlib.ExitStack() as stack:
        common = [stack.enter_context(client.stream(channel)) for _ in range(3)]

        def work(name: int) -> None:
            for number in range(50):
                assert client.publish(f"{name} {number}", channel=channel) == 3
                # Another number of streams, so that a stranger's answer is a wrong one.
                assert client.publish("nobody", channel=f"{channel}-{name}") == 0

        with ThreadPoolExecutor(20) as pool:
            for done in [pool.submit(work, name) for name in range(20)]:
                done.result()
        for stream in common:
            got = [event.data.split() for event in stream.events(1000)]
            for name in range(20):
                numbers = [int(number) for who, number in got if who == str(name)]
                assert numbers == list(range(50))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("fork", [by_os, by_multiprocessing])
def test_forked_children_and_their_parent_use_one_link_at_the_same_time(
    client: BareApplication, channel: str, fork: Callable[[Callable[[], None]], Callable[[], int]]
) -> None:
    with client.stream(channel) as stream:
        assert client.publish("before", channel=channel) == 1
        children = [
            fork(partial(publish_many, client, f"{channel}-{number}", number)) for number in range(1, 4)
        ]
        publish_many(client, f"{channel}-parent", 4)
        assert [wait() for wait in children] == [0, 0, 0]
        publish_many(client, f"{channel}-after", 5)
        assert client.publish("after", channel=channel) == 1
        assert [event.data for event in stream.events(2)] == ["before", "after"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_begins_without_what_its_parent_uses(client: BareApplication, channel: str) -> None:
    """(15.1) 16 threads of the child publish at once, and so do those of the parent."""
    with ThreadPoolExecutor(16) as pool:
        gate = threading.Barrier(16)
        list(pool.map(lambda _: (gate.wait(), client.status()), range(16)))

    def publish_from_16_threads(prefix: str) -> None:
        gate = threading.Barrier(16)

        def work(number: int) -> None:
            gate.wait()
            # Another number of streams for each, so that a stranger's answer is a wrong one.
            publish_many(client, f"{channel}-{prefix}-{number}", number % 4, count=20)

        with ThreadPoolExecutor(16) as pool:
            for done in [pool.submit(work, number) for number in range(16)]:
                done.result()

    def work_of_child() -> None:
        hub_client: Any = client.hub_client
        for each in (hub_client, getattr(hub_client, "_process", hub_client)):
            assert not any(getattr(each, "_idle", {}).values()), "connections of the parent"
            assert getattr(each, "_thread", None) is None or isinstance(each._thread, ThreadHubClient)
        publish_from_16_threads("child")

    wait = by_os(work_of_child)
    publish_from_16_threads("parent")
    assert wait() == 0


def test_link_that_was_closed_opens_again(client: BareApplication, channel: str) -> None:
    publish_many(client, channel, 1)
    client.close()
    publish_many(client, channel, 2)


# What greenlets do with a client; the arguments say whether gevent patched Python, and where the hub is.
GREENLETS = """
import os, signal, sys, time

if sys.argv[1] == "patched":
    from gevent import monkey
    monkey.patch_all()

import gevent
from tests.support.bare_application import BareApplication

with BareApplication("memory://greenlets", hub=sys.argv[2]) as client:
    streams = [client.stream("all") for _ in range(3)]

    def work(name):
        for number in range(20):
            assert client.publish(f"{name} {number}", channel="all") == 3
            assert client.publish("nobody", channel=str(name)) == 0
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(work, name) for name in range(20)], raise_error=True)
    for stream in streams:
        got = [event.data.split() for event in stream.events(400)]
        for name in range(20):
            assert [int(number) for who, number in got if who == str(name)] == list(range(20))

    if sys.argv[1:] == ["patched", "auto"]:
        hub = client.pid
        os.kill(hub, signal.SIGSTOP)
        waiting = gevent.spawn(client.publish, "too late", channel="all")
        gevent.sleep(0.05)
        assert not waiting.ready(), "a greenlet that waits for the hub stops the others"
        waiting.kill()
        os.kill(hub, signal.SIGCONT)
        work("again")
    print("all right")
"""


@pytest.mark.parametrize("hub", ["auto", "thread"])
@pytest.mark.parametrize("patched", ["patched", "unpatched"])
def test_greenlets_get_their_own_answers(patched: str, hub: str, runtime_directory: str) -> None:
    with Process([sys.executable, "-c", GREENLETS, patched, hub], cwd=ROOT) as script:
        assert script.wait(PATIENT_SECONDS) == 0, script.output()
        assert script.output() == "all right\n"


WITHOUT_DESCRIPTORS = """
import os, resource
from tests.support.bare_application import BareApplication
from flask_sse.errors import BrokerUnavailableError

with BareApplication("memory://full") as client:
    number = os.dup(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    os.close(number)
    try:
        client.publish("x")
    except BrokerUnavailableError as error:
        print("refused:", error)
"""


def test_application_without_descriptors_gets_an_error_of_ours(runtime_directory: str) -> None:
    with Process([sys.executable, "-c", WITHOUT_DESCRIPTORS], cwd=ROOT) as script:
        assert script.wait() == 0, script.output()
        (line,) = script.output().splitlines()
        assert line.startswith("refused: memory://full did not take the event: no hub at ")
        assert "Too many open files" in line


def test_hub_that_ended_between_two_calls_is_not_noticed(
    process_client: BareApplication, channel: str
) -> None:
    client, gate = process_client, threading.Barrier(5)

    def publish_together(_: int) -> int:
        gate.wait()
        return client.publish("x")

    for way in (signal.SIGKILL, signal.SIGTERM):
        # So that several idle connections are left to a hub that is gone.
        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(publish_together, range(5))) == [0] * 5
        pid = client.pid
        os.kill(pid, way)
        wait_until(partial(ended, pid), what="the hub gone")
        publish_many(client, channel, 2)
        assert client.pid != pid


def ended(pid: int) -> bool:
    return not running(pid)


def test_stopped_hub_is_an_error_soon_and_its_late_answers_go_to_nobody(
    process_client: BareApplication,
) -> None:
    client, pid = process_client, process_client.pid
    with (
        client.stream("two") as first,
        client.stream("two") as second,
        BareApplication(URL) as fresh,
        ThreadPoolExecutor(2) as pool,
    ):
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with promised(3):
                used = pool.submit(client.publish, "too late", channel="two")
                new = pool.submit(fresh.status)
                assert isinstance(used.exception(), BrokerUnavailableError)
                assert isinstance(new.exception(), HubUnavailableError)
            assert time.monotonic() - began > 1
        finally:
            os.kill(pid, signal.SIGCONT)
        assert client.publish("nobody", channel="none") == 0
        assert fresh.publish("both", channel="two") == 2
        # (13.6) What was reported as an error does not happen later.
        assert first.next_event().data == second.next_event().data == "both"
        assert client.status()["streams"] == 2
        assert client.pid == fresh.pid == pid


def test_stream_is_not_handed_over_twice_when_the_hub_ends_meanwhile(
    process_client: BareApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, pid, send_fds = process_client, process_client.pid, socket.send_fds
    with socket_pair() as (ours, hubs):

        def send_and_kill(*arguments: Any) -> int:
            sent = send_fds(*arguments)
            assert ours.recv(1, socket.MSG_PEEK), "the hub took it"
            os.kill(pid, signal.SIGKILL)
            wait_until(partial(ended, pid), what="the hub gone")
            return sent

        monkeypatch.setattr(socket, "send_fds", send_and_kill)
        client.hand_over(hubs, "all")
        hubs.close()
        with StreamReader(ours) as stream:
            assert stream.wait_closed() == "eof"
            assert stream.raw.count(b"HTTP/1.1 200 OK") == 1
