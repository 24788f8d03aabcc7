"""The core beside a plain list: who gets which bytes, and when. The clock is a number here.

No channel has a history here; ``test_catch_up`` has the rest.
"""

from __future__ import annotations

import gc
import itertools
import random
import weakref
from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flask_sse.hub.core.actions import Action, Continue, End, ReportDropped, Subscribe, Unsubscribe, Write
from flask_sse.hub.core.channel_registry import CHANNEL_LINGER_SECONDS
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.lifetimes import MAX_WAIT_SECONDS
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.protocol.block import BlockDecoder
from flask_sse.hub.protocol.hub_events import BROKER_AWAY, REJECTED_RETRY_MS
from flask_sse.hub.protocol.packet import max_body_bytes
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.decode import Decoder, Event
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message

MAX_EVENT_BYTES = 256 * 1024
MAX_CHANNELS = 1000
START = 1000.0
# A tick falls anywhere between the ticks of another hub.
PHASES = [0.0, 0.01, 0.12, 0.24]
# Ages may end this much early, so that none ends late.
EARLY = 2 * TICK_SECONDS
# For sums of fractions that binary numbers do not hold.
ROUNDING = 1e-6


class Reader(Subscriber):
    """A stream of the core that keeps what is written to it, with the time."""

    def __init__(self, *channels: str, mode: str = FRAMES, rules: StreamRules | None = None) -> None:
        super().__init__(StreamRequest(channels, mode, rules or StreamRules()))
        self.writes: list[tuple[float, bytes]] = []
        self.ended_at: float | None = None

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.writes)

    @property
    def is_open(self) -> bool:
        return bool(self.writes)

    @property
    def events(self) -> list[str]:
        """The data of all events, in either mode."""
        if self.mode == ENVELOPES:
            return [envelope.decode() for envelope in BlockDecoder().feed(self.data)]
        return [event.data for event in Decoder().feed(self.data)]

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.writes]


class Hub:
    """What the server does with the core, without sockets."""

    def __init__(self, *, now: float = START, confirms_at_once: bool = False) -> None:
        self.now = now
        self.asked: list[str] = []
        self.given_up: list[str] = []
        self.complaints: list[str] = []
        self.confirms_at_once = confirms_at_once
        self.core: Core[Reader] = Core(MAX_EVENT_BYTES, MAX_CHANNELS, random.random)
        self.core_ticks()

    def add(self, *readers: Reader) -> None:
        for reader in readers:
            self.core.add(reader, self.now)
            self._carry_out()

    def leave(self, *readers: Reader) -> None:
        for reader in readers:
            self.core.remove(reader, self.now)

    def confirm(self, *names: str) -> list[Reader]:
        for name in names:
            self.core.subscribed(name)
        return self._carry_out()

    def lose(self) -> list[Reader]:
        self.core.lost(self.now)
        return self._carry_out()

    def publish(self, channel: str, data: object) -> int:
        return self.deliver(channel, pack(Message(data)))

    def deliver(self, channel: str, envelope: bytes) -> int:
        receivers = self.core.deliver(channel, None, envelope)
        self._carry_out()
        return receivers

    def flush(self) -> None:
        for data, readers in self.core.flush(self.now):
            for reader in readers:
                reader.writes.append((self.now, data))

    def core_ticks(self) -> None:
        self.core.tick(self.now)
        self._carry_out()

    def _carry_out(self) -> list[Reader]:
        """Do what the core has ordered; return the streams that were written to."""
        written = []
        while self.core.outbox:
            match self.core.outbox.popleft():
                case Write(reader, data):
                    reader.writes.append((self.now, data))
                    written.append(reader)
                case End(reader, data):
                    reader.writes.append((self.now, data))
                    reader.ended_at = self.now
                    self.core.remove(reader, self.now)
                case Continue(reader):
                    self.core.continue_stream(reader, self.now)
                case order:
                    self._ask_broker(order)
        return written

    def _ask_broker(self, order: Action) -> None:
        match order:
            case Subscribe(name):
                self.asked.append(name)
                if self.confirms_at_once:
                    self.core.subscribed(name)
            case Unsubscribe(name):
                self.given_up.append(name)
            case ReportDropped(_, reason):
                self.complaints.append(reason)
            case _:
                raise AssertionError(order)

    def wait(self, seconds: float) -> None:
        """Let time pass in ticks, as it does in the server."""
        end = self.now + seconds
        while self.now + TICK_SECONDS <= end + ROUNDING:
            self.now += TICK_SECONDS
            self.core_ticks()


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def bookkeeping(core: Core[Reader]) -> dict[str, object]:
    """Return every collection of the core that is not empty."""
    parts = (core, core._groups, core._lifetimes, core._catch_up, core._run_watcher, core.revocations)
    kept = {name: value for part in parts for name, value in vars(part).items()}
    return {name: value for name, value in kept.items() if isinstance(value, dict | list | set) and value}


def rules(**values: float | tuple[int, int] | None) -> StreamRules:
    return StreamRules(**values)  # type: ignore[arg-type] # any of its fields


@pytest.fixture
def hub() -> Hub:
    """A hub whose broker confirms when it is told to."""
    return Hub()


@pytest.fixture
def ready() -> Hub:
    """A hub whose broker confirms at once, as ``memory://`` does."""
    return Hub(confirms_at_once=True)


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


# -- events ----------------------------------------------------------------------------------------


def test_an_event_goes_to_the_streams_of_its_channel_and_to_no_other(ready: Hub) -> None:
    one, other, both = Reader("a"), Reader("b"), Reader("b", "a")
    ready.add(one, other, both)

    assert ready.publish("a", "x") == 2
    assert ready.publish("b", "y") == 2
    assert ready.publish("c", "z") == 0
    ready.flush()
    assert (one.events, other.events, both.events) == (["x"], ["y"], ["x", "y"])


def test_events_of_one_turn_are_one_write(ready: Hub) -> None:
    reader = Reader("a", "b")
    ready.add(reader)
    for number in range(10):
        ready.publish("ab"[number % 2], str(number))
    ready.flush()
    ready.flush()

    assert len(reader.writes) == 2
    assert reader.events == [str(number) for number in range(10)]


def test_streams_with_the_same_channels_share_the_same_bytes(ready: Hub) -> None:
    readers = [Reader("a", "b"), Reader("b", "a"), Reader("a", "b")]
    ready.add(*readers)
    ready.publish("a", "x")

    assert [(data, len(streams)) for data, streams in ready.core.flush(ready.now)] == [(b"data:x\n\n", 3)]


def test_nothing_is_written_before_the_turn_ends(ready: Hub) -> None:
    reader = Reader("a")
    ready.add(reader)
    ready.publish("a", "x")

    assert reader.events == []


def test_a_stream_that_waits_gets_no_event(hub: Hub) -> None:
    reader = Reader("a", "b")
    hub.add(reader)
    hub.confirm("a")

    assert hub.publish("a", "before") == 0
    hub.confirm("b")
    assert hub.publish("a", "after") == 1
    hub.flush()
    assert reader.events == ["after"]


def test_a_stream_does_not_get_what_came_before_it_in_the_same_turn(ready: Hub) -> None:
    early, late = Reader("a"), Reader("a")
    ready.add(early)
    assert ready.publish("a", "before") == 1
    ready.add(late)
    assert ready.publish("a", "after") == 2
    ready.flush()

    assert early.events == ["before", "after"]
    assert late.events == ["after"]


def test_a_stream_that_left_gets_nothing_of_the_turn(ready: Hub) -> None:
    here, gone = Reader("a"), Reader("a")
    ready.add(here, gone)
    ready.publish("a", "x")
    ready.leave(gone)
    ready.flush()

    assert here.events == ["x"]
    assert gone.events == []


def test_what_waits_for_a_stream_that_left_is_not_its_successor_s(ready: Hub) -> None:
    gone, successor = Reader("a"), Reader("a")
    ready.add(gone)
    ready.publish("a", "x")
    ready.leave(gone)
    ready.add(successor)
    ready.flush()

    assert successor.events == []


def test_both_forms_get_theirs(ready: Hub) -> None:
    frames, envelopes = Reader("a"), Reader("a", mode=ENVELOPES)
    ready.add(frames, envelopes)
    envelope = b'{"data": {"b":1, "a":2}, "type": "t", "id": 5}'

    assert ready.deliver("a", envelope) == 2
    ready.flush()
    assert Decoder().feed(frames.data) == [Event("t", '{"b":1, "a":2}', "5")]
    assert list(BlockDecoder().feed(envelopes.data)) == [envelope]


@pytest.mark.parametrize(
    "envelope",
    [b"", b"hello", b"\xff\xfe", b'{"data": NaN}', b'{"data": 1, "type": "a\\nid: 9"}', b'{"channel": "a"}'],
)
def test_a_foreign_envelope_is_refused_and_counted_and_nobody_gets_anything(
    envelope: bytes, ready: Hub
) -> None:
    readers = [Reader("a"), Reader("a", mode=ENVELOPES), Reader("a", "b")]
    ready.add(*readers)
    assert ready.deliver("a", envelope) == 0
    assert len(ready.complaints) == 1
    ready.publish("a", "right")
    ready.flush()

    assert ready.core.counters.foreign_dropped == 1
    assert ready.core.counters.events == 1
    assert readers[0].events == readers[2].events == ["right"]
    assert readers[1].events == ['{"data": "right"}']


def test_an_envelope_that_no_publisher_may_send_is_refused_before_it_is_read(ready: Hub) -> None:
    reader = Reader("a")
    ready.add(reader)
    frame = b'{"data": "%b"}'
    room = max_body_bytes(MAX_EVENT_BYTES) - len(frame % b"")

    assert ready.deliver("a", frame % (b"x" * room)) == 1
    assert ready.complaints == []
    assert ready.deliver("a", frame % (b"x" * (room + 1))) == 0
    assert "too large" in ready.complaints[0]
    assert ready.core.counters.foreign_dropped == 1


def test_what_nobody_listens_to_is_not_even_read(ready: Hub) -> None:
    reader = Reader("a")
    ready.add(reader)
    ready.leave(reader)

    assert ready.deliver("a", b"no envelope") == 0
    assert ready.deliver("b", b"no envelope") == 0
    assert ready.core.counters.foreign_dropped == 0


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
