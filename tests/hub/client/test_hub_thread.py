"""A hub in a thread starts when it is used, ends with its client, and fails aloud."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tests.support.bare_application import BareApplication, publish_many, socket_pair
from tests.support.forks import by_os
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process
from tests.tools import ROOT

from flask_sse.errors import BrokerUnavailableError, HubUnavailableError, InvalidSettingError
from flask_sse.hub.client import hub_thread as thread
from flask_sse.hub.client import thread_hub_client
from flask_sse.hub.client.open_client import open_hub_client
from flask_sse.settings import Settings

URL = "memory://thread"


_of_others: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def without_the_threads_of_others() -> None:
    """Leave out hubs of applications that other tests of this process made and left."""
    _of_others.clear()
    _of_others.update(threading.enumerate())


def hub_threads() -> list[threading.Thread]:
    threads = set(threading.enumerate()) - _of_others
    return [thread for thread in threads if thread.name == "flask-sse hub"]


def test_hub_thread_ends_on_close_and_says_goodbye() -> None:
    with BareApplication(URL, hub="thread") as client:
        assert not hub_threads(), "a client that nobody used starts nothing"
        with client.stream("all") as stream:
            assert client.pid == os.getpid()
            assert len(hub_threads()) == 1
            client.close()
            assert not hub_threads()
            assert stream.wait_closed() == "eof"
            assert stream.raw.count(b"retry:") == 2
    client.close()


def test_busy_hub_thread_is_an_error_soon_and_does_nothing_late(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        BareApplication(URL, hub="thread") as client,
        client.stream("all") as stream,
        socket_pair() as (ours, hubs),
    ):
        free = threading.Event()
        client.hub_client._call(lambda server: server._loop.call_soon(free.wait))  # type: ignore[attr-defined]
        try:
            with monkeypatch.context() as patch:
                patch.setattr(thread, "ANSWER_SECONDS", 0.1)
                with pytest.raises(HubUnavailableError):
                    client.hand_over(hubs, "all")
                with pytest.raises(BrokerUnavailableError):
                    client.publish("too late", channel="all")
        finally:
            free.set()
        assert client.publish("in time", channel="all") == 1
        assert stream.next_event().data == "in time"
        hubs.close()
        assert ours.recv(1) == b"", "a stream was opened that the caller had given up"


def test_hub_thread_that_died_is_started_again() -> None:
    with BareApplication(URL, hub="thread") as client, client.stream("all") as stream:
        (first,) = hub_threads()
        client.hub_client._call(lambda server: server.stop("for the test"))  # type: ignore[attr-defined]
        first.join()
        assert stream.wait_closed() == "eof"
        publish_many(client, "all", 2)
        assert hub_threads() != [first]


def test_first_calls_of_many_threads_start_one_hub_thread() -> None:
    with BareApplication(URL, hub="thread") as client, ThreadPoolExecutor(10) as pool:
        gate = threading.Barrier(10)
        list(pool.map(lambda _: (gate.wait(), client.status()), range(10)))
        assert len(hub_threads()) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_a_hub_thread_starts_does_not_lock_the_child_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starting, resume = threading.Event(), threading.Event()

    class SlowThread(thread.HubThread):
        def __init__(self, *settings: object) -> None:
            starting.set()
            assert resume.wait(PATIENT_SECONDS)
            super().__init__(*settings)  # type: ignore[arg-type]

    with BareApplication(URL, hub="thread") as client, ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(thread_hub_client, "HubThread", SlowThread)
            status: Future[object] = pool.submit(client.status)
            assert starting.wait(PATIENT_SECONDS)
            patch.undo()

            def work() -> None:
                # Python itself would wait for ever, so the kernel ends it.
                signal.alarm(5)
                publish_many(client, "child", 1, count=2)

            wait = by_os(work)
            resume.set()
        assert wait() == 0
        assert status.result()


def test_hub_thread_that_cannot_start_is_an_error_and_not_silence() -> None:
    with pytest.raises(InvalidSettingError, match="one of memory://"):
        open_hub_client(Settings("no-such-broker://", hub="thread")).status()
    assert not hub_threads()


IN_GREENLETS = """
from gevent import monkey; monkey.patch_all()
import asyncio, gevent
from tests.support.bare_application import BareApplication

async def publish(client, text):
    running = asyncio.get_running_loop()
    await asyncio.sleep(0.01)
    client.publish(text, channel="all")
    assert asyncio.get_running_loop() is running
    await asyncio.sleep(0.01)
    assert asyncio.current_task() is not None

def publish_first(client):
    # The hub starts in the midst of this loop.
    asyncio.run(publish(client, "first"))

with BareApplication("memory://greenlets", hub="thread") as client:
    gevent.spawn(publish_first, client).get()
    with client.stream("all") as stream:
        other = gevent.spawn(asyncio.run, publish(client, "one"))
        assert stream.next_event().data == "one"
        other.get()
        asyncio.run(publish(client, "two"))
        assert stream.next_event().data == "two"
        assert client.status()["streams"] == 1

    async def close():
        client.close()
        assert asyncio.current_task() is not None
    asyncio.run(close())
asyncio.run(asyncio.sleep(0))
print("done")
"""


def test_hub_thread_that_is_a_greenlet_leaves_room_for_other_loops() -> None:
    with Process([sys.executable, "-W", "error", "-c", IN_GREENLETS], cwd=ROOT) as script:
        assert script.wait(PATIENT_SECONDS) == 0, script.output()
        assert script.output().endswith("done\n")


WITHOUT_DESCRIPTORS = """
import os, resource, signal
from tests.support.bare_application import BareApplication
from flask_sse.errors import HubUnavailableError

signal.alarm(10)
with BareApplication("memory://full", hub="thread") as client:
    used = os.dup(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, used))
    os.close(used)
    try:
        client.status()
    except HubUnavailableError as error:
        print("refused:", error)
"""


def test_hub_thread_without_descriptors_is_an_error_and_not_silence() -> None:
    with Process([sys.executable, "-c", WITHOUT_DESCRIPTORS], cwd=ROOT) as script:
        assert script.wait(PATIENT_SECONDS) == 0, script.output()
        assert "refused: no hub at a thread: " in script.output()
