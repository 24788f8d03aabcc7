"""What the hub knows of runs: which are over, which are lost, and what it finds out from the history."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable

import pytest

from flask_sse.brokers.base import PAGE_EVENTS, Publication
from flask_sse.brokers.memory_history import MemoryHistory
from flask_sse.hub.core.actions import Action, Cancel, Continue, End, Read, Subscribe, Write
from flask_sse.hub.core.channel_registry import CHANNEL_LINGER_SECONDS
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.runs import LOST_RETRY_MS, RETURN_SECONDS
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.settings import History, StreamRules
from flask_sse.wire.cursor import EARLIEST, END_ID
from flask_sse.wire.decode import Decoder, Event
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message
from flask_sse.wire.run import LOST_SECONDS, alive, begun, ended

RUN = "run:7"
SETTLED_SECONDS = 2 * LOST_SECONDS


class Broker:
    """The history, which outlives hubs."""

    def __init__(self, size: int = 10_000) -> None:
        self.kept = MemoryHistory()
        self.rule = History(size, 3600)
        self.hubs: list[Hub] = []

    def publish(self, *messages: Message, channel: str = RUN) -> None:
        for message in messages:
            publication = Publication(channel, pack(message), self.rule)
            stamp = self.kept.append(publication, time.time())
            for hub in self.hubs:
                hub.core.deliver(channel, stamp, publication.envelope)
                hub.carry_out()


class Page(Subscriber):
    """A stream of a page that keeps what it gets."""

    def __init__(self, hub: Hub, *channels: str, since: dict[str, str] | None = None) -> None:
        asked = {name: (since or {}).get(name, EARLIEST) for name in channels}
        super().__init__(StreamRequest(tuple(channels), FRAMES, StreamRules(), asked))
        self.hub = hub
        self.data = b""
        self.has_ended = False
        self.positions: dict[str, str] = {}
        hub.core.add(self, hub.now)
        hub.carry_out()

    @property
    def events(self) -> list[Event]:
        self.hub.flush()
        return [event for event in Decoder().feed(self.data) if not event.type.startswith("stream-open")]

    @property
    def reasons(self) -> list[str]:
        """Why runs ended."""
        return [json.loads(event.data)["reason"] for event in self.events if event.type == "stream-end"]

    @property
    def is_over(self) -> bool:
        """Whether its browser does not open the stream again."""
        return self.has_ended and self.data.endswith(f"id:{END_ID}\n\n".encode())

    def end(self) -> None:
        """Be ended by the hub."""
        self.has_ended = True
        if self.group is not None:
            self.positions = {name: str(cursor) for name, cursor in self.group.cursors.items()}

    def returning(self, hub: Hub) -> Page:
        """Leave, and come back to a hub."""
        self.hub.flush()
        assert self.group is not None
        since = self.positions or {name: str(cursor) for name, cursor in self.group.cursors.items()}
        self.hub.core.remove(self, self.hub.now)
        self.hub.carry_out()
        return Page(hub, *self.channels, since=since)


class Hub:
    """What the server does with the core, beside a broker that answers at once or never."""

    def __init__(self, broker: Broker) -> None:
        self.core: Core[Page] = Core(256 * 1024, 100, random.random)
        self.broker = broker
        self.now = 1000.0
        self.reads: list[Read] = []
        self.cancelled: list[int] = []
        self.answers = True
        broker.hubs.append(self)

    def crash(self) -> Hub:
        """Return one that takes the place of this one and knows nothing."""
        self.broker.hubs.remove(self)
        return Hub(self.broker)

    def carry_out(self) -> None:
        while self.core.outbox:
            match self.core.outbox.popleft():
                case Write(page, data):
                    page.data += data
                case End(page, data):
                    self.flush()
                    page.data += data
                    page.end()
                    self.core.remove(page, self.now)
                case Continue(page):
                    self.core.continue_stream(page, self.now)
                case order:
                    self._ask_broker(order)
        self.flush()

    def _ask_broker(self, order: Action) -> None:
        match order:
            case Subscribe(name):
                self.core.subscribed(name)
            case Cancel(number):
                self.cancelled.append(number)
            case Read() as read:
                self.reads.append(read)
                if self.answers:
                    self.answer(read)

    def answer(self, read: Read) -> None:
        self.core.page(read.number, self.broker.kept.read(read.channel, read.since, time.time()), self.now)

    def flush(self) -> None:
        for data, pages in self.core.flush(self.now):
            for page in pages:
                page.data += data

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += TICK_SECONDS
            self.core.tick(self.now)
            self.carry_out()


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def hub(broker: Broker) -> Hub:
    return Hub(broker)


def rows(count: int) -> Iterable[Message]:
    return (Message(f"row {number}") for number in range(count))


# -- 14.23: a finished run is not reported as lost ------------------------------------------------------


def crashed(hub: Hub, page: Page) -> tuple[Hub, Page]:
    new = hub.crash()
    return new, page.returning(new)


def given_up(hub: Hub, page: Page) -> tuple[Hub, Page]:
    page.hub.core.remove(page, hub.now)
    hub.wait(CHANNEL_LINGER_SECONDS + 1)
    assert hub.core.channels.get(RUN) is None
    assert page.group is not None
    since = {name: str(cursor) for name, cursor in page.group.cursors.items()}
    return hub, Page(hub, *page.channels, since=since)


def idle(hub: Hub, page: Page) -> tuple[Hub, Page]:
    return hub, page.returning(hub)


@pytest.mark.parametrize("absence", [crashed, given_up, idle])
@pytest.mark.parametrize("count", [0, PAGE_EVENTS - 2, 3 * PAGE_EVENTS])
@pytest.mark.parametrize("after_its_end", [0, 3])
def test_a_run_that_is_over_is_not_lost_for_a_page_that_returns(
    hub: Hub,
    broker: Broker,
    absence: Callable[[Hub, Page], tuple[Hub, Page]],
    count: int,
    after_its_end: int,
) -> None:
    page = Page(hub, RUN, "news")
    # A run that is cancelled may still yield some.
    broker.publish(begun(), *rows(count), ended("cancelled"), *rows(after_its_end))
    assert page.reasons == ["cancelled"]
    hub, page = absence(hub, page)
    hub.wait(SETTLED_SECONDS)
    assert page.reasons == []
    assert not page.has_ended
    assert hub.core.counters.lost_runs == 0
    broker.publish(Message("still here"), channel="news")
    assert page.events[-1].data == "still here"


def test_a_page_of_one_run_that_missed_only_the_last_line_of_its_stream_is_ended(
    hub: Hub, broker: Broker
) -> None:
    page = Page(hub, RUN)
    broker.publish(begun(), ended("finished"))
    hub, page = crashed(hub, page)
    hub.wait(SETTLED_SECONDS)
    assert page.is_over
    assert page.reasons == []


@pytest.mark.parametrize("last", [begun(), alive(), Message("row")])
def test_a_run_whose_producer_died_is_lost_also_for_a_hub_that_has_only_begun(
    hub: Hub, broker: Broker, last: Message
) -> None:
    page = Page(hub, RUN, "news")
    broker.publish(begun(), *rows(2 * PAGE_EVENTS), last)
    hub, page = crashed(hub, page)
    hub.wait(SETTLED_SECONDS)
    assert page.reasons == ["lost"]
    assert hub.core.counters.lost_runs == 1


def test_a_second_attempt_at_a_run_can_be_lost(hub: Hub, broker: Broker) -> None:
    page = Page(hub, RUN, "news")
    broker.publish(begun(), ended("interrupted"), begun(), Message("row"))
    hub, page = crashed(hub, page)
    hub.wait(SETTLED_SECONDS)
    assert page.reasons == ["lost"]


def test_a_run_that_ended_and_began_again_while_no_page_was_there_works(hub: Hub, broker: Broker) -> None:
    page = Page(hub, RUN)
    broker.publish(begun())
    hub.core.remove(page, hub.now)
    broker.publish(ended("interrupted"), begun(), *rows(PAGE_EVENTS + 5))
    late = Page(hub, RUN)
    hub.wait(LOST_SECONDS / 2)
    assert not late.has_ended
    broker.publish(ended("finished"))
    hub.wait(5)
    assert late.reasons[-1] == "finished"
    assert late.is_over


def test_a_run_that_speaks_while_the_history_is_read_is_not_lost(hub: Hub, broker: Broker) -> None:
    page = Page(hub, RUN, "news")
    broker.publish(begun(), Message("row"))
    hub, page = crashed(hub, page)
    hub.answers = False
    hub.reads.clear()
    hub.wait(SETTLED_SECONDS)
    (read,) = hub.reads
    assert page.reasons == []
    broker.publish(ended("finished"))
    hub.answer(read)
    hub.wait(SETTLED_SECONDS)
    assert page.reasons == ["finished"]
    assert hub.core.counters.lost_runs == 0


def test_a_page_that_leaves_takes_back_the_read_about_its_run(hub: Hub, broker: Broker) -> None:
    page = Page(hub, RUN)
    broker.publish(begun(), Message("row"))
    hub, page = crashed(hub, page)
    hub.answers = False
    hub.reads.clear()
    hub.wait(SETTLED_SECONDS)
    (read,) = hub.reads
    hub.core.remove(page, hub.now)
    hub.carry_out()
    assert hub.cancelled == [read.number]
    # Late answers change nothing, and the next page asks again.
    hub.answer(read)
    hub.answers = True
    page = page.returning(hub)
    hub.wait(SETTLED_SECONDS)
    assert page.reasons == ["lost"]


def test_history_that_is_dropped_while_it_is_read_proves_nothing(hub: Hub, broker: Broker) -> None:
    page = Page(hub, RUN, "news")
    broker.publish(begun(), *rows(2 * PAGE_EVENTS), ended("finished"))
    hub, page = crashed(hub, page)
    hub.answers = False
    hub.reads.clear()
    hub.wait(LOST_SECONDS + 2)
    hub.answer(hub.reads.pop())
    hub.carry_out()
    (second,) = hub.reads
    # Another epoch, or all that was asked for is gone.
    page_read = broker.kept.read(RUN, second.since, time.time())
    hub.core.page(second.number, page_read._replace(since=None, entries=()), hub.now)
    hub.carry_out()
    hub.answers = True
    hub.wait(SETTLED_SECONDS)
    assert page.reasons == []
    assert hub.core.counters.lost_runs == 0


def test_pages_that_come_do_not_keep_a_dead_run_alive(hub: Hub, broker: Broker) -> None:
    waiting = Page(hub, RUN)
    broker.publish(begun(), Message("row"))
    for _ in range(5):
        hub.wait(LOST_SECONDS / 4)
        Page(hub, RUN)
    hub.wait(2)
    assert waiting.reasons == ["lost"]


def test_a_page_that_comes_when_its_run_is_lost_is_told_at_once_and_the_others_once(
    hub: Hub, broker: Broker
) -> None:
    other = Page(hub, RUN, "news")
    broker.publish(begun(), Message("row"))
    hub.wait(SETTLED_SECONDS)
    late = Page(hub, RUN)
    hub.wait(3)
    assert [event.type for event in late.events] == ["run-begin", "message", "stream-end"]
    assert late.reasons == other.reasons == ["lost"]
    assert late.has_ended
    assert hub.core.counters.lost_runs == 1


def test_the_next_hub_knows_which_runs_pages_were_told_are_lost(hub: Hub, broker: Broker) -> None:
    Page(hub, RUN, "news")
    broker.publish(begun(), Message("row"))
    hub.wait(SETTLED_SECONDS)
    new = hub.crash()
    new.core.restore_channels(hub.core.positions(), hub.core.channels.ended_runs(), [])
    late = Page(new, RUN)
    assert late.reasons == ["lost"]
    new.wait(SETTLED_SECONDS)
    assert late.reasons == ["lost"]
    assert new.core.counters.lost_runs == 0


# -- 15.5: what makes a run is its beginning ----------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2 * PAGE_EVENTS])
def test_a_channel_whose_name_begins_as_those_of_runs_is_not_lost(
    hub: Hub, broker: Broker, count: int
) -> None:
    broker.publish(*rows(count))
    page = Page(hub, RUN)
    hub.wait(5 * SETTLED_SECONDS)
    broker.publish(Message("later", type="run-of-the-mill"))
    hub.wait(5 * SETTLED_SECONDS)
    assert page.events[-1].data == "later"
    assert page.reasons == []
    assert not page.has_ended
    assert hub.core.counters.lost_runs == 0
    # Its history was looked into once.
    assert len([read for read in hub.reads if read.since == EARLIEST]) == 2


def test_a_run_that_begins_where_something_else_was_published_can_be_lost(hub: Hub, broker: Broker) -> None:
    broker.publish(*rows(3))
    page = Page(hub, RUN)
    hub.wait(SETTLED_SECONDS)
    broker.publish(begun(), Message("row"))
    hub.wait(SETTLED_SECONDS)
    assert page.reasons == ["lost"]
    assert page.has_ended


@pytest.mark.parametrize("expected", [[], ["lost"]])
def test_a_run_whose_beginning_is_kept_no_longer_is_known_by_its_run_alive(expected: list[str]) -> None:
    broker = Broker(size=100)
    hub = Hub(broker)
    broker.publish(begun(), *rows(200), *([alive()] if expected else []), *rows(50))
    page = Page(hub, RUN)
    hub.wait(SETTLED_SECONDS)
    assert page.reasons == expected


# -- 15.8: a run that continues after it was called lost ----------------------------------------------------


@pytest.mark.parametrize("sign", [alive(), Message("row 2"), begun()])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_run_that_continues_after_it_was_called_lost_has_its_pages_again(
    hub: Hub, broker: Broker, sign: Message, is_there: bool
) -> None:
    other = Page(hub, RUN, "news")
    page = Page(hub, RUN)
    broker.publish(begun(), Message("row"))
    hub.wait(SETTLED_SECONDS)
    assert page.reasons == other.reasons == ["lost"]
    assert page.has_ended
    assert not page.is_over
    delay = json.loads(page.data.split(b"retry:")[-1])
    assert LOST_RETRY_MS[0] <= delay <= LOST_RETRY_MS[1]
    if not is_there:
        hub.core.remove(other, hub.now)
        hub.carry_out()
    broker.publish(sign)
    hub.wait(delay / 1000 - 10)
    broker.publish(Message("row 3"))
    page = page.returning(hub)
    hub.wait(5)
    assert page.events[-1].data == "row 3"
    assert page.reasons == []
    assert not page.has_ended
    broker.publish(ended("finished"))
    hub.wait(5)
    assert page.reasons == ["finished"]
    assert page.is_over


def test_pages_of_a_lost_run_stop_to_reconnect_after_some_minutes(hub: Hub, broker: Broker) -> None:
    page = Page(hub, RUN)
    broker.publish(begun(), Message("row"))
    hub.wait(SETTLED_SECONDS)
    returns = 0
    while not page.is_over:
        page = page.returning(hub)
        assert page.reasons == ["lost"]
        returns += 1
        hub.wait(40)
        assert page.has_ended
    assert RETURN_SECONDS // 40 <= returns <= RETURN_SECONDS // 20
    assert hub.core.counters.lost_runs == 1


def test_a_lost_run_that_is_cancelled_is_over(hub: Hub, broker: Broker) -> None:
    page = Page(hub, RUN, "news")
    broker.publish(begun())
    hub.wait(SETTLED_SECONDS)
    broker.publish(ended("cancelled"))
    hub.wait(5)
    assert page.reasons == ["lost", "cancelled"]
    late = Page(hub, RUN)
    hub.wait(5)
    assert late.reasons == ["cancelled"]
    assert late.is_over


def test_the_time_in_which_the_hub_exclude_pause_is_no_silence(hub: Hub, broker: Broker) -> None:
    page = Page(hub, RUN)
    broker.publish(begun())
    hub.wait(LOST_SECONDS / 2)
    hub.now += 10 * LOST_SECONDS
    hub.core.exclude_pause(10 * LOST_SECONDS)
    hub.wait(LOST_SECONDS / 3)
    assert page.reasons == []
    hub.wait(LOST_SECONDS / 2)
    assert page.reasons == ["lost"]
