"""A hub process holds streams: what their clients see, and what it does with bad ones.

No heartbeat falls into a test that does not ask for one: the first comes after 12 seconds.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import time
from collections.abc import Iterator

import psutil
import pytest
from tests.support.bare_application import HEAD, BareApplication, tcp_pair
from tests.support.client import StreamReader
from tests.support.patience import PATIENT_SECONDS, granted_time
from tests.support.processes import descriptors, running, wait_until

from flask_sse.errors import HubUnavailableError
from flask_sse.hub.client import hub_connection
from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.protocol.hub_events import REJECTED_RETRY_MS
from flask_sse.hub.server.tcp import UNACKNOWLEDGED_MS
from flask_sse.settings import StreamRules

LARGE = "x" * 100_000


@pytest.fixture(scope="module")
def shared_hub() -> Iterator[BareApplication]:
    with BareApplication("memory://server") as client:
        yield client


@pytest.fixture
def hub(shared_hub: BareApplication) -> BareApplication:
    """The hub of this module, without streams."""
    wait_until(lambda: shared_hub.status()["streams"] == 0, what="the last test's streams gone")
    return shared_hub


@pytest.mark.parametrize("tcp", [False, True])
def test_first_bytes_come_at_once_behind_the_head(hub: BareApplication, channel: str, tcp: bool) -> None:
    ours, hubs = tcp_pair() if tcp else socket.socketpair()
    with StreamReader(ours) as stream, hubs:
        hub.hand_over(hubs, channel, rules=StreamRules(retry_ms=(1234, 1234)))
        stream.wait_for_bytes(b"\n\n")
        assert stream.raw == HEAD + b"retry:1234\n\n"


def test_event_comes_at_once_to_the_streams_of_its_channel_only(hub: BareApplication, channel: str) -> None:
    with hub.stream(channel) as first, hub.stream(channel, f"{channel}-b") as second:
        assert hub.publish("one", channel=channel) == 2
        assert hub.publish("two", channel=f"{channel}-b") == 1
        assert second.events(2)[1].data == "two"
        assert first.next_event().data == "one"
        assert b"two" not in first.raw


def test_quiet_stream_gets_a_heartbeat_within_its_time(hub: BareApplication, channel: str) -> None:
    seconds = 0.3
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(hub.stream(channel, heartbeat_seconds=seconds)) for _ in range(20)]
        # A machine that stalls for a moment is not the hub's fault; it does not stall each time.
        attempts = (max(longest_silences(hub, streams, 1.0)) for _ in range(5))
        assert any(silence <= seconds + 0.05 for silence in attempts)
        assert all(b"\n\n:\n\n:\n\n" in stream.raw for stream in streams)


def test_stream_of_the_first_moment_of_a_hub_gets_its_heartbeats(channel: str) -> None:
    with (
        BareApplication(f"memory://{channel}") as fresh,
        fresh.stream("all", heartbeat_seconds=0.1) as stream,
    ):
        stream.wait_for_bytes(b":\n\n:\n\n")


def longest_silences(hub: BareApplication, streams: list[StreamReader], seconds: float) -> list[float]:
    """Listen for a while; return the longest time that each stream wrote nothing."""
    pid = hub.pid
    heard = [granted_time(pid)] * len(streams)
    longest = [0.0] * len(streams)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for number, stream in enumerate(streams):
            before = len(stream.raw)
            with contextlib.suppress(TimeoutError):
                stream.events(1, timeout=0.001)
            now = granted_time(pid)
            longest[number] = max(longest[number], now - heard[number])
            if len(stream.raw) > before:
                heard[number] = now
    return longest


def test_client_that_never_reads_is_ended_and_others_are_not_held_up(
    hub: BareApplication, channel: str
) -> None:
    ended = hub.status()["ended_slow"]
    with (
        hub.stream(channel, max_backlog_bytes=1_000_000) as deaf,
        hub.stream(channel, max_backlog_bytes=1_000_000) as reader,
    ):
        count = 0
        while hub.status()["streams"] == 2:
            count += 1
            assert count < 100, "a client that never reads is never ended"
            hub.publish(f"{count} {LARGE}", channel=channel)
            assert reader.next_event().data == f"{count} {LARGE}"
        # One backlog, and what the two ends of the connection hold.
        assert count > 10
        assert hub.status()["ended_slow"] == ended + 1
        with pytest.raises(EOFError):
            deaf.events(count)
        assert hub.publish("after", channel=channel) == 1
        assert reader.next_event().data == "after"


def test_client_that_reads_slowly_gets_every_byte_in_order(hub: BareApplication, channel: str) -> None:
    ended = hub.status()["ended_slow"]
    with hub.stream(channel, max_backlog_bytes=10_000_000, tcp=True) as stream:
        sent = [f"{number} {LARGE}" for number in range(60)]
        for data in sent:
            assert hub.publish(data, channel=channel) == 1
        got: list[str] = []
        while len(got) < len(sent):
            got += (event.data for event in stream.reading.feed(stream.sock.recv(10_000)))
        assert got == sent
        assert hub.publish("live", channel=channel) == 1
        assert stream.next_event().data == "live"
    assert hub.status()["ended_slow"] == ended


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("way", ["close", "half-close", "reset"])
def test_client_that_leaves_is_noticed_without_any_event(
    hub: BareApplication, channel: str, way: str, tcp: bool
) -> None:
    before = descriptors(hub.pid)
    # No heartbeat comes to the help of the hub.
    with hub.stream(channel, tcp=tcp, heartbeat_seconds=3600) as stream:
        assert hub.status()["streams"] == 1
        if way == "close":
            stream.close()
        elif way == "reset":
            stream.reset()
        else:
            stream.sock.shutdown(socket.SHUT_WR)
            assert stream.wait_closed() == "eof"
        wait_until(lambda: hub.status()["streams"] == 0, what="the hub to notice")
    assert hub.publish("nobody", channel=channel) == 0
    wait_until(lambda: descriptors(hub.pid) == before, what="the descriptor closed")


def test_junk_that_a_client_sends_is_thrown_away(hub: BareApplication, channel: str) -> None:
    with hub.stream(channel, tcp=True) as stream:
        stream.sock.settimeout(PATIENT_SECONDS)
        stream.sock.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(5_000_000))
        assert hub.publish("still here", channel=channel) == 1
        assert stream.next_event().data == "still here"


def test_stream_ends_between_80_and_100_percent_of_its_age(hub: BareApplication, channel: str) -> None:
    age = 1.5
    with contextlib.ExitStack() as stack:
        pid = hub.pid
        opened, granted = time.monotonic(), granted_time(pid)
        streams = [
            stack.enter_context(hub.stream(channel, max_stream_seconds=age, tcp=True)) for _ in range(20)
        ]
        for stream in streams:
            # Unread junk must not turn the goodbye into a reset.
            stream.sock.sendall(b"junk")
        ends = ends_of(streams)
        lived = granted_time(pid) - granted
        # One at the beginning and one as goodbye.
        assert all(stream.raw.count(b"\n\n") == stream.raw.count(b"retry:") == 2 for stream in streams)
        assert all(stream.raw.endswith(b"\n\n") for stream in streams)
    # The hub's clock is coarse, and errs to the early side.
    assert min(ends) - opened >= 0.8 * age - 2 * TICK_SECONDS
    assert lived <= age + 0.2


def ends_of(streams: list[StreamReader]) -> list[float]:
    """Return when each stream ended; all of them must end with the end of the connection."""
    ends: dict[StreamReader, float] = {}

    def all_ended() -> bool:
        for stream in streams:
            with contextlib.suppress(TimeoutError):
                if stream not in ends:
                    assert stream.wait_closed(timeout=0.001) == "eof"
                    ends[stream] = time.monotonic()
        return len(ends) == len(streams)

    wait_until(all_ended, what="all streams ended")
    return list(ends.values())


def test_stream_over_the_limit_is_told_when_to_come_back() -> None:
    with (
        BareApplication("memory://few", max_streams=2) as hub,
        hub.stream("few") as first,
        hub.stream("few"),
        hub.stream("few") as third,
    ):
        assert third.wait_closed() == "eof"
        retry_ms = third.reading.decoder.retry_ms
        assert third.raw == HEAD + f":too many streams\n\nretry:{retry_ms}\n\n".encode()
        assert retry_ms is not None
        assert REJECTED_RETRY_MS[0] <= retry_ms <= REJECTED_RETRY_MS[1]
        assert (hub.status()["streams"], hub.status()["rejected"]) == (2, 1)
        assert hub.publish("to those inside", channel="few") == 2
        first.close()
        wait_until(lambda: hub.status()["streams"] == 1, what="a place free")
        with hub.stream("few") as fourth:
            hub.publish("to the next", channel="few")
            assert fourth.next_event().data == "to the next"


def test_connection_over_tcp_is_prepared_for_small_writes_and_lost_clients(
    hub: BareApplication, channel: str
) -> None:
    ours, hubs = tcp_pair()
    with ours, hubs:
        hub.hand_over(hubs, channel)
        ours.recv(1)
        # Options belong to the connection, so our copy shows what the hub set on its own.
        assert hubs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            timeout = hubs.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert timeout == UNACKNOWLEDGED_MS


def test_stream_of_a_connection_that_is_gone_already_leaves_nothing(
    hub: BareApplication, channel: str
) -> None:
    before = descriptors(hub.pid)
    for _ in range(20):
        ours, hubs = tcp_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        ours.close()
        with hubs:
            hub.hand_over(hubs, channel)
    wait_until(lambda: hub.status()["streams"] == 0, what="all given up")
    wait_until(lambda: descriptors(hub.pid) == before, what="all descriptors closed")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system has no prlimit")
def test_hub_without_descriptors_lives_and_recovers(
    runtime_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with BareApplication("memory://full") as hub, hub.stream("full") as old, contextlib.ExitStack() as stack:
        pid = hub.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(pid) + 3, hard))
        busy = psutil.Process(pid).cpu_times().user
        with monkeypatch.context() as patch:
            patch.setattr(hub_connection, "ANSWER_SECONDS", 0.7)
            apps = fill_with_apps(stack)
        assert psutil.Process(pid).cpu_times().user - busy < 0.3, "it spins"
        with pytest.raises(EOFError):
            apps[0].stream("full")
        assert hub.publish("to the old one", channel="full") == 1
        assert old.next_event().data == "to the old one"
        assert running(pid)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        with apps[0].stream("full") as new:
            assert hub.publish("to both", channel="full") == 2
            assert new.next_event().data == old.next_event().data == "to both"
        assert apps[0].pid == pid


def fill_with_apps(stack: contextlib.ExitStack) -> list[BareApplication]:
    """Connect applications to a hub until it takes no more, and return those that it took."""
    apps: list[BareApplication] = []
    while True:
        app = stack.enter_context(BareApplication("memory://full"))
        try:
            app.status()
        except HubUnavailableError:
            return apps
        apps.append(app)
