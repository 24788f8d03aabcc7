"""The order of one channel beside a plain list, and the races by the names that the design gives them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.model_broker import ModelBroker, Published

from flask_sse.brokers.base import Page
from flask_sse.hub.core import sequencer as module
from flask_sse.hub.core.sequencer import (
    FOREIGN,
    NEW_EPOCH,
    NOT_KEPT,
    TOO_MANY,
    Dropped,
    Gap,
    OrderedEvent,
    Sequencer,
    Step,
)
from flask_sse.wire.cursor import BEFORE_ALL, FROM_NOW, Cursor, Stamp

A = "a"
FORGED = Stamp("zzzzzzzy", "999-0", "998-0")


class Channel:
    """A sequencer and its broker; nothing is lost between them but what a test loses."""

    def __init__(self, broker: ModelBroker | None = None) -> None:
        self.broker = broker or ModelBroker(page_events=1000)
        self.sequencer = Sequencer()
        self.reads = 0
        self.confirmed()

    @property
    def position(self) -> Cursor:
        assert self.sequencer.position is not None
        return self.sequencer.position

    @property
    def at_top(self) -> bool:
        return self.sequencer.is_current and self.sequencer.position == self.broker.top(A)

    def confirmed(self) -> list[Step]:
        """The broker confirms the channel, and what it missed is read at once."""
        return self.read(self.sequencer.catch_up())

    def read(self, since: str | None) -> list[Step]:
        assert since is not None
        return self.page(self.broker.read(A, since))

    def live(self, *published: Published) -> list[Step]:
        """Live messages arrive; what must be read is asked for at once and answered behind them."""
        steps: list[Step] = []
        asked: str | None = None
        for each in published:
            steps += self.sequencer.live(each.stamp, each.envelope)
            if self.sequencer.must_read:
                asked = self.sequencer.catch_up()
        return steps + self.read(asked) if asked is not None else steps

    def page(self, page: Page) -> list[Step]:
        self.reads += 1
        return list(self.sequencer.page(page)) + self.read_on()

    def read_on(self) -> list[Step]:
        return self.read(self.sequencer.catch_up()) if self.sequencer.must_read else []

    def publish(self, count: int = 1) -> list[Published]:
        return [self.broker.publish(A) for _ in range(count)]


def state(sequencer: Sequencer) -> tuple[Cursor | None, bool, bool]:
    return sequencer.position, sequencer.is_current, sequencer.must_read


def cursor_of(published: Published) -> Cursor:
    assert published.stamp is not None
    return published.stamp.cursor


def events(*published: Published) -> list[OrderedEvent]:
    return [OrderedEvent(each.stamp.cursor if each.stamp else None, each.envelope) for each in published]


@pytest.fixture
def channel() -> Channel:
    """A channel that stands at the top of its history."""
    return Channel()


# -- in order --------------------------------------------------------------------------------------


def test_a_channel_begins_at_the_top_of_its_history_and_delivers_nothing_of_it() -> None:
    broker = ModelBroker()
    broker.publish(A)
    sequencer = Sequencer()
    assert state(sequencer) == (None, False, False)

    assert sequencer.catch_up() == FROM_NOW
    assert list(sequencer.page(broker.read(A, FROM_NOW))) == []
    assert state(sequencer) == (broker.top(A), True, False)


def test_what_follows_is_delivered_at_once(channel: Channel) -> None:
    published = channel.publish(3)

    assert channel.live(*published) == events(*published)
    assert channel.at_top
    assert channel.reads == 1


def test_what_came_before_the_position_is_known_waits_for_it() -> None:
    broker = ModelBroker()
    sequencer = Sequencer()
    sequencer.catch_up()
    page = broker.read(A, FROM_NOW)
    late = broker.publish(A)

    assert list(sequencer.live(late.stamp, late.envelope)) == []
    assert list(sequencer.page(page)) == events(late)
    assert sequencer.is_current


def test_only_one_read_is_on_its_way_and_a_reason_that_came_up_meanwhile_is_not_forgotten() -> None:
    broker = ModelBroker()
    sequencer = Sequencer()

    assert sequencer.catch_up() == FROM_NOW
    assert sequencer.catch_up() is None
    assert state(sequencer) == (None, False, False)
    list(sequencer.page(broker.read(A, FROM_NOW)))
    assert state(sequencer) == (broker.top(A), True, True)
    assert sequencer.catch_up() == str(broker.top(A))


# -- the races -------------------------------------------------------------------------------------


def test_r2_what_came_live_and_with_the_page_is_delivered_once(channel: Channel) -> None:
    since = channel.sequencer.catch_up()
    both = channel.publish(2)
    early = [step for each in both for step in channel.sequencer.live(each.stamp, each.envelope)]

    assert early == []
    assert channel.read(since) == events(*both)
    assert channel.live(*both) == []
    assert channel.at_top
    assert channel.reads == 2


def test_r4_a_gap_in_the_middle_is_read_and_delivered_in_its_place(channel: Channel) -> None:
    first, lost, third = channel.publish(3)

    assert channel.live(first, third) == events(first, lost, third)
    assert channel.at_top


def test_r5_a_lost_last_event_is_found_by_the_position(channel: Channel) -> None:
    (lost,) = channel.publish()
    assert not channel.at_top

    assert channel.read(channel.sequencer.catch_up()) == events(lost)
    assert channel.at_top


def test_r6_what_came_between_two_confirmations_is_read(channel: Channel) -> None:
    lost = channel.publish(3)

    assert channel.confirmed() == events(*lost)
    assert channel.at_top


def test_what_is_held_keeps_its_order_around_an_event_without_a_stamp(channel: Channel) -> None:
    """The page that is on its way was made too early and has none of them."""
    since = channel.sequencer.catch_up()
    early = channel.broker.read(A, since or "")
    first = channel.publish()
    loose = channel.broker.publish(A, stamped=False)
    second = channel.publish()
    for each in (*first, loose, *second):
        assert list(channel.sequencer.live(each.stamp, each.envelope)) == []

    assert channel.page(early) == events(*first, loose, *second)
    assert channel.at_top


def test_r10_trimming_that_overtakes_a_read_is_a_gap(channel: Channel) -> None:
    since = channel.position
    channel.publish(3)
    channel.broker.trim(A, 2)

    assert channel.confirmed() == [Gap(NOT_KEPT, since, channel.broker.top(A))]
    assert channel.at_top


def test_r10_trimming_between_two_pages_is_a_gap_behind_the_first() -> None:
    channel = Channel(ModelBroker(page_events=2))
    published = channel.publish(6)
    page = channel.broker.read(A, channel.sequencer.catch_up() or "")
    channel.broker.trim(A, 1)

    *delivered, gap = channel.page(page)
    assert delivered == events(*published[:2])
    assert gap == Gap(NOT_KEPT, cursor_of(published[1]), cursor_of(published[-1]))


@pytest.mark.parametrize("publishes", [0, 1])
def test_r11_a_history_that_began_anew_is_a_gap(channel: Channel, publishes: int) -> None:
    channel.live(*channel.publish(2))
    since = channel.position
    channel.broker.flush(A)
    new = channel.publish(publishes)

    # The page goes behind the new events already: they came before anybody asked.
    assert (channel.live(*new) if new else channel.confirmed()) == [
        Gap(NEW_EPOCH, since, channel.broker.top(A))
    ]
    assert channel.at_top


def test_r11_what_follows_in_the_new_epoch_is_delivered(channel: Channel) -> None:
    channel.live(*channel.publish(2))
    channel.broker.flush(A)
    first = channel.publish()
    list(channel.live(*first))
    second = channel.publish()

    assert channel.live(*second) == events(*second)


def test_r13_a_lagging_failover_is_a_gap_although_the_epoch_is_the_same(channel: Channel) -> None:
    channel.live(*channel.publish(3))
    since = channel.position
    channel.broker.fall_back(A, 2)
    new = channel.publish(5)

    assert channel.live(*new) == [Gap(NOT_KEPT, since, channel.broker.top(A))]
    assert channel.at_top


def test_a_message_that_comes_twice_is_delivered_once(channel: Channel) -> None:
    first, second = channel.publish(2)

    assert channel.live(first, first, second, first, second) == events(first, second)
    assert channel.reads == 1


def test_messages_in_the_wrong_order_are_delivered_in_the_right_one(channel: Channel) -> None:
    published = channel.publish(5)

    assert channel.live(*reversed(published)) == events(*published)
    assert channel.at_top


def test_a_message_of_an_epoch_that_is_over_is_let_go(channel: Channel) -> None:
    (late,) = channel.publish()
    channel.broker.flush(A)
    channel.confirmed()

    assert channel.live(late) == [Dropped(FOREIGN, 1)]
    assert channel.at_top


# -- pages -----------------------------------------------------------------------------------------


def test_what_does_not_fit_into_one_page_is_read_page_by_page() -> None:
    channel = Channel(ModelBroker(page_events=2))
    published = channel.publish(7)

    assert channel.confirmed() == events(*published)
    assert channel.reads == 1 + 4
    assert channel.at_top


def test_what_comes_live_between_two_pages_stands_behind_them() -> None:
    channel = Channel(ModelBroker(page_events=2))
    published = channel.publish(3)
    since = channel.sequencer.catch_up()
    live = channel.publish(2)
    early = [step for each in live for step in channel.sequencer.live(each.stamp, each.envelope)]

    assert early == []
    assert channel.read(since) == events(*published, *live)
    assert channel.at_top


def test_between_two_pages_the_channel_is_not_current() -> None:
    broker = ModelBroker(page_events=2)
    channel = Channel(broker)
    channel.publish(3)
    page = broker.read(A, channel.sequencer.catch_up() or "")
    list(channel.sequencer.page(page))

    assert channel.sequencer.must_read
    channel.read(channel.sequencer.catch_up())
    assert channel.sequencer.is_current


# -- what has no place -----------------------------------------------------------------------------


def test_what_has_no_stamp_is_delivered_when_it_comes(channel: Channel) -> None:
    plain = channel.broker.publish(A, stamped=False)
    (stamped,) = channel.publish()

    assert channel.live(plain, stamped, plain) == events(plain, stamped, plain)
    assert channel.reads == 1


def test_what_has_no_stamp_keeps_its_place_among_what_waits(channel: Channel) -> None:
    lost, second = channel.publish(2)
    plain = [channel.broker.publish(A, stamped=False) for _ in range(3)]
    (third,) = channel.publish()

    delivered = channel.live(plain[0], second, plain[1], third, plain[2])

    assert delivered == [
        *events(plain[0]),
        # The page has all that are stamped, and what came between them follows.
        *events(lost, second, third),
        *events(plain[1], plain[2]),
    ]


def test_what_has_no_stamp_keeps_its_place_behind_a_late_page(channel: Channel) -> None:
    page = channel.broker.read(A, channel.sequencer.catch_up() or "")
    first, second = channel.publish(2)
    plain = channel.broker.publish(A, stamped=False)
    for each in (first, plain, second):
        assert list(channel.sequencer.live(each.stamp, each.envelope)) == []

    assert channel.page(page) == events(first, plain, second)


# -- foreign messages ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stamp",
    [
        FORGED,
        Stamp("zzzzzzzy", "1-0", BEFORE_ALL),
        Stamp("epochaaa", "999-0", "998-0"),
        Stamp("epochaaa", "999-0", "999-0"),
    ],
)
def test_a_forged_stamp_is_dropped_after_one_read(channel: Channel, stamp: Stamp) -> None:
    channel.live(*channel.publish(3))
    before = channel.reads

    assert channel.live(Published(A, stamp, b"forged")) == [Dropped(FOREIGN, 1)]
    assert channel.reads == before + 1
    assert channel.at_top


def test_forged_stamps_without_end_do_not_hold_up_what_is_right(channel: Channel) -> None:
    forged = Published(A, FORGED, b"forged")
    for _ in range(100):
        channel.live(forged)
        right = channel.publish()
        assert channel.live(forged, *right, forged) == [
            # One of the two was there when the page was asked for, so that the page has what is right.
            *events(*right),
            Dropped(FOREIGN, 1),
            Dropped(FOREIGN, 1),
        ]
    assert channel.at_top
    assert channel.reads <= 1 + 3 * 100


def test_forged_stamps_that_come_during_each_read_are_read_once_more_and_no_longer(channel: Channel) -> None:
    sequencer = channel.sequencer
    since = sequencer.catch_up()
    for _ in range(10):
        assert list(sequencer.live(FORGED, b"forged")) == []
        page = channel.broker.read(A, since or "")
        dropped = list(sequencer.page(page))
        assert len(dropped) <= 1
        assert sequencer.must_read
        since = sequencer.catch_up()
    assert list(sequencer.page(channel.broker.read(A, since or ""))) == [Dropped(FOREIGN, 1)]
    assert not sequencer.must_read


# -- too much --------------------------------------------------------------------------------------


def test_more_than_can_be_held_is_read_again(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD_EVENTS", 5)
    page = channel.broker.read(A, channel.sequencer.catch_up() or "")
    published = channel.publish(20)
    for each in published:
        assert list(channel.sequencer.live(each.stamp, each.envelope)) == []
        assert len(channel.sequencer._held) <= 5

    assert channel.page(page) == events(*published)
    assert channel.at_top


def test_more_bytes_than_can_be_held_are_read_again(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 50)
    page = channel.broker.read(A, channel.sequencer.catch_up() or "")
    published = channel.publish(20)
    for each in published:
        assert list(channel.sequencer.live(each.stamp, each.envelope)) == []
        assert sum(len(envelope) for _, envelope in channel.sequencer._held) <= 50

    assert channel.page(page) == events(*published)
    assert channel.at_top


def test_what_has_no_stamp_and_cannot_be_held_is_counted(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HELD_EVENTS", 5)
    page = channel.broker.read(A, channel.sequencer.catch_up() or "")
    plain = [channel.broker.publish(A, stamped=False) for _ in range(8)]
    steps = [step for each in plain for step in channel.sequencer.live(each.stamp, each.envelope)]

    assert steps == [Dropped(TOO_MANY, 6)]
    assert channel.page(page) == events(*plain[6:])


# -- a plain list beside it ------------------------------------------------------------------------


class SequencerBesideAList(RuleBasedStateMachine):
    """Whatever is lost, repeated, delayed or reordered: each event follows the one before, or a gap does."""

    def __init__(self) -> None:
        super().__init__()
        self.small = pytest.MonkeyPatch()
        self.small.setattr(module, "MAX_HELD_EVENTS", 4)
        self.broker = ModelBroker()
        self.sequencer = Sequencer()
        self.position: Cursor | None = None
        self.on_the_way: list[Published] = []
        self.asked: str | None = None
        self.answered: Page | None = None
        self.reads = 0
        # Whether something was lost that only the position tells.
        self.unsure = False
        self.may_lose = True
        self.unstamped: set[bytes] = set()
        self.dropped = 0
        self._catch_up()

    def _catch_up(self) -> None:
        since = self.sequencer.catch_up()
        if since is not None:
            assert self.asked is None
            assert self.answered is None
            self.asked = since
            self.reads += 1

    def _check(self, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case OrderedEvent(None, envelope):
                    self.unstamped.remove(envelope)
                case OrderedEvent(cursor, _):
                    assert cursor is not None
                    assert self.broker.before(A, cursor) == self.position
                    self.position = cursor
                case Gap(_, since, to):
                    assert since == self.position
                    assert not self.broker.can_prove(A, str(since))
                    self.position = to
                case Dropped(reason, count):
                    assert reason in (FOREIGN, TOO_MANY)
                    self.dropped += count
        assert self.sequencer.position == self.position
        if self.sequencer.must_read:
            self._catch_up()

    @initialize(may_lose=st.booleans())
    def begin(self, may_lose: bool) -> None:
        self.may_lose = may_lose

    # What may happen.

    @rule(count=st.integers(1, 6), stamped=st.sampled_from([True, True, True, False]))
    def publish(self, count: int, stamped: bool) -> None:
        for _ in range(count):
            self.on_the_way.append(self.broker.publish(A, stamped=stamped))

    @rule()
    def forge(self) -> None:
        self.on_the_way.append(Published(A, FORGED, b"forged"))

    @precondition(lambda self: self.on_the_way)
    @rule(number=st.integers(0, 20), again=st.sampled_from([False, False, True]))
    def arrive(self, number: int, again: bool) -> None:
        """Any of the messages, so that they change their order; some come more than once."""
        number %= len(self.on_the_way)
        message = self.on_the_way[number]
        if not again or message.stamp is None:
            del self.on_the_way[number]
        if message.stamp is None:
            self.unstamped.add(message.envelope)
        self._check(self.sequencer.live(message.stamp, message.envelope))

    @precondition(lambda self: self.on_the_way)
    @rule(count=st.integers(1, 20))
    def arrive_in_order(self, count: int) -> None:
        for _ in range(min(count, len(self.on_the_way))):
            self.arrive(0, again=False)

    @precondition(lambda self: self.on_the_way and self.may_lose)
    @rule(number=st.integers(0, 20))
    def lose(self, number: int) -> None:
        del self.on_the_way[number % len(self.on_the_way)]
        self.unsure = True

    @precondition(lambda self: self.asked is not None)
    @rule()
    def answer(self) -> None:
        assert self.asked is not None
        self.answered, self.asked = self.broker.read(A, self.asked), None

    @precondition(lambda self: self.answered)
    @rule()
    def page(self) -> None:
        assert self.answered is not None
        page, self.answered = self.answered, None
        if self.position is None:
            self.position = page.end
        self._check(self.sequencer.page(page))

    @rule()
    def confirm_again(self) -> None:
        """The connection was lost, and what was on its way with it."""
        self.on_the_way.clear()
        # What came before is taken if it fits, also if the broker has lost it since.
        self.unsure = self.unsure and bool(self.sequencer._held)
        self._catch_up()

    @rule()
    def check_position(self) -> None:
        if self.sequencer.position != self.broker.top(A):
            self._catch_up()

    @rule(size=st.integers(0, 3))
    def trim(self, size: int) -> None:
        self.broker.trim(A, size)

    @precondition(lambda self: self.may_lose)
    @rule()
    def flush(self) -> None:
        self.broker.flush(A)
        self.unsure = True

    @precondition(lambda self: self.may_lose)
    @rule(events=st.integers(1, 3))
    def fall_back(self, events: int) -> None:
        self.broker.fall_back(A, events)
        self.unsure = True

    # What always holds.

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        assert len(self.sequencer._held) <= 4

    @invariant()
    def it_is_current_or_a_read_is_on_its_way(self) -> None:
        is_reading = self.asked is not None or self.answered is not None
        assert self.sequencer.is_current != is_reading

    def _answer_all(self) -> None:
        most = self.reads + 2 * len(self.broker.positions(A)) + 3
        while self.asked is not None or self.answered is not None:
            assert self.reads < most, "it reads without end"
            if self.asked is not None:
                self.answer()
            self.page()

    def teardown(self) -> None:
        """Let all calm down, and see that it stands where the broker stands."""
        self.arrive_in_order(len(self.on_the_way))
        self._answer_all()
        assert self.unsure or self.position == self.broker.top(A)
        self.check_position()
        self._answer_all()

        assert self.position == self.broker.top(A)
        assert self.sequencer._held == []
        assert self.sequencer._held_bytes == 0
        assert len(self.unstamped) <= self.dropped
        self.small.undo()


TestSequencerBesideAList = SequencerBesideAList.TestCase
TestSequencerBesideAList.settings = settings(deadline=None, max_examples=300, stateful_step_count=40)
