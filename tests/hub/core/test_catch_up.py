"""The core with a history, beside a broker that is a plain list: nobody misses an event without being told.

Every client checks each line that it gets: which event follows which, and where the id that it would come
back with stands. A client may be cut off behind any line and come back from there.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.model_broker import ModelBroker, Published

from flask_sse.brokers.base import Page
from flask_sse.hub.core import resume, sequencer
from flask_sse.hub.core.actions import (
    Action,
    Continue,
    End,
    Read,
    ReportDropped,
    Subscribe,
    Unsubscribe,
    Write,
)
from flask_sse.hub.core.channel_registry import CHANNEL_LINGER_SECONDS
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.history_reads import KEPT_PAGES, KEPT_SECONDS
from flask_sse.hub.core.lifetimes import MAX_WAIT_SECONDS
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.protocol.block import BlockDecoder
from flask_sse.hub.protocol.hub_events import BROKER_AWAY, STREAM_OPEN, STREAM_RESET
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire import decode
from flask_sse.wire.cursor import EARLIEST, NOWHERE, Cursor, positions, read_cursor
from flask_sse.wire.decode import Decoder
from flask_sse.wire.frame import Frame

MAX_EVENT_BYTES = 256 * 1024
MAX_CHANNELS = 1000
START = 1000.0
NEVER_EPOCH = resume.NEVER.epoch
# More turns than anything takes that does not go on without end.
TURNS = 300


# -- a client that checks what it gets -------------------------------------------------------------


@dataclass(frozen=True)
class Anything:
    """Where a client stands that asked for the earliest event there is."""


@dataclass(frozen=True)
class OwnId:
    """Where a client stands that came with an application's own id: the broker knows, or nobody does."""

    text: str


# The reset that must come first is None.
At = Cursor | OwnId | Anything | None


@dataclass
class Seen:
    """What a client knows behind one of the lines it got.

    Attributes:
        text: What it comes back with; empty for nothing.
        at: Where it stands in each of its channels; empty before a stream is open.
    """

    text: str = ""
    at: dict[str, At] = field(default_factory=dict)


class Client(Subscriber):
    """A stream whose client believes nothing that it does not check."""

    def __init__(
        self,
        hub: Hub,
        channels: tuple[str, ...],
        *,
        seen: Seen,
        mode: str = FRAMES,
        without_history: tuple[str, ...] = (),
        slow: bool = False,
    ) -> None:
        kept = sorted(set(channels) - set(without_history))
        self.number = next(hub.newcomers)
        self.broker = hub.broker
        self.asked = seen.text
        since = dict(zip(kept, positions(seen.text, kept), strict=True))
        super().__init__(StreamRequest(channels, mode, StreamRules(), since))
        self.slow = slow
        self.backlog = False
        self.ended = False
        self.data = b""
        self.at = dict(seen.at) if seen.at else self._beginning()
        self.seen = [Seen(seen.text, dict(self.at))]
        self.resets = 0
        self.opens = 0
        # Where the id is known that it came with; elsewhere it may be given later, when it is too late.
        self.known = {name for name in self.history_channels if self.broker.owners(name, self.asked)}
        self.numbers: list[int] = []
        self._decoder = Decoder()
        self._blocks = BlockDecoder()

    def __hash__(self) -> int:
        # So that sets of clients have the same order whenever the same steps are taken.
        return self.number

    @property
    def is_fresh(self) -> bool:
        return not self.asked

    def _beginning(self) -> dict[str, At]:
        if self.is_fresh or self.mode == ENVELOPES:
            return {}
        return {name: self._meaning(name, self.since(self.asked)[name]) for name in self.history_channels}

    def since(self, text: str) -> dict[str, str]:
        return dict(zip(self.history_channels, positions(text, self.history_channels), strict=True))

    def _meaning(self, name: str, since: str) -> At:
        """Return what a client means that comes back with this."""
        if since == EARLIEST:
            return Anything()
        cursor = read_cursor(since)
        if cursor is None:
            return None if since == NOWHERE else OwnId(since)
        return cursor if self.broker.is_position(name, cursor) else None

    # What comes.

    def take(self, data: bytes) -> None:
        assert not self.ended
        self.data += data
        if self.mode == ENVELOPES:
            for envelope in self._blocks.feed(data):
                self._take_message(json.loads(envelope)["data"])
            return
        for line in data.splitlines(keepends=True):
            for event in self._decoder.feed(line):
                self._take_event(event)
            self._check_what_it_comes_back_with()

    def _take_event(self, event: decode.Event) -> None:
        if event.type == STREAM_OPEN:
            assert self.is_fresh
            assert self.at == {}
            assert json.loads(event.data) == {"channels": list(self.history_channels)}
            self.opens += 1
            texts = event.last_event_id.split(",")
            self.at = {
                name: read_cursor(text) for name, text in zip(self.history_channels, texts, strict=True)
            }
            assert all(self.broker.is_position(name, at) for name, at in self._known())
        elif event.type == STREAM_RESET:
            told = json.loads(event.data)
            self._take_reset(told["channel"], told["reason"], told["from"], told["to"])
        else:
            self._take_message(json.loads(event.data))

    def _take_reset(self, channel: str, reason: str, since: str | None, to: str) -> None:
        assert channel in self.at
        assert reason
        at = self.at[channel]
        is_known = since is not None and (read_cursor(since) is not None or channel in self.known)
        if since is not None and is_known and not self._is_doubtful(since):
            assert not self.broker.can_prove(channel, since), "a reset that nobody needs"
        named = read_cursor(since or "")
        if isinstance(at, Cursor) and since != str(at) and named not in {None, resume.NEVER}:
            assert self._are_alike(channel, named, at), "a reset from where it never was"
        cursor = read_cursor(to)
        assert cursor is not None
        assert self.broker.is_position(channel, cursor)
        self.at[channel] = cursor
        self.resets += 1

    def _take_message(self, number: int) -> None:
        channel, stamp, _ = self.broker.event(number)
        assert channel in self.channels
        # Without a history it gets what the broker brings.
        assert number not in self.numbers or channel not in self.history_channels, "an event that came before"
        self.numbers.append(number)
        if stamp is None or channel not in self.history_channels:
            return
        if self.mode == ENVELOPES:
            at = self.at.get(channel)
        else:
            assert channel in self.at, "an event of a stream that is not open"
            at = self.at[channel]
            assert at is not None, "an event before the reset that must come first"
        before = self.broker.before(channel, stamp.cursor)
        if isinstance(at, Cursor):
            assert self._are_alike(channel, at, before), "an event is missing"
        elif isinstance(at, OwnId):
            assert self._owns(channel, before, at.text), "an event is missing"
        self.at[channel] = stamp.cursor

    def _are_alike(self, channel: str, one: Cursor, other: Cursor) -> bool:
        return self.broker.shown(channel, one) == self.broker.shown(channel, other)

    def _owns(self, channel: str, cursor: Cursor, own_id: str) -> bool:
        owners = self.broker.owners(channel, own_id)
        return any(self._are_alike(channel, owner, cursor) for owner in owners)

    def _is_doubtful(self, since: str) -> bool:
        """Tell whether it is an id that the application gave in several of these channels."""
        return sum(self.broker.owners(name, since) != [] for name in self.history_channels) > 1

    def _known(self) -> list[tuple[str, Cursor]]:
        return [(name, at) for name, at in self.at.items() if isinstance(at, Cursor)]

    def _check_what_it_comes_back_with(self) -> None:
        text = self._decoder.last_event_id or self.asked
        last = self.seen[-1]
        if text == last.text and self.at == last.at:
            return
        if text:
            for name, since in self.since(text).items():
                if name in self.at:
                    self._check_position(name, since)
        else:
            assert not self.at, "it comes back without knowing from where"
        self.seen.append(Seen(text, dict(self.at)))

    def _check_position(self, name: str, since: str) -> None:
        """Check that who comes back with this misses nothing and gets nothing twice, or is told."""
        at, named = self.at[name], self._meaning(name, since)
        if isinstance(named, OwnId):
            # It is that of the last event, whose cursor follows in a block of its own.
            is_known = self.broker.owners(name, named.text) != []
            is_right = at == named or (isinstance(at, Cursor) and self._owns(name, at, named.text))
            assert is_right or not is_known, "it would come back from elsewhere"
        elif isinstance(at, Cursor) and isinstance(named, Cursor):
            assert self._are_alike(name, named, at), "it would come back from elsewhere"
        elif isinstance(at, OwnId) and isinstance(named, Cursor):
            assert self._owns(name, named, at.text), "it would come back from elsewhere"
            self.at[name] = named
        elif isinstance(at, OwnId | Anything):
            # The hub has found out what the client meant.
            self.at[name] = named
        elif at is None:
            assert named is None, "it would come back and not be told"

    def check_at_top(self) -> None:
        assert self.group is not None, "it is stuck"
        assert self.group.cursors == {name: self.broker.top(name) for name in self.history_channels}
        if self.mode == FRAMES and self.history_channels:
            assert set(self.at) == set(self.history_channels)
        for name, at in self.at.items():
            assert at is not None, "it was never told"
            if isinstance(at, Cursor):
                assert self._are_alike(name, at, self.broker.top(name)), "events are missing"


# -- a hub without sockets -------------------------------------------------------------------------


class Hub:
    """What the server and a broker's feed do around the core.

    Args:
        broker: The truth.
        at_once: Whether everything that is asked is answered in the same moment, as ``memory://`` does.
        draw: Random numbers for the core.
    """

    def __init__(
        self,
        broker: ModelBroker | None = None,
        *,
        at_once: bool = False,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.draw = draw
        self.broker = broker or ModelBroker()
        self.at_once = at_once
        self.now = START
        self.newcomers = itertools.count()
        self.core: Core[Client] = Core(MAX_EVENT_BYTES, MAX_CHANNELS, draw)
        self.wanted: set[str] = set()
        self.asked_for: list[str] = []
        self.listened: set[str] = set()
        self.connected = True
        # What is on its way from the broker: a channel that is confirmed, or what was published.
        self.on_the_way: list[str | Published] = []
        self.reads: list[Read] = []
        self.pages: list[tuple[Read, Page]] = []
        self.all_reads: list[Read] = []
        self.complaints: list[str] = []
        # Channels of which something was lost that only their position tells.
        self.unsure: set[str] = set()
        self._carrying_out = False

    @property
    def clients(self) -> list[Client]:
        return sorted(self.core.subscribers, key=lambda client: client.number)

    # The server.

    def carry_out(self) -> None:
        if self._carrying_out:
            return
        self._carrying_out = True
        while self.core.outbox:
            self._do(self.core.outbox.popleft())
        self._carrying_out = False

    def _do(self, order: Action) -> None:
        match order:
            case Write(client, data):
                self._write(client, data)
            case Continue(client):
                if not client.backlog:
                    self.core.continue_stream(client, self.now)
            case End(client, data):
                if client.ended:
                    return  # for a gap in each of two channels
                self._write(client, data)
                client.ended = True
                self.core.remove(client, self.now)
            case ReportDropped(_, reason):
                self.complaints.append(reason)
            case _:
                self._ask_broker(order)

    def _ask_broker(self, order: Action) -> None:
        match order:
            case Subscribe(name):
                assert name not in self.wanted
                self.wanted.add(name)
                self.asked_for.append(name)
                if self.at_once:
                    self.handle_subscriptions()
                    self.receive()
            case Unsubscribe(name):
                self.wanted.remove(name)
                self.listened.discard(name)
            case Read(_, _, _):
                self.all_reads.append(order)
                self.reads.append(order)
                if self.at_once:
                    self.answer()
                    self.page()

    def _write(self, client: Client, data: bytes) -> None:
        assert client in self.core.subscribers
        client.take(data)
        client.backlog = client.backlog or client.slow

    def add(self, *clients: Client) -> None:
        for client in clients:
            self.core.add(client, self.now)
            self.carry_out()

    def leave(self, client: Client) -> None:
        self.core.remove(client, self.now)
        self.carry_out()

    def drain(self, client: Client) -> None:
        if client.backlog:
            client.backlog = False
            self.core.continue_stream(client, self.now)
            self.carry_out()

    def flush(self) -> None:
        for data, clients in self.core.flush(self.now):
            assert data
            for client in tuple(clients):
                self._write(client, data)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now)
        self.carry_out()

    # The feed.

    def handle_subscriptions(self) -> None:
        """The broker takes note of subscriptions and confirms them in their order."""
        asked, self.asked_for = self.asked_for, []
        for name in asked:
            if name in self.wanted:
                self.listened.add(name)
                self.on_the_way.append(name)

    def receive(self, count: int = 1_000_000) -> None:
        for _ in range(min(count, len(self.on_the_way))):
            match self.on_the_way.pop(0):
                case Published(channel, stamp, envelope):
                    self.core.deliver(channel, stamp, envelope)
                case name:
                    self.core.subscribed(str(name))
            self.carry_out()

    def answer(self, number: int = 0) -> None:
        """The broker reads; its answer is on its way."""
        read = self.reads.pop(number % len(self.reads))
        self.pages.append((read, self.broker.read(read.channel, read.since)))

    def answer_all(self) -> None:
        """All reads that are asked for are answered; what that makes the core ask for is not."""
        while self.reads:
            self.answer()
        while self.pages:
            self.page()

    def page(self, number: int = 0) -> None:
        read, page = self.pages.pop(number % len(self.pages))
        self.core.page(read.number, page, self.now)
        self.carry_out()

    def disconnect(self) -> None:
        self.connected = False
        self.on_the_way.clear()
        self.listened.clear()
        self.asked_for.clear()
        self.core.lost(self.now)
        self.carry_out()

    def reconnect(self) -> None:
        self.connected = True
        self.unsure.clear()
        self.asked_for = sorted(self.wanted)

    def change_hands(self) -> None:
        """Another hub takes over; what was on its way to this one is lost."""
        self.flush()
        old, clients, self.core = self.core, self.clients, Core(MAX_EVENT_BYTES, MAX_CHANNELS, self.draw)
        for on_its_way in (self.on_the_way, self.asked_for, self.reads, self.pages):
            on_its_way.clear()
        self.wanted.clear()
        self.listened.clear()
        self.connected = True
        self.unsure.clear()
        self.core.channels.restore(old.channels.positions())
        for client in clients:
            snapshot = client.subscriber_snapshot(self.now)
            Subscriber.__init__(
                client, StreamRequest(client.channels, client.mode, client.rules, snapshot.since)
            )
            self.core.restore(client, snapshot, self.now)
        self.carry_out()

    def check_position(self, name: str) -> None:
        self.core.top(name, self.broker.top(name))
        self.carry_out()

    # Publishers.

    def publish(
        self, channel: str, *, own_id: str | None = None, stamped: bool = True, readable: bool = True
    ) -> Published:
        published = self.broker.publish(channel, own_id=own_id, stamped=stamped, readable=readable)
        if channel in self.listened:
            self.on_the_way.append(published)
        if self.at_once:
            self.receive()
        return published

    def calm_down(self) -> None:
        """Let all that is on its way arrive and all that is asked be answered."""
        if not self.connected:
            self.reconnect()
        for _ in range(TURNS):
            self.handle_subscriptions()
            self.receive()
            self.answer_all()
            for client in self.clients:
                self.drain(client)
            self.flush()
            slow = any(client.backlog for client in self.clients)
            if not (self.asked_for or self.on_the_way or self.reads or self.pages or slow):
                return
        raise AssertionError("it goes on without end")

    def check_all(self) -> None:
        """Calm down, check the clients of channels that lost nothing, then the positions, then all."""
        self.calm_down()
        for client in self.clients:
            if not self.unsure.intersection(client.channels):
                client.check_at_top()
        for name in sorted(self.wanted):
            self.check_position(name)
        self.calm_down()
        for client in self.clients:
            client.check_at_top()


def bookkeeping(core: Core[Client]) -> dict[str, object]:
    """Return every collection of the core that is not empty."""
    kept = {**vars(core), **vars(core.channels), **vars(core._groups), **vars(core._history_reads)}
    return {
        name: value for name, value in kept.items() if isinstance(value, dict | list | set | deque) and value
    }


@pytest.fixture
def hub() -> Hub:
    """A hub whose broker answers when it is told to."""
    return Hub()


def settled(hub: Hub, *channels: str, text: str = "", **how: Any) -> Client:
    """Return a client that stands where its channels stand."""
    client = Client(hub, channels, seen=Seen(text), **how)
    hub.add(client)
    hub.calm_down()
    return client


def come(hub: Hub, *channels: str, text: str = "", **how: Any) -> Client:
    """Return a client that has just come; what its stream needs is asked for and not yet answered."""
    client = Client(hub, channels, seen=Seen(text), **how)
    hub.add(client)
    return client


# -- fresh streams ---------------------------------------------------------------------------------


def test_a_fresh_stream_is_told_where_it_begins_and_gets_what_comes_from_then_on(hub: Hub) -> None:
    hub.publish("a")
    client = settled(hub, "a")
    assert client.data.endswith(b'\n\nevent:stream-open\ndata:{"channels": ["a"]}\nid:%b\n\n' % top(hub, "a"))
    hub.publish("a")
    hub.calm_down()

    assert client.numbers == [1]
    assert client.opens == 1
    assert hub.core.counters.opened == 1
    assert hub.core.counters.resumed == hub.core.counters.resets == 0


def top(hub: Hub, *names: str) -> bytes:
    return ",".join(str(hub.broker.top(name)) for name in names).encode()


def test_a_fresh_stream_waits_for_the_position_of_each_of_its_channels(hub: Hub) -> None:
    client = come(hub, "b", "a")
    hub.handle_subscriptions()
    hub.receive()
    assert [(read.channel, read.since) for read in hub.reads] == [("b", ""), ("a", "")]
    hub.answer()
    hub.page()
    assert client.data == b""
    hub.answer()
    hub.page()

    assert client.data.endswith(b"id:%b\n\n" % top(hub, "a", "b"))


def test_a_fresh_stream_of_a_channel_that_is_known_opens_at_once(hub: Hub) -> None:
    settled(hub, "a")

    assert come(hub, "a").opens == 1
    assert hub.reads == []


def test_while_the_broker_is_away_a_fresh_stream_opens_without_a_position_and_gets_it_later(hub: Hub) -> None:
    hub.disconnect()
    client = come(hub, "a")
    assert client.data.endswith(BROKER_AWAY)
    assert client.opens == 0
    hub.publish("a")
    hub.check_all()

    assert client.opens == 1
    assert client.numbers == []


def test_a_reader_of_envelopes_gets_them_in_order_and_is_ended_at_a_gap(hub: Hub) -> None:
    client = settled(hub, "a", mode=ENVELOPES)
    first, _, third = (hub.publish("a") for _ in range(3))
    hub.on_the_way = [third, first]
    hub.calm_down()
    assert (client.numbers, client.ended) == ([0, 1, 2], False)

    hub.broker.flush("a")
    hub.publish("a")
    hub.calm_down()
    assert (client.numbers, client.ended) == ([0, 1, 2], True)


# -- streams that come back ------------------------------------------------------------------------


def test_a_stream_gets_exactly_what_it_missed(hub: Hub) -> None:
    settled(hub, "a")
    published = [hub.publish("a") for _ in range(9)]
    hub.calm_down()
    client = settled(hub, "a", text=str(published[2].stamp.cursor if published[2].stamp else ""))
    hub.publish("a")
    hub.calm_down()

    assert client.numbers == [3, 4, 5, 6, 7, 8, 9]
    assert client.opens == client.resets == 0
    assert hub.core.counters.resumed == 1


def test_a_stream_that_missed_nothing_joins_without_a_read(hub: Hub) -> None:
    settled(hub, "a", "b")
    client = come(hub, "a", "b", text=top(hub, "a", "b").decode())

    assert hub.reads == []
    assert client.group is not None
    assert client.data.count(b"\n\n") == 1
    assert b"retry:" in client.data


def test_a_client_is_told_its_position_again_with_its_first_bytes(hub: Hub) -> None:
    settled(hub, "a")
    hub.publish("a")
    first = str(hub.broker.top("a"))
    hub.publish("a")
    hub.calm_down()
    client = settled(hub, "a", text=first)
    decoder = Decoder()
    decoder.feed(client.data[: client.data.index(b"\n\n") + 2])

    assert decoder.last_event_id == first


def test_r8_a_stream_that_comes_from_a_hub_that_was_ahead_is_not_reset(hub: Hub) -> None:
    settled(hub, "a")
    hub.publish("a")
    hub.publish("a")
    ahead = top(hub, "a").decode()
    client = come(hub, "a", text=ahead)
    while hub.reads or hub.pages:
        hub.answer_all()
    assert client.group is not None
    hub.check_all()
    hub.publish("a")
    hub.check_all()

    assert client.numbers == [2]
    assert client.resets == 0


def test_r9_a_stream_that_comes_from_a_hub_that_was_behind_gets_the_rest(hub: Hub) -> None:
    settled(hub, "a")
    behind = top(hub, "a").decode()
    hub.publish("a")
    hub.calm_down()

    assert settled(hub, "a", text=behind).numbers == [0]


def test_r10_trimming_between_two_pages_of_a_slow_stream_is_told(hub: Hub) -> None:
    settled(hub, "a")
    start = top(hub, "a").decode()
    for _ in range(9):
        hub.publish("a")
    hub.calm_down()
    client = come(hub, "a", text=start, slow=True)
    hub.answer_all()
    hub.broker.trim("a", 1)
    hub.check_all()

    assert client.numbers == [0, 1]
    assert client.resets == 1
    assert hub.core.counters.resets == 1


def test_r17_a_stream_whose_page_was_read_before_the_history_began_again_is_reset(hub: Hub) -> None:
    settled(hub, "a")
    start = top(hub, "a").decode()
    hub.publish("a")
    hub.calm_down()
    client = come(hub, "a", text=start)
    hub.answer()
    hub.broker.flush("a")
    hub.publish("a")
    hub.receive()
    hub.check_all()

    assert client.numbers == [0]
    assert client.resets == 1


@pytest.mark.parametrize("text", ["nothing", "\0", "zzzzzzzz.1-0", "x" * 100_000, "a\nb", "zzzzzzzz.1-0,b"])
def test_a_stream_that_comes_from_nowhere_is_told_and_goes_on(text: str, hub: Hub) -> None:
    client = settled(hub, "a", text=text)
    hub.publish("a")
    hub.calm_down()

    assert client.resets == 1
    assert client.numbers == [0]


def test_a_stream_gets_all_that_is_kept(hub: Hub) -> None:
    for _ in range(9):
        hub.publish("a")
        hub.publish("b")
    hub.broker.trim("a", 5)
    hub.broker.trim("b", 1)
    client = settled(hub, "b", "a", text=EARLIEST)

    assert sorted(client.numbers) == [8, 10, 12, 14, 16, 17]
    assert client.resets == 0


def test_a_stream_goes_on_from_the_id_of_an_application(hub: Hub) -> None:
    for number in range(5):
        hub.publish("a", own_id=f"order-{number}")

    assert settled(hub, "a", text="order-2").numbers == [3, 4]
    assert settled(hub, "a", text="order-9").resets == 1


def test_an_own_id_that_was_given_twice_is_found_nowhere(hub: Hub) -> None:
    for _ in range(2):
        hub.publish("a", own_id="order-1")

    assert settled(hub, "a", text="order-1").resets == 1


def test_an_own_id_that_two_channels_have_is_not_taken_for_both(hub: Hub) -> None:
    # A client was cut off behind the event of "a" and in front of its cursor, and "b" went on.
    for name in ("a", "b"):
        hub.publish(name)
        hub.publish(name, own_id="order-1")
    client = settled(hub, "a", "b", text="order-1")

    assert client.resets == 2


def test_what_is_held_back_by_a_slow_client_is_not_asked_for(hub: Hub) -> None:
    settled(hub, "a")
    start = top(hub, "a").decode()
    for _ in range(9):
        hub.publish("a")
    hub.calm_down()
    client = come(hub, "a", text=start, slow=True)
    hub.answer_all()
    assert client.backlog
    assert hub.reads == []
    hub.drain(client)
    assert len(hub.reads) == 1
    hub.calm_down()

    assert client.numbers == list(range(9))


def test_a_stream_that_leaves_in_the_middle_of_a_page_gets_nothing_any_more(hub: Hub) -> None:
    settled(hub, "a")
    start = top(hub, "a").decode()
    hub.publish("a")
    hub.calm_down()
    gone, stays = come(hub, "a", text=start), come(hub, "a", text=start)
    hub.answer()
    hub.leave(gone)
    hub.calm_down()

    assert gone.numbers == []
    assert stays.numbers == [0]


# -- shared work -----------------------------------------------------------------------------------


def test_streams_that_miss_the_same_share_a_read(hub: Hub) -> None:
    settled(hub, "a")
    starts = [top(hub, "a").decode()]
    hub.publish("a")
    starts.append(top(hub, "a").decode())
    hub.publish("a")
    hub.calm_down()
    clients = [come(hub, "a", text=starts[number % 2]) for number in range(100)]

    assert [(read.channel, read.since) for read in hub.reads] == [("a", start) for start in starts]
    hub.calm_down()
    assert [client.numbers for client in clients] == [[0, 1], [1]] * 50


def test_who_comes_a_moment_later_gets_the_page_that_is_still_here_and_what_came_since(hub: Hub) -> None:
    settled(hub, "a")
    start = top(hub, "a").decode()
    hub.publish("a")
    hub.calm_down()
    first = come(hub, "a", text=start)
    hub.calm_down()
    reads = len(hub.all_reads)
    second = come(hub, "a", text=start)
    assert second.numbers == first.numbers == [0]
    assert len(hub.all_reads) == reads
    hub.publish("a")
    hub.calm_down()

    third, fourth = come(hub, "a", text=start), come(hub, "a", text=start)
    hub.calm_down()
    assert third.numbers == fourth.numbers == [0, 1]
    assert len(hub.all_reads) == reads + 1  # of what came since, for both

    hub.tick(KEPT_SECONDS)
    assert len(hub.core._history_reads) == 0
    come(hub, "a", text=start)
    assert len(hub.all_reads) == reads + 2


def test_of_many_pages_the_last_ones_stay_here(hub: Hub) -> None:
    settled(hub, "a")
    starts = []
    for _ in range(KEPT_PAGES + 1):
        starts.append(top(hub, "a").decode())
        hub.publish("a")
    hub.calm_down()
    for start in starts:
        come(hub, "a", text=start)
        hub.calm_down()
    reads = len(hub.all_reads)
    come(hub, "a", text=starts[-1])
    assert len(hub.all_reads) == reads
    come(hub, "a", text=starts[0])
    assert len(hub.all_reads) == reads + 1


def test_a_page_with_what_the_history_has_lost_does_not_stay_here(hub: Hub) -> None:
    settled(hub, "a")
    start = top(hub, "a").decode()
    hub.publish("a")
    hub.publish("a")
    hub.calm_down()
    come(hub, "a", text=start)
    hub.calm_down()
    hub.broker.fall_back("a", 2)
    hub.check_position("a")
    hub.calm_down()
    hub.publish("a")
    hub.calm_down()
    back = come(hub, "a", text=start)
    hub.check_all()

    assert back.numbers == [2]
    assert back.resets == 0


@pytest.mark.parametrize("text", ["order-7", EARLIEST, f"{'z' * 8}.1-0"], ids=["own id", "earliest", "gap"])
def test_a_page_that_may_be_wrong_a_moment_later_does_not_stay_here(hub: Hub, text: str) -> None:
    settled(hub, "a")
    hub.publish("a", own_id="order-7")
    hub.publish("a")
    hub.calm_down()
    for _ in range(2):
        reads = len(hub.all_reads)
        come(hub, "a", text=text)
        hub.calm_down()
        assert len(hub.all_reads) == reads + 1


def test_a_page_is_the_same_bytes_for_all_streams_of_its_channel(hub: Hub) -> None:
    settled(hub, "a")
    start = top(hub, "a").decode()
    hub.publish("a")
    hub.calm_down()
    clients = [come(hub, "a", text=start) for _ in range(3)]
    hub.tick(MAX_WAIT_SECONDS)
    hub.answer()
    read, page = hub.pages.pop()
    hub.core.page(read.number, page, hub.now)
    going_on = [order.subscriber for order in hub.core.outbox if isinstance(order, Continue)]
    hub.core.outbox.clear()
    for subscriber in going_on:
        hub.core.continue_stream(subscriber, hub.now)
    written = [order.data for order in hub.core.outbox if isinstance(order, Write)]
    hub.carry_out()
    hub.calm_down()

    assert len(written) == len(clients)
    assert written[0] is written[1] is written[2]
    assert all(client.numbers == [0] for client in clients)


def test_an_event_is_encoded_once_whatever_its_streams_listen_to(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for channels in (("a",), ("a", "b"), ("c", "a"), ("a",)):
        settled(hub, *channels)
    start = top(hub, "a").decode()
    made: list[bytes] = []

    def make(envelope: bytes) -> Frame:
        made.append(envelope)
        return whole(envelope)

    whole = Frame.of_envelope
    monkeypatch.setattr(Frame, "of_envelope", make)
    hub.publish("a")
    hub.receive()
    assert len(made) == 1
    hub.calm_down()

    clients = [come(hub, "a", text=start) for _ in range(10)]
    hub.calm_down()
    assert len(made) == 2
    assert all(client.numbers == [0] for client in clients)


def test_a_stream_that_reaches_into_the_live_buffer_needs_no_further_page(hub: Hub) -> None:
    settled(hub, "a")
    start = top(hub, "a").decode()
    hub.publish("a")
    hub.calm_down()
    client = come(hub, "a", text=start)
    hub.answer()
    for _ in range(5):
        hub.publish("a")
    hub.receive()
    reads = len(hub.all_reads)
    hub.page()

    assert client.numbers == [0, 1, 2, 3, 4, 5]
    assert client.group is not None
    assert len(hub.all_reads) == reads


def test_a_stream_that_the_live_buffer_left_behind_reads_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "MAX_BUFFERED_EVENTS", 3)
    settled(hub, "a")
    start = top(hub, "a").decode()
    hub.publish("a")
    hub.calm_down()
    client = come(hub, "a", text=start)
    hub.answer()
    for _ in range(5):
        hub.publish("a")
    hub.receive()
    hub.page()
    assert client.numbers == [0]
    assert len(hub.reads) == 1
    hub.calm_down()

    assert client.numbers == [0, 1, 2, 3, 4, 5]


def test_a_live_buffer_lives_as_long_as_streams_catch_up(hub: Hub) -> None:
    settled(hub, "a")
    start = top(hub, "a").decode()
    hub.publish("a")
    hub.calm_down()
    channel = hub.core.channels["a"]
    tails = [channel.live_buffer]
    come(hub, "a", text=start)
    gone = come(hub, "a", text=start)
    hub.leave(gone)
    tails.append(channel.live_buffer)
    hub.calm_down()
    tails.append(channel.live_buffer)
    assert [tail is not None for tail in tails] == [False, True, False]


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_gap_is_reported_to_all_streams_of_a_channel_and_counted(hub: Hub) -> None:
    one, both, other = settled(hub, "a"), settled(hub, "a", "b"), settled(hub, "b")
    hub.broker.flush("a")
    hub.publish("a")
    hub.check_all()

    assert (one.resets, both.resets, other.resets) == (1, 1, 0)
    assert hub.core.counters.resets == 2


def test_a_stream_whose_history_was_set_back_while_the_hub_did_not_see_it_does_not_read_without_end(
    hub: Hub,
) -> None:
    settled(hub, "a")
    hub.publish("a")
    hub.calm_down()
    hub.broker.fall_back("a", 1)
    client = come(hub, "a", text="nothing")
    for _ in range(10):
        if hub.reads:
            hub.answer_all()
    assert hub.reads == []
    hub.check_all()

    assert client.resets >= 1


def test_a_stream_without_history_gets_what_comes_while_the_first_position_is_read(hub: Hub) -> None:
    without = settled(hub, "a", without_history=("a",))
    client = come(hub, "a")
    assert len(hub.reads) == 1
    hub.publish("a")
    hub.receive()
    hub.calm_down()

    assert without.numbers == [0]
    assert client.opens == 1


def test_what_has_no_place_is_written_once_to_a_stream_of_two_channels_that_is_on_its_way(hub: Hub) -> None:
    settled(hub, "a", "b")
    start = top(hub, "a", "b").decode()
    for _ in range(6):
        hub.publish("b")
    hub.publish("a")
    hub.calm_down()
    client = come(hub, "a", "b", text=start)
    hub.answer_all()
    assert hub.reads != []
    for stamped in (True, False, True, False):
        hub.publish("a", stamped=stamped)
        hub.receive()
    hub.check_all()

    assert sorted(client.numbers) == list(range(11))


def test_the_own_id_of_an_event_without_a_place_is_not_what_a_client_comes_back_with(hub: Hub) -> None:
    # The same event goes to a channel with a history and to one without, to that first.
    client = settled(hub, "a", "b", without_history=("b",))
    hub.publish("b", own_id="order-1", stamped=False)
    hub.calm_down()
    cut_off = client.seen[-1]
    hub.publish("a", own_id="order-1")
    hub.calm_down()
    assert cut_off.text == str(hub.broker.positions("a")[0]).replace(hub.broker.top("a").id, "0-0")

    back = Client(hub, ("a", "b"), seen=cut_off, without_history=("b",))
    hub.add(back)
    hub.calm_down()
    assert back.numbers == [1]


def test_when_all_have_left_and_the_time_is_over_nothing_stays(hub: Hub) -> None:
    start = top(hub, "a").decode()
    hub.publish("a")
    clients = [settled(hub, "a"), settled(hub, "a", "b", text=EARLIEST), settled(hub, "b", mode=ENVELOPES)]
    late = come(hub, "a", text=start)
    hub.publish("b")
    hub.receive()
    for client in (*clients, late):
        hub.leave(client)
    hub.answer_all()
    hub.flush()
    hub.tick(CHANNEL_LINGER_SECONDS)

    assert bookkeeping(hub.core) == {}
    assert hub.wanted == set()


def test_a_page_for_a_channel_that_was_given_up_and_is_back_is_not_taken_for_its_own(hub: Hub) -> None:
    first = come(hub, "a")
    hub.handle_subscriptions()
    hub.receive()
    hub.answer()
    hub.leave(first)
    hub.tick(CHANNEL_LINGER_SECONDS)
    hub.publish("a")
    hub.publish("a")
    second = come(hub, "a")
    hub.page()
    assert second.opens == 0
    hub.publish("a")
    hub.check_all()

    assert second.opens == 1


# -- whatever happens ------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
CURSORS = ("zzzzzzzz.0-0", "zzzzzzzz.0-0,zzzzzzzz.0-0")
GARBAGE = ("order-1", "\0", "abc", "ff.1-0", "abcdefgh.1-0,", "ü", *CURSORS)
some_channels = st.sampled_from([("a",), ("a",), ("b",), ("a", "b"), ("b", "a"), ("c", "a", "b")])
some_names = st.sampled_from(["a", "a", "b", "c"])


class CoreWithHistory(RuleBasedStateMachine):
    """Clients come from anywhere, the broker loses what it can, and every client is told."""

    has_mixed_histories = False

    def __init__(self) -> None:
        super().__init__()
        self.small = pytest.MonkeyPatch()
        self.small.setattr(sequencer, "MAX_HELD_EVENTS", 4)
        self.small.setattr(resume, "MAX_BUFFERED_EVENTS", 3)
        # How long a stream may be silent is drawn.
        self.hub = Hub(draw=random.Random(0).random)
        self.past: deque[Client] = deque(maxlen=20)
        self.own_ids = 0
        # Whether something is lost that only the position of a channel tells.
        self.may_lose = True

    @initialize(at_once=st.sampled_from([False, False, False, True]), may_lose=st.booleans())
    def begin(self, at_once: bool, may_lose: bool) -> None:
        self.hub.at_once = at_once
        self.may_lose = may_lose

    def _add(self, client: Client) -> None:
        self.past.append(client)
        self.hub.add(client)

    # Clients.

    @rule(
        channels=some_channels,
        slow=st.booleans(),
        mode=st.sampled_from([FRAMES, FRAMES, FRAMES, ENVELOPES]),
    )
    def come_fresh(self, channels: tuple[str, ...], slow: bool, mode: str) -> None:
        self._add(Client(self.hub, channels, seen=Seen(), slow=slow, mode=mode))

    @rule(channels=some_channels, slow=st.booleans(), numbers=st.lists(st.integers(0, 30), min_size=3))
    def come_from_a_position(self, channels: tuple[str, ...], slow: bool, numbers: list[int]) -> None:
        texts = []
        for name, number in zip(sorted(channels), numbers, strict=False):
            known = [*self.hub.broker.positions(name)[-20:], self.hub.broker.top(name)]
            texts.append(EARLIEST if number == 30 else str(known[-1 - number % len(known)]))
        self._add(Client(self.hub, channels, seen=Seen(",".join(texts)), slow=slow))

    @rule(channels=some_channels, slow=st.booleans())
    def come_from_the_earliest(self, channels: tuple[str, ...], slow: bool) -> None:
        self._add(Client(self.hub, channels, seen=Seen(EARLIEST), slow=slow))

    @rule(channels=some_channels, number=st.integers(0, 10))
    def come_from_an_own_id(self, channels: tuple[str, ...], number: int) -> None:
        text = f"{channels[0]}-{max(0, self.own_ids - number)}"
        self._add(Client(self.hub, channels, seen=Seen(text)))

    @rule(channels=some_channels, text=st.sampled_from(GARBAGE))
    def come_from_nowhere(self, channels: tuple[str, ...], text: str) -> None:
        self._add(Client(self.hub, channels, seen=Seen(text)))

    @rule(channels=some_channels, ahead=st.integers(1, 5))
    def come_from_the_future(self, channels: tuple[str, ...], ahead: int) -> None:
        tops = [self.hub.broker.top(name) for name in sorted(channels)]
        texts = [f"{top.epoch}.{int(top.id.split('-')[0]) + ahead}-3" for top in tops]
        self._add(Client(self.hub, channels, seen=Seen(",".join(texts))))

    @precondition(lambda self: self.past)
    @rule(number=st.integers(0, 20), place=st.integers(0, 100), slow=st.booleans(), stays=st.booleans())
    def come_back(self, number: int, place: int, slow: bool, stays: bool) -> None:
        """A client was cut off behind any of the lines that it got."""
        client = self.past[number % len(self.past)]
        if client.mode == ENVELOPES:
            return
        seen = client.seen[-1 - place % len(client.seen)]
        if not stays:
            self.hub.leave(client)
        self._add(
            Client(
                self.hub,
                client.channels,
                seen=seen,
                without_history=tuple(set(client.channels) - set(client.history_channels)),
                slow=slow,
            )
        )

    @precondition(lambda self: self.hub.clients)
    @rule(number=st.integers(0, 20))
    def leave(self, number: int) -> None:
        self.hub.leave(self.hub.clients[number % len(self.hub.clients)])

    @precondition(lambda self: any(client.backlog for client in self.hub.clients))
    @rule(number=st.integers(0, 20))
    def drain(self, number: int) -> None:
        slow = [client for client in self.hub.clients if client.backlog]
        self.hub.drain(slow[number % len(slow)])

    @precondition(lambda self: self.has_mixed_histories)
    @rule(channels=some_channels, without=some_channels, slow=st.booleans())
    def come_with_less_history(self, channels: tuple[str, ...], without: tuple[str, ...], slow: bool) -> None:
        self._add(Client(self.hub, channels, seen=Seen(), without_history=without, slow=slow))

    # Publishers.

    @rule(name=some_names, count=st.sampled_from([1, 1, 2, 3, 8]), arrives=st.booleans())
    def publish(self, name: str, count: int, arrives: bool) -> None:
        for _ in range(count):
            self.hub.publish(name)
        if arrives:
            self.hub.receive()

    @rule(name=some_names, again=st.sampled_from([False, False, False, True]))
    def publish_with_an_own_id(self, name: str, again: bool) -> None:
        self.own_ids += not again
        # Of its channel, because an id means the same in all channels of a stream.
        self.hub.publish(name, own_id=f"{name}-{self.own_ids}")

    @rule(name=some_names)
    def publish_what_is_none(self, name: str) -> None:
        self.hub.publish(name, readable=False)

    @precondition(lambda self: self.has_mixed_histories)
    @rule(name=some_names, own_id=st.booleans(), arrives=st.booleans())
    def publish_without_stamp(self, name: str, own_id: bool, arrives: bool) -> None:
        self.own_ids += 1
        self.hub.publish(name, stamped=False, own_id=f"old-{self.own_ids}" if own_id else None)
        if arrives:
            self.hub.receive()

    # The way from the broker.

    @rule(count=st.sampled_from([1, 2, 100]))
    def receive(self, count: int) -> None:
        self.hub.receive(count)

    @rule()
    def handle_subscriptions(self) -> None:
        if self.hub.connected:
            self.hub.handle_subscriptions()

    def _message(self, number: int) -> int | None:
        """Return the place of one of the messages that are on their way."""
        places = [n for n, item in enumerate(self.hub.on_the_way) if isinstance(item, Published)]
        return places[number % len(places)] if places else None

    @precondition(lambda self: self.may_lose)
    @rule(number=st.integers(0, 20))
    def lose_a_message(self, number: int) -> None:
        if (place := self._message(number)) is not None:
            message = self.hub.on_the_way.pop(place)
            assert isinstance(message, Published)
            self.hub.unsure.add(message.channel)

    @rule(number=st.integers(0, 20), later=st.integers(0, 5))
    def delay_or_repeat_a_message(self, number: int, later: int) -> None:
        if (place := self._message(number)) is not None:
            message = self.hub.on_the_way[place]
            assert isinstance(message, Published)
            if message.stamp is None or later % 2:
                del self.hub.on_the_way[place]
            self.hub.on_the_way.insert(place + later, message)

    @rule()
    def disconnect(self) -> None:
        if not self.hub.at_once:
            self.hub.disconnect()

    @precondition(lambda self: not self.hub.connected)
    @rule()
    def reconnect(self) -> None:
        self.hub.reconnect()

    @precondition(lambda self: self.hub.connected and not self.hub.at_once)
    @rule()
    def reconnect_without_a_word(self) -> None:
        """All that tells it is that the channels are confirmed once more."""
        self.hub.on_the_way.clear()
        self.hub.listened.clear()
        self.hub.reconnect()

    @rule()
    def change_hands(self) -> None:
        self.hub.change_hands()

    @precondition(lambda self: self.hub.reads)
    @rule(number=st.integers(0, 20))
    def answer(self, number: int) -> None:
        self.hub.answer(number)

    @precondition(lambda self: self.hub.pages)
    @rule(number=st.integers(0, 20))
    def page(self, number: int) -> None:
        self.hub.page(number)

    @precondition(lambda self: self.hub.reads or self.hub.pages)
    @rule()
    def answer_all(self) -> None:
        self.hub.answer_all()

    @rule(name=some_names)
    def check_position(self, name: str) -> None:
        self.hub.check_position(name)

    # The broker itself.

    @rule(name=some_names, size=st.integers(0, 3))
    def trim(self, name: str, size: int) -> None:
        self.hub.broker.trim(name, size)

    @precondition(lambda self: self.may_lose)
    @rule(name=some_names)
    def forget_all(self, name: str) -> None:
        self.hub.broker.flush(name)
        self.hub.unsure.add(name)

    @precondition(lambda self: self.may_lose)
    @rule(name=some_names, events=st.integers(1, 3))
    def fall_back(self, name: str, events: int) -> None:
        self.hub.broker.fall_back(name, events)
        self.hub.unsure.add(name)

    # Time.

    @rule()
    def flush(self) -> None:
        self.hub.flush()

    @rule(seconds=st.sampled_from([0.25, 1.0, 20.0, 2 * CHANNEL_LINGER_SECONDS]))
    def tick(self, seconds: float) -> None:
        self.hub.tick(seconds)

    @rule()
    def all_is_well(self) -> None:
        self.hub.check_all()

    # What always holds.

    @invariant()
    def no_live_buffer_stays_without_streams_that_need_it(self) -> None:
        for channel in self.hub.core.channels:
            assert channel.waiting or channel.live_buffer is None

    def teardown(self) -> None:
        """Let all calm down, see that everybody stands at the top; let all leave, see that nothing stays."""
        try:
            # What a step found is not to be covered by what it left behind.
            if sys.exception() is None:
                self._end()
        finally:
            self.small.undo()

    def _end(self) -> None:
        self.hub.check_all()
        for client in self.hub.clients:
            self.hub.leave(client)
        self.hub.flush()
        self.hub.tick(CHANNEL_LINGER_SECONDS)
        assert self.hub.wanted == set()
        assert bookkeeping(self.hub.core) == {}


TestCoreWithHistory = CoreWithHistory.TestCase
TestCoreWithHistory.settings = settings(deadline=None, max_examples=120, stateful_step_count=50)


class CoreWithMixedHistories(CoreWithHistory):
    """The same with publishers of 1.0 and with applications that keep no history of a channel."""

    has_mixed_histories = True


TestCoreWithMixedHistories = CoreWithMixedHistories.TestCase
TestCoreWithMixedHistories.settings = TestCoreWithHistory.settings
