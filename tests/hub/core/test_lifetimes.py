"""Lifetimes: heartbeats, ages, and when clients reconnect."""

from __future__ import annotations

import pytest
from tests.support.core_readers import (
    EARLY,
    PHASES,
    ROUNDING,
    START,
    Hub,
    Reader,
    gaps,
    rules,
)

from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.protocol.hub_events import REJECTED_RETRY_MS
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES
from flask_sse.wire.decode import Decoder

# -- heartbeats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [FRAMES, ENVELOPES])
@pytest.mark.parametrize("seconds", [1.0, 15.0])
@pytest.mark.parametrize("phase", PHASES)
def test_no_stream_is_silent_for_longer_than_the_setting_says(
    phase: float, seconds: float, mode: str
) -> None:
    hub = Hub(now=START + phase, confirms_at_once=True)
    readers = [Reader("a", mode=mode, rules=rules(heartbeat_seconds=seconds)) for _ in range(60)]
    for reader in readers:
        hub.add(reader)
        hub.now += TICK_SECONDS / 60
    hub.wait(10 * seconds)

    for reader in readers:
        assert max(gaps([*reader.times, hub.now])) <= seconds + ROUNDING
        assert min(gaps(reader.times)) >= 0.8 * seconds - EARLY
        assert reader.events == []


def test_silence_is_counted_from_the_last_event(ready: Hub) -> None:
    reader = Reader("a", rules=rules(heartbeat_seconds=10))
    ready.add(reader)
    ready.wait(7)
    ready.publish("a", "x")
    ready.flush()
    ready.wait(7)

    assert len(reader.writes) == 2
    ready.wait(3)
    assert len(reader.writes) == 3


def test_a_busy_stream_has_no_heartbeat(ready: Hub) -> None:
    readers = [Reader("a", rules=rules(heartbeat_seconds=10)) for _ in range(50)]
    ready.add(*readers)
    for number in range(20):
        ready.wait(7)
        ready.publish("a", str(number))
        ready.flush()

    assert all(len(reader.writes) == 21 for reader in readers)


def test_events_for_others_are_no_reason_to_be_silent(ready: Hub) -> None:
    quiet, busy = Reader("a", rules=rules(heartbeat_seconds=2)), Reader("a", "b")
    ready.add(quiet, busy)
    for _ in range(20):
        ready.wait(1)
        ready.publish("b", "x")
        ready.flush()

    assert max(gaps(quiet.times)) <= 2 + ROUNDING


def test_heartbeats_of_streams_that_opened_together_are_spread(ready: Hub) -> None:
    readers = [Reader("a") for _ in range(200)]
    ready.add(*readers)
    ready.wait(15)

    assert all(len(reader.writes) == 2 for reader in readers)
    assert len({reader.times[1] for reader in readers}) >= 8


def test_a_stream_that_left_has_no_heartbeat(ready: Hub) -> None:
    reader = Reader("a")
    ready.add(reader)
    ready.leave(reader)
    ready.wait(40)

    assert len(reader.writes) == 1


def test_a_clock_that_stood_still_catches_up(hub: Hub) -> None:
    waiting, quiet = Reader("a"), Reader("b", rules=rules(heartbeat_seconds=5))
    hub.add(waiting, quiet)
    hub.confirm("b")
    hub.now += 100
    hub.core_ticks()

    assert waiting.is_open
    assert quiet.times == [START, START + 100]


def test_the_first_tick_of_a_hub_may_come_late() -> None:
    hub = Hub(confirms_at_once=False)
    hub.add(waiting := Reader("a"))

    assert not waiting.is_open
    hub.now += 10
    hub.core_ticks()
    assert waiting.is_open


# -- age -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_stream_ends_between_80_and_100_percent_of_its_age(phase: float) -> None:
    hub = Hub(now=START + phase, confirms_at_once=True)
    readers = [Reader("a", rules=rules(max_stream_seconds=50)) for _ in range(100)]
    opened_at = hub.now
    hub.add(*readers)
    hub.now += 0.05
    hub.wait(60)

    ages = [reader.ended_at - opened_at for reader in readers if reader.ended_at is not None]
    assert len(ages) == len(readers)
    assert max(ages) <= 50 + ROUNDING
    assert min(ages) >= 40 - EARLY
    assert len(set(ages)) >= 15
    assert len(hub.core) == 0


def test_the_age_counts_from_the_opening_and_not_from_the_last_event(ready: Hub) -> None:
    reader = Reader("a", rules=rules(max_stream_seconds=10))
    ready.add(reader)
    for number in range(10):
        ready.wait(1)
        ready.publish("a", str(number))
        ready.flush()

    assert reader.ended_at is not None
    assert len(reader.events) >= 7


def test_a_stream_that_ends_says_when_to_come_back(ready: Hub) -> None:
    frames = Reader("a", rules=rules(max_stream_seconds=3, retry_ms=(7000, 7000)))
    envelopes = Reader("a", mode=ENVELOPES, rules=rules(max_stream_seconds=3))
    ready.add(frames, envelopes)
    frames.writes.clear()
    ready.wait(3)

    decoder = Decoder()
    assert decoder.feed(frames.data) == []
    assert decoder.retry_ms == 7000
    assert envelopes.ended_at is not None
    assert envelopes.events == []


def test_a_stream_without_an_age_does_not_end(ready: Hub) -> None:
    reader = Reader("a")
    ready.add(reader)
    ready.wait(2000)

    assert reader.ended_at is None
    assert len(ready.core) == 1


# -- delays ----------------------------------------------------------------------------------------


def delay_ms(body: bytes | None) -> int:
    decoder = Decoder()
    assert body is not None
    assert decoder.feed(body) == []
    assert decoder.retry_ms is not None
    return decoder.retry_ms


def test_rejected_streams_reconnect_at_moments_of_their_own_after_a_long_time() -> None:
    hub = Hub()
    hub.core.max_channels = 0

    delays = {delay_ms(hub.core.refusal(Reader("a"))) for _ in range(50)}

    assert len(delays) > 10
    assert all(REJECTED_RETRY_MS[0] <= ms <= REJECTED_RETRY_MS[1] for ms in delays)


def test_streams_of_a_hub_that_drains_reconnect_within_the_range_of_their_rules() -> None:
    hub = Hub(confirms_at_once=True)
    readers = [Reader("a", rules=rules(retry_ms=(100, 200))) for _ in range(50)]
    hub.add(*readers)

    hub.core.drain(1.0, hub.now)
    hub.wait(2.0)

    delays = {delay_ms(reader.writes[-1][1]) for reader in readers}
    assert len(delays) > 10
    assert all(100 <= ms <= 200 for ms in delays)
