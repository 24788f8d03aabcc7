"""Core: streams that come and go, and the core beside a plain list. The clock is a number here.

No channel has a history here; ``test_catch_up`` has the rest.
"""

from __future__ import annotations

import gc
import random
import weakref
from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.core_readers import (
    EARLY,
    MAX_CHANNELS,
    MAX_EVENT_BYTES,
    PHASES,
    ROUNDING,
    START,
    Hub,
    Reader,
    bookkeeping,
    rules,
)

from flask_sse.hub.core.actions import Continue, End, ReportDropped, Subscribe, Unsubscribe, Write
from flask_sse.hub.core.channel_registry import CHANNEL_LINGER_SECONDS
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.lifetimes import MAX_WAIT_SECONDS
from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.protocol.block import BlockDecoder
from flask_sse.hub.protocol.hub_events import BROKER_AWAY
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES
from flask_sse.wire.decode import Decoder

# -- a stream opens --------------------------------------------------------------------------------


def test_a_stream_waits_for_all_its_channels(hub: Hub) -> None:
    reader = Reader("a", "b")
    hub.add(reader)

    assert hub.asked == ["a", "b"]
    assert not reader.is_open
    assert hub.confirm("a") == []
    assert hub.confirm("b") == [reader]
    assert BROKER_AWAY not in reader.data


def test_a_stream_opens_at_once_when_its_channels_are_confirmed(hub: Hub) -> None:
    hub.add(Reader("a", "b"))
    hub.confirm("a", "b")
    second = Reader("b", "a")
    hub.add(second)

    assert second.is_open
    assert hub.asked == ["a", "b"]


def test_a_broker_may_confirm_while_it_is_asked(ready: Hub) -> None:
    reader = Reader("a", "b")
    ready.add(reader)

    assert len(reader.writes) == 1
    assert ready.publish("b", "x") == 1


def test_a_confirmation_that_comes_again_opens_nothing_again(hub: Hub) -> None:
    reader = Reader("a")
    hub.add(reader)

    assert hub.confirm("a") == [reader]
    assert hub.confirm("a") == []


def test_a_confirmation_of_a_channel_that_nobody_wants_is_let_pass(hub: Hub) -> None:
    assert hub.confirm("gone") == []
    assert hub.core.channels.busy_count == 0


def test_a_stream_begins_with_its_reconnection_time_and_no_event(ready: Hub) -> None:
    readers = [Reader("a", rules=rules(retry_ms=(1000, 2000))) for _ in range(100)]
    ready.add(*readers)

    told = set()
    for reader in readers:
        decoder = Decoder()
        assert decoder.feed(reader.data) == []
        assert decoder.last_event_id == ""
        assert reader.data.endswith(b"\n\n")
        told.add(decoder.retry_ms)
    assert len(told) > 10
    assert all(retry_ms is not None and 1000 <= retry_ms <= 2000 for retry_ms in told)


def test_a_stream_of_envelopes_begins_with_an_empty_block(ready: Hub) -> None:
    reader = Reader("a", mode=ENVELOPES)
    ready.add(reader)

    assert reader.data == b"\0\0\0\0"


@pytest.mark.parametrize("phase", PHASES)
def test_a_stream_waits_no_longer_than_the_promise_and_then_says_why(phase: float) -> None:
    hub = Hub(now=START + phase)
    hub.now += 0.1
    late = Reader("a", "b")
    hub.add(late)
    hub.confirm("a")
    hub.now += 0.15
    hub.wait(MAX_WAIT_SECONDS)

    assert late.is_open
    assert late.times[0] <= START + phase + 0.1 + MAX_WAIT_SECONDS + ROUNDING
    assert late.times[0] >= START + phase + 0.1 + MAX_WAIT_SECONDS - EARLY
    assert BROKER_AWAY in late.data
    assert Decoder().feed(late.data) == []


def test_a_stream_that_waited_in_vain_gets_events_and_is_not_opened_again(hub: Hub) -> None:
    reader = Reader("a")
    hub.add(reader)
    hub.wait(MAX_WAIT_SECONDS)

    assert hub.confirm("a") == []
    hub.publish("a", "x")
    hub.flush()
    assert reader.events == ["x"]


def test_a_lost_broker_opens_the_waiting_streams_and_they_say_so(hub: Hub) -> None:
    opened, waiting = Reader("a"), Reader("a", "b")
    hub.add(opened)
    hub.confirm("a")
    hub.add(waiting)
    first = opened.data

    assert hub.lose() == [waiting]
    assert hub.core.broker_away
    assert BROKER_AWAY in waiting.data
    assert opened.data == first
    assert hub.lose() == []


def test_while_the_broker_is_away_a_stream_opens_at_once_and_says_so(hub: Hub) -> None:
    hub.add(Reader("a"))
    hub.confirm("a")
    hub.lose()
    known, unknown = Reader("a"), Reader("b")
    hub.add(known, unknown)

    assert BROKER_AWAY in known.data
    assert BROKER_AWAY in unknown.data


def test_when_the_broker_is_back_streams_wait_for_their_channels_again(hub: Hub) -> None:
    first = Reader("a", "b")
    hub.add(first)
    hub.confirm("a", "b")
    hub.lose()
    hub.confirm("a")
    ready, waiting = Reader("a"), Reader("b")
    hub.add(ready, waiting)

    assert not hub.core.broker_away
    assert ready.is_open
    assert BROKER_AWAY not in ready.data
    assert not waiting.is_open
    assert hub.confirm("b") == [waiting]
    assert BROKER_AWAY not in waiting.data


def test_opened_streams_are_counted_once(hub: Hub) -> None:
    hub.add(Reader("a"), Reader("a"), Reader("b"))
    hub.confirm("a")

    assert hub.core.counters.opened == 2
    assert len(hub.core) == 3


# -- channels that nobody wants any more -----------------------------------------------------------


def test_an_idle_channel_is_given_up_after_the_linger_and_not_before(hub: Hub) -> None:
    reader = Reader("a")
    hub.add(reader)
    hub.confirm("a")
    hub.leave(reader)

    assert hub.core.channels.busy_count == 0
    hub.wait(CHANNEL_LINGER_SECONDS - TICK_SECONDS)
    assert hub.given_up == []
    hub.wait(TICK_SECONDS)
    assert hub.given_up == ["a"]
    hub.wait(2 * CHANNEL_LINGER_SECONDS)
    assert hub.given_up == ["a"]


def test_a_channel_that_was_given_up_is_asked_for_again(hub: Hub) -> None:
    hub.add(first := Reader("a"))
    hub.confirm("a")
    hub.leave(first)
    hub.wait(CHANNEL_LINGER_SECONDS)
    hub.add(second := Reader("a"))

    assert hub.asked == ["a", "a"]
    assert not second.is_open
    assert hub.confirm("a") == [second]


def test_a_stream_that_comes_within_the_linger_keeps_the_channel(hub: Hub) -> None:
    hub.add(first := Reader("a"))
    hub.confirm("a")
    hub.leave(first)
    hub.wait(CHANNEL_LINGER_SECONDS - 1)
    hub.add(second := Reader("a"))
    hub.wait(2 * CHANNEL_LINGER_SECONDS)

    assert second.is_open
    assert (hub.asked, hub.given_up) == (["a"], [])
    assert hub.publish("a", "x") == 1


def test_the_linger_begins_when_the_last_stream_leaves(hub: Hub) -> None:
    first, second = Reader("a"), Reader("a", mode=ENVELOPES)
    hub.add(first, second)
    hub.confirm("a")
    hub.leave(first)
    hub.wait(2 * CHANNEL_LINGER_SECONDS)
    hub.leave(second)
    hub.wait(CHANNEL_LINGER_SECONDS - TICK_SECONDS)

    assert hub.given_up == []
    hub.wait(TICK_SECONDS)
    assert hub.given_up == ["a"]


def test_a_channel_of_a_stream_that_waits_for_another_is_not_given_up(hub: Hub) -> None:
    hub.add(neighbour := Reader("a"))
    hub.confirm("a")
    hub.add(reader := Reader("a", "b"))
    hub.leave(neighbour)
    hub.confirm("b")
    hub.wait(2 * CHANNEL_LINGER_SECONDS)

    assert hub.given_up == []
    assert {channel.name for channel in hub.core.channels.busiest(3)} == {"a", "b"}
    assert hub.publish("a", "x") == 1
    hub.leave(reader)
    assert len(hub.core) == 0


def test_a_channel_that_was_only_waited_for_is_given_up_too(hub: Hub) -> None:
    hub.add(reader := Reader("a", "b"))
    hub.confirm("a")
    hub.leave(reader)
    hub.wait(CHANNEL_LINGER_SECONDS)

    assert sorted(hub.given_up) == ["a", "b"]


def test_nothing_of_a_stream_stays_behind(hub: Hub) -> None:
    readers = [
        Reader(*channels, mode=mode, rules=rules(max_stream_seconds=age))
        for channels in [("a",), ("b", "a"), ("a", "c")]
        for mode in (FRAMES, ENVELOPES)
        for age in (None, 100)
    ]
    hub.add(*readers)
    hub.confirm("a", "b")
    hub.publish("a", "x")
    hub.flush()
    hub.publish("b", "y")
    assert bookkeeping(hub.core) != {}
    hub.leave(*readers)
    hub.flush()
    hub.wait(2 * CHANNEL_LINGER_SECONDS)

    assert sorted(hub.given_up) == ["a", "b", "c"]
    assert bookkeeping(hub.core) == {}
    left = [weakref.ref(reader) for reader in readers]
    readers.clear()
    gc.collect()
    assert [reader() for reader in left if reader() is not None] == []


def test_a_stream_that_is_not_known_can_be_removed(hub: Hub) -> None:
    reader = Reader("a")
    hub.leave(reader)
    hub.add(reader)
    hub.leave(reader)
    hub.leave(reader)

    assert len(hub.core) == 0


# -- a plain list beside it ------------------------------------------------------------------------

NAMES = ("a", "b", "c")


class CoreBesideAList(RuleBasedStateMachine):
    """Whatever happens in whatever order, every stream gets what a plain list says."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.wanted: set[str] = set()
        self.confirmed: set[str] = set()
        self.away = False
        self.idle_since: dict[str, float] = {}
        self.readers: list[Reader] = []
        self.waits_since: dict[Reader, float] = {}
        self.expected: dict[Reader, bytes] = defaultdict(bytes)
        self.count = 0
        self.complaints = 0
        self.core: Core[Reader] = Core(MAX_EVENT_BYTES, MAX_CHANNELS, random.random)

    def _carry_out(self) -> list[tuple[Reader, bytes, bool]]:
        """Do what the core has ordered; return what it writes to whom, and whether that is the end."""
        written: list[tuple[Reader, bytes, bool]] = []
        while self.core.outbox:
            match self.core.outbox.popleft():
                case Write(reader, data):
                    written.append((reader, data, False))
                case End(reader, data):
                    written.append((reader, data, True))
                case Subscribe(name):
                    assert name not in self.wanted
                    self.wanted.add(name)
                case Unsubscribe(name):
                    self._unsubscribe(name)
                case ReportDropped(_, _):
                    self.complaints += 1
                case Continue(reader):
                    self.core.continue_stream(reader, self.now)
                case order:
                    raise AssertionError(order)
        return written

    def _unsubscribe(self, name: str) -> None:
        assert not self._readers_of(name)
        assert self.now - self.idle_since[name] >= CHANNEL_LINGER_SECONDS
        self.wanted.remove(name)
        self.confirmed.discard(name)

    def _readers_of(self, name: str) -> list[Reader]:
        return [reader for reader in self.readers if name in reader.channels]

    def _open_readers_of(self, name: str) -> list[Reader]:
        return [reader for reader in self._readers_of(name) if reader not in self.waits_since]

    def _expect_opened(self, expected: set[Reader]) -> None:
        opened = self._carry_out()
        assert {reader for reader, _, _ in opened} == expected
        assert len(opened) == len(expected)
        for reader, first, is_last in opened:
            assert not is_last
            self._expect_silence(reader, first)
            del self.waits_since[reader]

    def _expect_silence(self, reader: Reader, data: bytes) -> None:
        """Check that bytes bring no event."""
        decoder = BlockDecoder() if reader.mode == ENVELOPES else Decoder()
        assert list(decoder.feed(data)) == []

    def _forget(self, reader: Reader) -> None:
        self.core.remove(reader, self.now)
        self.readers.remove(reader)
        self.waits_since.pop(reader, None)
        self.expected.pop(reader, None)
        for name in reader.channels:
            if not self._readers_of(name):
                self.idle_since[name] = self.now

    # What may happen.

    @rule(
        channels=st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
        mode=st.sampled_from([FRAMES, ENVELOPES]),
        age=st.sampled_from([None, None, 5.0]),
    )
    def add(self, channels: list[str], mode: str, age: float | None) -> None:
        reader = Reader(*channels, mode=mode, rules=rules(max_stream_seconds=age))
        must_wait = not self.away and not self.confirmed.issuperset(channels)
        for name in channels:
            self.idle_since.pop(name, None)
        self.readers.append(reader)
        self.waits_since[reader] = self.now

        self.core.add(reader, self.now)

        self._expect_opened(set() if must_wait else {reader})

    @precondition(lambda self: self.readers)
    @rule(number=st.integers(0, 100))
    def leave(self, number: int) -> None:
        self._forget(self.readers[number % len(self.readers)])

    @rule(name=st.sampled_from(NAMES))
    def confirm(self, name: str) -> None:
        self.away = False
        if name in self.wanted:
            self.confirmed.add(name)
        complete = {reader for reader in self.waits_since if self.confirmed.issuperset(reader.channels)}

        self.core.subscribed(name)

        self._expect_opened(complete)

    @rule()
    def lose(self) -> None:
        self.away = True
        self.confirmed.clear()

        self.core.lost(self.now)

        self._expect_opened(set(self.waits_since))

    @rule(name=st.sampled_from(NAMES))
    def deliver(self, name: str) -> None:
        self.count += 1
        envelope = b'{"data": %d}' % self.count
        modes = {
            FRAMES: b"data:%d\n\n" % self.count,
            ENVELOPES: len(envelope).to_bytes(4, "big") + envelope,
        }
        for reader in self._open_readers_of(name):
            self.expected[reader] += modes[reader.mode]

        assert self.core.deliver(name, None, envelope) == len(self._open_readers_of(name))

    @rule(name=st.sampled_from(NAMES))
    def deliver_what_is_none(self, name: str) -> None:
        before = self.complaints
        assert self.core.deliver(name, None, b"none") == 0
        assert self._carry_out() == []
        assert self.complaints == before + bool(self._open_readers_of(name))

    @rule()
    def flush(self) -> None:
        written: dict[Reader, bytes] = defaultdict(bytes)
        for data, readers in self.core.flush(self.now):
            assert data
            for reader in readers:
                written[reader] += data

        assert written == self.expected
        self.expected.clear()

    @rule(ticks=st.sampled_from([1, 2, 5, 30, int(CHANNEL_LINGER_SECONDS / TICK_SECONDS)]))
    def wait(self, ticks: int) -> None:
        for _ in range(ticks):
            self._tick(TICK_SECONDS)

    @rule(seconds=st.floats(0, 2 * CHANNEL_LINGER_SECONDS))
    def stall(self, seconds: float) -> None:
        self._tick(seconds)

    def _tick(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now)
        due = self._carry_out()
        assert len({reader for reader, _, _ in due}) == len(due)
        for reader, data, is_last in due:
            self._expect_silence(reader, data)
            self.waits_since.pop(reader, None)
            if is_last:
                assert reader.rules.max_stream_seconds is not None
                self._forget(reader)
        assert all(self.now - since <= MAX_WAIT_SECONDS for since in self.waits_since.values())
        idle = self.wanted & self.idle_since.keys()
        assert all(self.now - self.idle_since[name] < CHANNEL_LINGER_SECONDS for name in idle)

    # What always holds.

    @invariant()
    def it_knows_its_streams_and_channels(self) -> None:
        assert self.core.subscribers == frozenset(self.readers)
        assert len(self.core) == len(self.readers)
        names = {name for reader in self.readers for name in reader.channels}
        assert self.core.channels.busy_count == len(names)
        assert self.core.broker_away == self.away

    def teardown(self) -> None:
        """Let all leave, and see that nothing of them stays."""
        for reader in list(self.readers):
            self._forget(reader)
        self.flush()
        self._tick(1000)

        assert self.wanted == set()
        assert bookkeeping(self.core) == {}


TestCoreBesideAList = CoreBesideAList.TestCase
TestCoreBesideAList.settings = settings(deadline=None, max_examples=200, stateful_step_count=40)
