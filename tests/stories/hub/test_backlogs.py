"""What waits for all slow clients of a hub together has a bound."""

from __future__ import annotations

import contextlib
import random
import re
import resource
import socket
from pathlib import Path

import pytest
from tests.support.bare_application import BareApplication
from tests.support.client import StreamReader
from tests.support.processes import wait_until

from flask_sse.brokers.base import Publication
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.hub.server.backlogs import Backlogs
from flask_sse.hub.server.stream import PIECE_BYTES, Stream
from flask_sse.settings import History, StreamRules
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message

MEGABYTE = 1024 * 1024
LARGE = "x" * 100_000


def stream_with(stack: contextlib.ExitStack, backlog: int) -> Stream:
    ours, theirs = (stack.enter_context(each) for each in socket.socketpair())
    stack.enter_context(theirs)
    stream = Stream(ours, StreamRequest(("a",), FRAMES, StreamRules()))
    stream.restore_backlog(b"x" * backlog)
    return stream


def test_the_largest_backlog_is_found_whatever_changes() -> None:
    rng = random.Random(13)
    with contextlib.ExitStack() as stack:
        streams = [stream_with(stack, 0) for _ in range(20)]
        backlogs = Backlogs()
        assert backlogs.largest() is None
        for _ in range(500):
            stream = rng.choice(streams)
            stream.backlog, stream.backlog_bytes = None, 0
            stream.restore_backlog(b"x" * rng.choice([0, 1, 7, 1000, 100_000, rng.randrange(100_000)]))
            backlogs.note(stream)
            costs = {each: each.backlog_cost for each in streams}
            assert backlogs.total_bytes == sum(costs.values())
            largest = backlogs.largest()
            assert (largest is None) == (not any(costs.values()))
            assert largest is None or costs[largest] >= max(costs.values()) * 7 / 8
            assert [costs[each] > 0 for each in backlogs.slowest(3)] == [True] * len(backlogs.slowest(3))


def test_a_stream_that_was_closed_counts_no_more() -> None:
    with contextlib.ExitStack() as stack:
        stream, backlogs = stream_with(stack, 1000), Backlogs()
        backlogs.note(stream)
        assert backlogs.total_bytes == 1000 + PIECE_BYTES
        stream.close()
        backlogs.note(stream)
        assert backlogs.total_bytes == 0
        assert backlogs.slowest(5) == []


def test_small_events_wait_in_common_pieces() -> None:
    """13.18: each took several times its bytes where it waited."""
    with contextlib.ExitStack() as stack:
        stream = stream_with(stack, 1)
        sent = [b"data:%d\n\n" % number for number in range(20_000)]
        for data in sent:
            assert stream.send(data)
        assert stream.backlog_cost < 1.1 * len(b"".join(sent))


def deaf(hub: BareApplication, stack: contextlib.ExitStack, *channels: str) -> StreamReader:
    """Open a stream that nobody reads, with as much room as it may want."""
    return stack.enter_context(hub.stream(*channels, max_backlog_bytes=64 * MEGABYTE))


def test_the_largest_backlog_ends_first_and_no_other_is_touched(channel: str) -> None:
    """13.18: 400 slow readers of one client took 435 MB."""
    with (
        BareApplication(f"memory://{channel}", max_total_backlog_bytes=4 * MEGABYTE) as hub,
        contextlib.ExitStack() as stack,
    ):
        small = deaf(hub, stack, "small")
        for number in range(10):
            hub.publish(f"{number} {LARGE}", channel="small")
        [largest, *others] = [deaf(hub, stack, "large", "all"), deaf(hub, stack, "large")]
        reader = stack.enter_context(hub.stream("all"))
        for _ in range(5):
            hub.publish(LARGE, channel="all")
            reader.next_event()
        count = 0
        while hub.status()["ended_slow"] == 0:
            count += 1
            assert count < 100
            hub.publish(LARGE, channel="large")
            assert hub.hub_client.details()["backlog_bytes"] <= 4 * MEGABYTE
        with pytest.raises(EOFError):
            largest.events(1000)
        assert hub.status()["streams"] == 3
        assert [event.data for event in small.events(10)] == [f"{number} {LARGE}" for number in range(10)]
        assert len(others[0].events(count)) == count
        wait_until(lambda: hub.hub_client.details()["backlog_bytes"] == 0, what="all read")


def memory_of(pid: int, kind: str) -> int:
    found = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell it")
def test_the_memory_of_backlogs_is_released(channel: str) -> None:
    """13.18: it stayed with the process, below what had been allocated since."""
    with BareApplication(f"memory://{channel}") as hub:
        hub.publish("first", channel="a")
        before = memory_of(hub.pid, "VmRSS")
        with contextlib.ExitStack() as stack:
            # A channel for each: what waits for several streams is there once.
            names = [f"c{number}" for number in range(100)]
            for name in names:
                stack.enter_context(hub.stream(name, max_backlog_bytes=MEGABYTE))
            envelope = pack(Message(LARGE))
            for _ in range(9):
                hub.hub_client.submit([Publication(name, envelope, History(0)) for name in names])
            assert memory_of(hub.pid, "VmRSS") > before + 50 * MEGABYTE, "else it shows nothing"
        wait_until(lambda: hub.status()["streams"] == 0, what="all gone")
        wait_until(lambda: memory_of(hub.pid, "VmRSS") < before + 30 * MEGABYTE, what="the memory back")
        assert hub.status()["longest_turn_cpu_ms"] < 50


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system has no prlimit")
def test_backlogs_give_way_before_a_publication_fails(channel: str) -> None:
    """13.18: under a limit of 90 MB, 1 127 of 1 763 publications failed beside 90 slow readers."""
    with BareApplication(f"memory://{channel}", history=History(0)) as hub, contextlib.ExitStack() as stack:
        pid = hub.pid
        for number in range(90):
            deaf(hub, stack, f"slow-{number}")
        limits = resource.prlimit(pid, resource.RLIMIT_AS)
        used = memory_of(pid, "VmSize")
        resource.prlimit(pid, resource.RLIMIT_AS, (used + 24 * MEGABYTE, limits[1]))
        stack.callback(resource.prlimit, pid, resource.RLIMIT_AS, limits)
        for number in range(1000):
            hub.publish(f"{number} {LARGE}", channel=f"slow-{number % 90}")
        assert hub.status()["ended_slow"] > 0
        assert hub.pid == pid
