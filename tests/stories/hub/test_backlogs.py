"""What waits for all slow clients of a hub together has a bound."""

from __future__ import annotations

import contextlib
import re
import resource
from pathlib import Path

import pytest
from tests.support.bare_application import BareApplication
from tests.support.client import StreamReader
from tests.support.processes import wait_until

from flask_sse.brokers.base import Publication
from flask_sse.settings import History
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message

MEGABYTE = 1024 * 1024
LARGE = "x" * 100_000


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
