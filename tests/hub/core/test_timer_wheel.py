"""The timers: nothing late, nothing twice, nothing that was dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flask_sse.hub.core.timer_wheel import TICK_SECONDS, Timed, TimerWheel

times = st.floats(0, 100)


def ticks(timers: TimerWheel[Timed], start: float, end: float) -> dict[Timed, float]:
    """Let time pass; return when each item came."""
    came: dict[Timed, float] = {}
    now = start
    while now <= end:
        for item in timers.pop_due(now):
            assert item not in came
            came[item] = now
        now += TICK_SECONDS
    return came


@given(st.lists(times, max_size=30), st.floats(0, TICK_SECONDS))
def test_each_item_comes_once_a_little_early_and_never_late(due: list[float], phase: float) -> None:
    timers: TimerWheel[Timed] = TimerWheel()
    items = {Timed(): seconds for seconds in due}
    for item, seconds in items.items():
        timers.schedule(item, seconds)
    came = ticks(timers, phase, 101)
    assert came.keys() == items.keys()
    for item, seconds in items.items():
        first = max(seconds, phase)
        assert first - 3 * TICK_SECONDS <= came[item] <= first


@given(times, times)
def test_only_the_last_time_counts(before: float, after: float) -> None:
    timers: TimerWheel[Timed] = TimerWheel()
    item = Timed()
    timers.schedule(item, before)
    timers.schedule(item, after)
    came = ticks(timers, 0, 101)
    assert max(after, 0) - 3 * TICK_SECONDS <= came[item] <= after


@given(times)
def test_what_was_dropped_does_not_come_and_is_not_kept(due: float) -> None:
    timers: TimerWheel[Timed] = TimerWheel()
    item = Timed()
    timers.cancel(item)
    timers.schedule(item, due)
    timers.cancel(item)
    timers.cancel(item)
    assert ticks(timers, 0, 101) == {}
    assert not any(timers._items.values())


def test_an_item_may_be_put_again_when_it_came() -> None:
    timers: TimerWheel[Timed] = TimerWheel()
    item = Timed()
    timers.schedule(item, 1)
    for each in timers.pop_due(1):
        timers.schedule(each, 1)
    assert list(timers.pop_due(1)) == [item]
    assert list(timers.pop_due(1)) == []
