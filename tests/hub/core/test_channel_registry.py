"""What is idle costs nothing: channels without streams, runs without streams, reads that no client awaits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.core_grants import ANN, CONTROL, NOW, core_with, settle, subscriber

from flask_sse.brokers.base import Page
from flask_sse.hub.core import core as core_module
from flask_sse.hub.core.actions import (
    Cancel,
    Continue,
    Read,
    Subscribe,
    Unsubscribe,
)
from flask_sse.hub.core.channel_registry import CHANNEL_LINGER_SECONDS
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.lifetimes import LOOKS_AT_ONCE
from flask_sse.hub.core.runs import Run
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.protocol.grant import ANONYMOUS, Grant
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.cursor import EARLIEST

MANY = 20_000
# Of the CPU, for what took some 50 ms.
SHORT_SECONDS = 0.02


def reader(*channels: str) -> Subscriber:
    return Subscriber(StreamRequest(channels, FRAMES, StreamRules(), dict.fromkeys(channels, EARLIEST)))


def carry_out(core: Core[Subscriber], *, answers: bool = True) -> list[int]:
    """Do what a broker with an empty history does; return which reads were cancelled."""
    cancelled = []
    while core.outbox:
        match core.outbox.popleft():
            case Subscribe(channel):
                core.subscribed(channel)
            case Read(number) if answers:
                core.page(number, Page("abcdefgh", "0-0", "0-0", (), complete=True), NOW)
            case Continue(each):
                core.continue_stream(each, NOW)
            case Cancel(number):
                cancelled.append(number)
    return cancelled


def core_with_idle(prefix: str, count: int) -> Core[Subscriber]:
    core: Core[Subscriber] = Core(10_000, count + 10, random.random)
    for number in range(count):
        stream = reader(f"{prefix}{number}")
        core.add(stream, NOW)
        carry_out(core)
        core.remove(stream, NOW)
    return core


class NotLookedThrough(dict[str, Any]):
    """Channels by their names, of which nobody may look at each."""

    def __iter__(self) -> Any:
        raise AssertionError("all channels are looked at")

    keys = values = items = __iter__


def cpu_seconds(action: Callable[[], object]) -> float:
    began = time.thread_time()
    action()
    return time.thread_time() - began


def test_channels_are_counted_and_the_busiest_found_however_many_there_are() -> None:
    """13.19: status() sorted 100 000 names to count them."""
    core = core_with_idle("a", MANY)
    streams = [reader("busy"), reader("busy"), reader("other")]
    for stream in streams:
        core.add(stream, NOW)
    core.channels._channels = NotLookedThrough(core.channels._channels)
    assert core.channels.busy_count == 2
    busiest = core.channels.busiest(3)
    assert [(channel.name, channel.streams) for channel in busiest[:2]] == [("busy", 2), ("other", 1)]
    assert busiest[2].streams == 0
    assert cpu_seconds(lambda: core.channels.busiest(50)) < SHORT_SECONDS
    assert cpu_seconds(lambda: core.tick(NOW + TICK_SECONDS)) < SHORT_SECONDS


def test_idle_channels_are_given_up_some_at_a_time() -> None:
    core = core_with_idle("a", 3 * LOOKS_AT_ONCE)
    core.outbox.clear()
    steps = 1
    while core.tick(NOW + CHANNEL_LINGER_SECONDS):
        steps += 1
        assert sum(isinstance(order, Unsubscribe) for order in core.outbox) <= steps * LOOKS_AT_ONCE
    assert steps >= 3
    assert len(core.channels) == 0


def test_streams_are_looked_at_some_at_a_time() -> None:
    core: Core[Subscriber] = Core(10_000, 10, random.random)
    for _ in range(3 * LOOKS_AT_ONCE):
        core.add(reader("a"), NOW)
    core.outbox.clear()
    assert core.tick(NOW + 2)
    assert len(core.outbox) <= LOOKS_AT_ONCE
    while core.tick(NOW + 2):
        pass
    assert all(each.has_begun for each in core.subscribers)


def test_runs_without_streams_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """13.19: 56 000 of them cost 27 % of a core."""
    core = core_with_idle("run:", 1000)
    with_streams = reader("run:0")
    core.add(with_streams, NOW)
    carry_out(core)
    looked: list[Run] = []
    look = Run.check

    def count(run: Run, now: float, *, is_receiving: bool) -> object:
        looked.append(run)
        return look(run, now, is_receiving=is_receiving)

    monkeypatch.setattr(Run, "check", count)
    for number in range(40):
        core.tick(NOW + number * TICK_SECONDS)
    assert set(looked) == {core.channels["run:0"].run}
    assert len(looked) <= 15


def test_reads_that_no_client_awaits_are_cancelled() -> None:
    """13.16: reads that Redis refused were repeated when all clients had left."""
    core: Core[Subscriber] = Core(10_000, 10, random.random)
    first = reader("a")
    core.add(first, NOW)
    carry_out(core)
    late, later = reader("a"), reader("a")
    for each in (late, later):
        each.resume.since["a"] = "abcdefgh.7-0"  # type: ignore[union-attr] # it has one
        core.add(each, NOW)
    [asked] = [order for order in core.outbox if isinstance(order, Read)]
    assert carry_out(core, answers=False) == []
    core.remove(late, NOW)
    assert carry_out(core) == []
    core.remove(later, NOW)
    assert carry_out(core) == [asked.number]
    # Its answer was on its way.
    core.page(asked.number, Page("abcdefgh", "9-0", None, (), complete=True), NOW)
    assert not core.outbox


def test_the_position_of_a_channel_is_read_no_longer_when_its_last_client_leaves() -> None:
    core: Core[Subscriber] = Core(10_000, 10, random.random)
    first = reader("a")
    core.add(first, NOW)
    assert carry_out(core, answers=False) == []
    core.remove(first, NOW)
    assert len(core.channels) == 0
    assert [type(order) for order in core.outbox] == [Cancel, Unsubscribe]
    core.outbox.clear()
    core.add(reader("a"), NOW)
    carry_out(core)
    assert core.channels["a"].is_ready


def test_no_more_reads_are_awaited_than_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_module, "MAX_READS", 2)
    core: Core[Subscriber] = Core(10_000, 10, random.random)
    for name in ("a", "b"):
        assert core.refusal(reader(name)) is None
        core.add(reader(name), NOW)
        carry_out(core, answers=False)
    assert b"read too slowly" in (core.refusal(reader("c")) or b"")
    assert core.admission.rejected["reads"] == 1
    without_history = Subscriber(StreamRequest(("c",), FRAMES, StreamRules()))
    assert core.refusal(without_history) is None


# -- channels, whose names come from visitors ------------------------------------------------------------


def come_and_go(core: Core[Subscriber], stream: Subscriber) -> None:
    """Open a stream, and leave at once."""
    assert core.refusal(stream) is None
    core.add(stream, NOW)
    settle(core)
    core.remove(stream, NOW)
    settle(core)


def test_one_client_that_makes_names_up_fills_no_hub() -> None:
    """13.15: what it had left counted for a minute, and nobody else came in."""
    core = core_with()
    for number in range(1000):
        come_and_go(core, subscriber(ANONYMOUS, f"made up {number}"))
    # 99 are left of them, beside the one that carries revocations.
    assert len(core.channels) == core.max_channels == 100
    others = [subscriber(ANN, f"page {number}", "shared") for number in range(98)]
    for each in others:
        assert core.refusal(each) is None
        core.add(each, NOW)
    assert len(core.channels) == 100

    assert b"too many channels" in (core.refusal(subscriber(ANONYMOUS, "one more")) or b"")
    assert core.refusal(subscriber(ANONYMOUS, "shared")) is None
    assert core.admission.rejected["channels"] == 1
    assert all(name in core.channels for each in others for name in each.channels)


def test_the_channel_that_has_been_idle_for_longest_is_given_up_first_and_none_that_is_asked_for() -> None:
    core: Core[Subscriber] = Core(10_000, 3, random.random)
    for name in "abc":
        come_and_go(core, subscriber(ANONYMOUS, name))
    come_and_go(core, subscriber(ANONYMOUS, "a", "d"))
    assert [name for name in "abcd" if name in core.channels] == ["a", "c", "d"]
    come_and_go(core, subscriber(ANONYMOUS, "c", "d", "b"))
    assert [name for name in "abcd" if name in core.channels] == ["b", "c", "d"]
    assert core.refusal(subscriber(ANONYMOUS, *"abcd")) is not None
    assert len(core.channels) == 3


def test_a_stream_that_is_one_too_many_of_its_address_gives_no_channel_up() -> None:
    core: Core[Subscriber] = Core(10_000, 1, random.random)
    come_and_go(core, subscriber(ANONYMOUS, "idle"))
    assert core.refusal(subscriber(ANN, "new", max_streams_per_address=0)) is not None
    assert "idle" in core.channels


@pytest.mark.parametrize("what", ["address", "subject"])
def test_a_limit_of_streams_counts_the_channels_that_they_leave(what: str) -> None:
    """13.15: one stream at a time is enough to leave any number of channels for a minute."""
    core = core_with(listening := subscriber(ANONYMOUS, "mine 0"))
    limit: dict[str, Any] = {f"max_streams_per_{what}": 3}
    other = Grant("bob", "192.0.2.9")
    come_and_go(core, subscriber(other, "other", **limit))
    for number in range(50):
        come_and_go(core, subscriber(ANN, f"mine {number}", **limit))
        assert len(core.channels) <= 6

    left = [channel.name for channel in core.channels]
    assert left == [CONTROL, "mine 0", "other", "mine 47", "mine 48", "mine 49"]
    # One of them that has a stream again counts no more, and one that is left again counts as the latest.
    core.add(again := subscriber(ANONYMOUS, "mine 48"), NOW)
    come_and_go(core, subscriber(ANN, "mine 50", **limit))
    core.remove(again, NOW)
    core.remove(listening, NOW)
    settle(core)
    assert {channel.name for channel in core.channels} > {
        "mine 47",
        "mine 49",
        "mine 50",
        "mine 48",
        "mine 0",
    }
    core.tick(NOW + CHANNEL_LINGER_SECONDS)
    assert [channel.name for channel in core.channels] == [CONTROL]
    assert not core.channels._idle._left_by
