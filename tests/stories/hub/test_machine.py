"""What the machine refuses, and what fails inside: the hub goes on, and says what it was doing."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.bare_application import BareApplication, log_of, tcp_pair
from tests.support.client import StreamReader
from tests.support.processes import Process, descriptors, running, wait_until
from tests.support.successors import started_by
from tests.tools import ROOT

from flask_sse.errors import BrokerUnavailableError
from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.hub.protocol.hub_events import REJECTED_RETRY_MS
from flask_sse.settings import StreamRules

URL = "memory://machine"
MEGABYTE = 1024 * 1024

pytestmark = pytest.mark.usefixtures("runtime_directory")


# -- descriptors ---------------------------------------------------------------------------------------

WITH_64_DESCRIPTORS = """
import resource, sys
from tests.support.bare_application import BareApplication
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 64))
with BareApplication("memory://machine") as client:
    print("hub", client.pid, flush=True)
    sys.stdin.readline()
"""


def test_35_with_64_descriptors_nine_tenths_are_used_and_who_comes_then_is_told_when_to_come_back() -> None:
    script = [sys.executable, "-c", WITH_64_DESCRIPTORS]
    with (
        Process(script, cwd=ROOT, ready="hub"),
        BareApplication(URL) as client,
        contextlib.ExitStack() as stack,
    ):
        pid = client.pid
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (64, 64)
        streams, refused = [], 0
        for _ in range(80):
            ours, hubs = socket.socketpair()
            stream = stack.enter_context(StreamReader(ours))
            with hubs:
                client.hand_over(hubs, "all")
            stream.wait_for_bytes(b"retry:")
            if b"too many streams" in stream.raw:
                assert stream.wait_closed() == "eof"
                assert stream.raw.startswith(b"HTTP/1.1 200 OK")
                assert (stream.reading.decoder.retry_ms or 0) >= REJECTED_RETRY_MS[0]
                refused += 1
            else:
                streams.append(stream)
        assert len(streams) > 40
        assert refused == 80 - len(streams) == client.status()["rejected"]
        assert descriptors(pid) == int(64 * 0.9)
        assert client.publish("still here", channel="all") == len(streams)
        for stream in streams:
            assert stream.next_event().data == "still here"
            stream.close()
        wait_until(lambda: client.status()["streams"] == 0, what="all gone")
        with client.stream("all") as stream:
            assert client.publish("after", channel="all") == 1
            assert stream.next_event().data == "after"
        assert client.pid == pid


# -- memory --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system has no prlimit")
def test_a_hub_without_memory_ends_the_streams_that_need_it_and_lives() -> None:
    with BareApplication(URL, max_event_bytes=4 * MEGABYTE) as client, contextlib.ExitStack() as stack:
        pid = client.pid
        reader = stack.enter_context(client.stream("small"))
        readers_that_wait = [deaf(client, stack) for _ in range(10)]
        limits = resource.prlimit(pid, resource.RLIMIT_AS)
        used = int(re.search(r"VmSize:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024  # type: ignore[index] # it is there
        resource.prlimit(pid, resource.RLIMIT_AS, (used + 24 * MEGABYTE, limits[1]))
        try:
            for number in range(30):
                with contextlib.suppress(BrokerUnavailableError):
                    client.publish(f"{number} {'x' * 3 * MEGABYTE}", channel="large")
        finally:
            resource.prlimit(pid, resource.RLIMIT_AS, limits)
        assert running(pid)
        assert client.pid == pid
        assert client.publish("still here", channel="small") == 1
        assert reader.next_event().data == "still here"
        log = log_of(hub_path(client.settings))
        assert "MemoryError" in log or client.status()["ended_slow"] == len(readers_that_wait)
        with client.stream("large") as stream:
            assert client.publish("after", channel="large") >= 1
            assert stream.next_event().data == "after"


def deaf(client: BareApplication, stack: contextlib.ExitStack) -> StreamReader:
    """Open a stream that nobody reads, with as much room as it may want."""
    ours, hubs = tcp_pair()
    with hubs:
        client.hand_over(hubs, "large", rules=StreamRules(max_backlog_bytes=10**9))
    return stack.enter_context(StreamReader(ours))


# -- mistakes of ours ----------------------------------------------------------------------------------

MISTAKEN = """
import sys
from flask_sse.brokers.memory import MemoryFeed
from flask_sse.hub.core.core import Core
from flask_sse.hub.server.stream import Stream

def fails_for_boom(method, what):
    def wrapped(self, *arguments):
        if what(self, *arguments):
            raise RuntimeError("a mistake of ours")
        return method(self, *arguments)
    return wrapped

times = iter(range(1_000_000))
where = sys.argv[1]
if where == "deliver":
    Core.deliver = fails_for_boom(Core.deliver, lambda core, name, *_: name == "boom")
elif where == "flush":
    what = lambda streams, data: b"boom" in data
    Stream.send_to_all = staticmethod(fails_for_boom(Stream.send_to_all, what))
elif where == "tick":
    Core.tick = fails_for_boom(Core.tick, lambda *_: next(times) < 3)
elif where == "listen":
    MemoryFeed.run = fails_for_boom(MemoryFeed.run, lambda *_: next(times) < 3)
elif where == "attach":
    Core.add = fails_for_boom(Core.add, lambda core, stream, now: "boom" in stream.channels)
from flask_sse.hub.process.main import main
sys.argv[1:] = []
sys.exit(main())
"""


@pytest.fixture(params=["deliver", "flush", "tick", "listen", "attach"])
def mistaken(request: pytest.FixtureRequest) -> Iterator[tuple[str, BareApplication]]:
    """A hub with a mistake, and what it is about."""
    with BareApplication(URL) as client:
        code = MISTAKEN.replace("sys.argv[1]", repr(request.param), 1)
        with started_by(code, client.settings):
            yield request.param, client


def test_a_mistake_of_ours_harms_only_whom_it_is_about_and_is_reported(
    mistaken: tuple[str, BareApplication],
) -> None:
    where, client = mistaken
    log = hub_path(client.settings)
    with client.stream("fine", heartbeat_seconds=0.5) as fine:
        pid = client.pid
        if where in {"deliver", "flush"}:
            with client.stream("boom") as boom, client.stream("fine", "boom") as both:
                client.publish("boom", channel="boom")
                # It may have missed something, so it is to come back.
                assert {boom.wait_closed(), both.wait_closed()} == {"eof"}
        elif where == "attach":
            assert b"retry" not in opened_at(client, "boom")
        wait_until(lambda: "crash report: RuntimeError: a mistake of ours" in log_of(log), what="a report")
        assert client.publish("still here", channel="fine") == 1
        assert fine.next_event().data == "still here"
        fine.wait_for_bytes(b"\n\n:\n\n")
        assert client.pid == pid
    text = log_of(log)
    doing = {"deliver": "doing: 'deliver' 'boom'", "tick": "doing: 'tick'", "flush": "doing: 'flush'"}
    assert doing.get(where, "doing: ") in text
    assert "status: pid=" in text
    assert "KiB of memory" in text
    assert re.search(r"\d+ of \d+ descriptors", text)
    assert "Traceback" in text
    assert 'File "' in text


def opened_at(client: BareApplication, channel: str) -> bytes:
    ours, hubs = socket.socketpair()
    with StreamReader(ours) as stream:
        with hubs:
            client.hand_over(hubs, channel)
        with contextlib.suppress(TimeoutError):
            stream.wait_closed(timeout=1)
        return bytes(stream.raw)


def test_where_python_itself_crashes_the_log_says_where() -> None:
    with BareApplication(URL) as client, client.stream("all") as stream:
        pid = client.pid
        os.kill(pid, signal.SIGSEGV)
        assert stream.wait_closed() in {"eof", "reset"}
        wait_until(lambda: not running(pid), what="its end")
        log = log_of(hub_path(client.settings))
        assert "Fatal Python error: Segmentation fault" in log
        assert "most recent call first" in log
        assert client.pid != pid
