"""Claims in the hub: counting, ending and handing over, without sockets."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from flask_sse.brokers.base import Entry, Page
from flask_sse.errors import ProtocolError
from flask_sse.hub.core.actions import (
    CheckAll,
    Continue,
    End,
    Read,
    ReportDropped,
    Revoke,
    Subscribe,
    WarnRevocationsLost,
    Write,
)
from flask_sse.hub.core.admission import PROBATION_SECONDS
from flask_sse.hub.core.channel_registry import CHANNEL_LINGER_SECONDS
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.revocations import Revocations
from flask_sse.hub.core.runs import State
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.protocol.grant import ANONYMOUS, Grant
from flask_sse.hub.protocol.packet import PacketDecoder
from flask_sse.hub.protocol.revocation import HISTORY, ReceivedRevocation, Revocation
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.cursor import EARLIEST, Cursor, Stamp
from flask_sse.wire.encode import HEARTBEAT
from flask_sse.wire.envelope import pack
from flask_sse.wire.run import ended

CONTROL = "flask-sse:control"
ANN = Grant("ann", "192.0.2.1", issued_at=100)
NOW = 1000.0


def subscriber(
    grant: Grant = ANONYMOUS,
    *channels: str,
    mode: str = FRAMES,
    head: bytes = b"HTTP/1.1 200 OK",
    **rules: int,
) -> Subscriber:
    """Return a stream that has just come, by takeover: the hub writes its head."""
    return Subscriber(StreamRequest(channels or ("a",), mode, StreamRules(**rules), head=head, grant=grant))  # type: ignore[arg-type]


def relayed(grant: Grant = ANN, most: int = 2) -> Subscriber:
    """Return a stream that has just come, by relay, and of which an address may have so many."""
    return subscriber(grant, head=b"", max_streams_per_address=most)


def written(core: Core[Subscriber]) -> list[tuple[Subscriber, bytes]]:
    """Return what was written since, but for that to streams that end; carry out the rest."""
    writes = [(each.subscriber, each.data) for each in core.outbox if isinstance(each, Write)]
    settle(core)
    return writes


def core_with(*subscribers: Subscriber) -> Core[Subscriber]:
    """Return a core whose channels are confirmed, with streams in it."""
    core: Core[Subscriber] = Core(10_000, 100, random.random)
    core.channels.open_control_channel()
    for each in subscribers:
        assert core.refusal(each) is None
        core.add(each, NOW)
    settle(core)
    return core


def settle(core: Core[Subscriber], *kept: Revocation, at: float = 200.0) -> list[End]:
    """Do what a server and a broker do; return whose streams ended.

    Args:
        core: Of the hub.
        kept: What the history of the broker has.
        at: The clock of the hub's machine.
    """
    ended = []
    while core.outbox:
        order = core.outbox.popleft()
        if isinstance(order, Subscribe):
            core.subscribed(order.channel)
        elif isinstance(order, Read):
            assert (order.channel, order.since) == (CONTROL, EARLIEST)
            core.page(order.number, page_of("abcdefgh", *kept), NOW)
        elif isinstance(order, CheckAll):
            core.check_all()
        elif isinstance(order, Revoke):
            core.revoke(ReceivedRevocation(order.revocation, at, order.is_live))
        elif isinstance(order, Continue):
            core.continue_stream(order.subscriber, NOW)
        elif isinstance(order, End):
            ended.append(order)
            core.remove(order.subscriber, NOW)
    return ended


def page_of(epoch: str, *revocations: Revocation) -> Page:
    """Return all that the history of the control channel has."""
    ids = [f"{number}-0" for number in range(len(revocations) + 1)]
    entries = [
        Entry(event_id, previous, each.envelope())
        for previous, event_id, each in zip(ids, ids[1:], revocations, strict=False)
    ]
    return Page(epoch, ids[-1], "0-0", entries, complete=True)


def revocation(**fields: Any) -> Revocation:
    return Revocation(**{"subject": None, "channel": None, "reason": "x", "at": 200.0, **fields})


def order(core: Core[Subscriber], **fields: Any) -> list[Any]:
    """Bring an order; return the streams that it ended."""
    core.deliver(CONTROL, Stamp("abcdefgh", "1-0", "0-0"), revocation(**fields).envelope())
    return [end.subscriber for end in settle(core)]


def remember(
    revocations: Revocations[Subscriber], received_at: float = 200.0, *, is_live: bool = True, **fields: Any
) -> None:
    revocations.remember(ReceivedRevocation(revocation(**fields), received_at, is_live))


def answer_to(core: Core[Subscriber], *kept: Revocation) -> str | None:
    """Answer the read that was asked for, with an epoch of its own; return since when it was."""
    reads = [each for each in core.outbox if isinstance(each, Read)]
    for read in reads:
        core.outbox.remove(read)
        page = page_of("zzzzzzzz", *kept)
        core.page(read.number, page if read.since == EARLIEST else page._replace(since=None), NOW)
        return read.since
    return None


@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({"subject": "ann"}, [0, 1]),
        ({"subject": "ann", "channel": "b"}, [1]),
        ({"channel": "b"}, [1, 2]),
        ({"subject": "nobody"}, []),
    ],
)
@pytest.mark.parametrize("at", [0.0, 99.0, 200.0, 1e9])
def test_a_revocation_ends_what_it_names_whatever_the_clock_of_its_sender_says(
    fields: dict[str, object], ended: list[int], at: float
) -> None:
    # 13.4
    bob = Grant("bob", issued_at=100)
    streams = [
        subscriber(ANN),
        subscriber(ANN, "a", "b"),
        subscriber(bob, "b"),
        subscriber(Grant("carl", issued_at=300)),
        subscriber(ANONYMOUS, "b"),
        subscriber(ANONYMOUS, "b", mode=ENVELOPES),
    ]
    core = core_with(*streams)
    assert set(order(core, **fields, at=at)) == {streams[number] for number in ended}
    assert core.counters.revoked == len(ended)
    assert len(core) == len(streams) - len(ended)


def test_who_was_let_in_before_an_order_and_comes_after_it_is_sent_away() -> None:
    core = core_with()
    order(core, subject="ann", reason="bye")
    body = core.refusal(subscriber(ANN))
    assert body is not None
    assert b'data:{"reason": "bye"}' in body
    assert b"id:stream-end" in body
    assert core.refusal(subscriber(Grant("ann", issued_at=201))) is None
    assert core.refusal(subscriber(Grant("bob", issued_at=100))) is None


def test_orders_that_came_before_the_hub_began_hold() -> None:
    core: Core[Subscriber] = Core(10_000, 100, random.random)
    core.channels.open_control_channel()
    assert settle(core, revocation(subject="ann")) == []
    assert core.refusal(ticket(100)) is not None
    assert core.refusal(ticket(201)) is None


def ticket(issued_at: float, *channels: str) -> Subscriber:
    return subscriber(Grant("ann", issued_at=issued_at, by_ticket=True), *channels)


def test_beyond_a_number_the_earliest_revocation_is_forgotten() -> None:
    revocations = core_with().revocations
    for number in range(HISTORY.size + 10):
        remember(revocations, subject=f"bob-{number}", at=1e6 + number)
    assert len(list(revocations.received)) == HISTORY.size
    for subject, is_known in (("bob-10", True), ("bob-9", False)):
        late = subscriber(Grant(subject, issued_at=100, by_ticket=True))
        assert (revocations.rejection_of(late) is not None) == is_known
    assert len(revocations._latest) == HISTORY.size


@pytest.mark.parametrize("at", [200.0 + 86_400, 1e9, 1e11])
def test_a_sender_whose_clock_is_ahead_makes_no_hub_forget_a_revocation(at: float) -> None:
    # 13.4
    core = core_with()
    order(core, subject="ann")
    core.deliver(CONTROL, Stamp("abcdefgh", "2-0", "1-0"), revocation(subject="bob", at=at).envelope())
    settle(core)
    assert core.refusal(ticket(199)) is not None
    assert core.refusal(subscriber(Grant("bob", issued_at=199))) is not None
    # For no longer than a ticket lives.
    late = Grant("bob", issued_at=200 + 86_401, by_ticket=True)
    assert core.refusal(subscriber(late)) is None


@pytest.mark.parametrize("at", ["1e999", "-1e999", "9" * 400, "-1", "NaN", "1e12"])
def test_a_revocation_of_a_time_that_no_clock_shows_is_none(at: str) -> None:
    # 13.4
    core = core_with()
    order(core, subject="ann")
    text = b'{"data": {"subject": "bob", "channel": null, "reason": "x", "at": %s}}' % at.encode()
    core.deliver(CONTROL, Stamp("abcdefgh", "2-0", "1-0"), text)
    assert core.counters.foreign_dropped == 1
    settle(core)
    order(core, subject="carl")
    for subject, is_refused in (("ann", True), ("bob", False), ("carl", True)):
        late = subscriber(Grant(subject, issued_at=199, by_ticket=True))
        assert (core.refusal(late) is not None) == is_refused


def test_of_two_revocations_the_later_one_counts_for_tickets_whichever_came_first() -> None:
    for times in ((200.0, 300.0), (300.0, 200.0)):
        revocations = core_with().revocations
        for at in times:
            remember(revocations, subject="ann", channel="a", at=at)
        assert revocations.rejection_of(ticket(250)) is not None
        assert revocations.rejection_of(ticket(350)) is None
        assert revocations.rejection_of(ticket(250, "b")) is None


# -- 13.4: what was checked before a revocation, and comes after it ------------------------------------


def is_final(body: bytes | None) -> bool | None:
    """Tell whether a page is not to come back; ``None`` if it may have its stream."""
    return None if body is None else b"id:stream-end" in body


@pytest.mark.parametrize(
    ("issued_at", "at", "final"),
    [
        # The clocks of both machines are in step.
        (199.6, 200.0, True),
        (200.1, 200.0, None),
        # The sender's is ahead by 3 s: who opens after the revocation may.
        (200.1, 203.0, None),
        # It is behind: whether the right is older is not known, so it is checked again.
        (199.6, 197.0, False),
        # That of this machine was set meanwhile.
        (200.0 - 3600, 200.0, None),
    ],
)
def test_a_right_that_was_checked_before_a_revocation_opens_no_stream_after_it(
    issued_at: float, at: float, final: bool | None
) -> None:
    core = core_with()
    order(core, subject="ann", at=at)
    assert is_final(core.refusal(subscriber(Grant("ann", issued_at=issued_at)))) is final


@pytest.mark.parametrize(("issued_at", "final"), [(299.9, False), (300.1, None), (401, None)])
def test_a_hub_that_begins_after_a_revocation_has_rights_of_before_checked_again(
    issued_at: float, final: bool | None
) -> None:
    """The clock of its machine may be behind, so nobody is rejected for good."""
    core: Core[Subscriber] = Core(10_000, 100, random.random)
    core.channels.open_control_channel()
    early = subscriber(Grant("ann", issued_at=issued_at))
    core.add(early, NOW)
    ended = settle(core, revocation(subject="ann", at=300.0), at=400.0)
    assert [is_final(end.data) for end in ended] == ([] if final is None else [final])
    assert is_final(core.refusal(subscriber(Grant("ann", issued_at=issued_at)))) is final


# -- 13.2: the control channel has a new history -------------------------------------------------------


def test_a_gap_of_the_control_channel_is_read_from_the_beginning() -> None:
    stream = subscriber(ANN)
    core = core_with(stream, subscriber(Grant("bob", issued_at=100)))
    new = revocation(subject="ann")
    # As after FLUSHALL: its link leads to an event that nobody knows.
    core.deliver(CONTROL, Stamp("zzzzzzzz", "2-0", "1-0"), revocation(subject="nobody").envelope())
    assert answer_to(core, new, revocation(subject="nobody")) == "abcdefgh.0-0"
    assert any(
        isinstance(each, ReportDropped) and "revocations may be lost" in each.reason for each in core.outbox
    )
    assert answer_to(core, new, revocation(subject="nobody")) == EARLIEST
    assert [end.subscriber for end in settle(core)] == [stream]
    assert answer_to(core) is None


def test_a_revocation_is_carried_out_before_its_place_is_known() -> None:
    stream = subscriber(ANN)
    core = core_with(stream)
    core.deliver(CONTROL, Stamp("zzzzzzzz", "9-0", "8-0"), revocation(subject="ann").envelope())
    (revoke,) = [each for each in core.outbox if isinstance(each, Revoke)]
    core.outbox.remove(revoke)
    core.revoke(ReceivedRevocation(revoke.revocation, 200.0, revoke.is_live))
    assert [each.subscriber for each in core.outbox if isinstance(each, End)] == [stream]


def test_a_new_history_without_its_beginning_is_taken_as_far_as_it_is_there() -> None:
    stream = subscriber(ANN)
    core = core_with(stream)
    core.top(CONTROL, Cursor("zzzzzzzz", "5-0"))
    assert answer_to(core) == "abcdefgh.0-0"
    (read,) = [each for each in core.outbox if isinstance(each, Read)]
    core.outbox.clear()
    entry = Entry("5-0", "4-0", revocation(subject="ann").envelope())
    core.page(read.number, Page("zzzzzzzz", "5-0", "3-0", [entry], complete=True), NOW)
    assert [end.subscriber for end in settle(core)] == [stream]


def test_what_is_read_again_ends_no_stream_that_was_let_in_after_it() -> None:
    """A replica that lags has taken over: its history is shorter, and all of it is known."""
    core = core_with()
    old = revocation(subject="ann")
    order(core, subject="ann")
    later = subscriber(Grant("ann", issued_at=201))
    core.add(later, NOW)
    core.top(CONTROL, Cursor("zzzzzzzz", "1-0"))
    while answer_to(core, old):
        pass
    assert settle(core) == []
    assert core.refusal(subscriber(Grant("ann", issued_at=201))) is None


# -- 13.1: what another hub knew -----------------------------------------------------------------------


def successor_of(old: Core[Subscriber]) -> Core[Subscriber]:
    new: Core[Subscriber] = Core(10_000, 100, random.random)
    new.restore_channels(old.positions(), old.channels.ended_runs(), list(old.revocations.received))
    new.channels.open_control_channel()
    return new


def test_revocations_go_along_to_the_next_hub() -> None:
    core = core_with()
    order(core, subject="ann")
    new = successor_of(successor_of(core))
    assert is_final(new.refusal(ticket(199))) is True
    assert is_final(new.refusal(subscriber(Grant("ann", issued_at=199.9)))) is True
    assert new.refusal(ticket(201)) is None
    # What was published in between is news.
    stream = subscriber(Grant("ann", issued_at=500))
    new.add(stream, NOW)
    new.subscribed(CONTROL)
    (read,) = [each for each in new.outbox if isinstance(each, Read)]
    assert read.since == "abcdefgh.1-0"
    new.outbox.clear()
    entry = Entry("2-0", "1-0", revocation(subject="ann", at=1.0).envelope())
    new.page(read.number, Page("abcdefgh", "2-0", "1-0", [entry], complete=True), NOW)
    assert [end.subscriber for end in settle(new)] == [stream]


def test_a_hub_that_has_not_read_the_revocations_leaves_that_to_the_next_one() -> None:
    core: Core[Subscriber] = Core(10_000, 100, random.random)
    core.channels.open_control_channel()
    core.subscribed(CONTROL)
    (read,) = [each for each in core.outbox if isinstance(each, Read)]
    first = page_of("abcdefgh", revocation(subject="bob"))._replace(complete=False, top="9-0")
    core.page(read.number, first, NOW)
    assert core.positions() == {}


def test_a_run_that_is_over_is_over_for_the_next_hub() -> None:
    core: Core[Subscriber] = Core(10_000, 100, random.random)
    listens = StreamRequest(("a", "run:x"), FRAMES, StreamRules(), {"run:x": ""})
    core.add(Subscriber(listens), NOW)
    while core.outbox:
        each = core.outbox.popleft()
        if isinstance(each, Subscribe):
            core.subscribed(each.channel)
        elif isinstance(each, Read):
            core.page(each.number, Page("abcdefgh", "1-0", "1-0", (), complete=True), NOW)
    core.deliver("run:x", Stamp("abcdefgh", "2-0", "1-0"), pack(ended("finished")))
    assert core.channels.ended_runs() == {"run:x": State.OVER}
    new = successor_of(core)
    assert new.channels["run:x"].run is not None
    assert new.channels["run:x"].run.state is State.OVER


# -- 13.3: what a hub noted that has died --------------------------------------------------------------


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_broker_that_has_lost_revocations_is_noticed(is_kept: bool) -> None:
    core: Core[Subscriber] = Core(10_000, 100, random.random)
    noted = revocation(subject="ann")
    core.revoke_again(noted, 300.0, is_expected=True)
    core.channels.open_control_channel()
    core.subscribed(CONTROL)
    (read,) = [each for each in core.outbox if isinstance(each, Read)]
    core.outbox.clear()
    core.page(read.number, page_of("abcdefgh", *([noted] if is_kept else [])), NOW)
    assert list(core.outbox) == [CheckAll(), *([] if is_kept else [WarnRevocationsLost(1)])]
    assert core.refusal(ticket(199)) is not None


def test_counts_go_back_to_nothing() -> None:
    core = core_with()
    streams = [subscriber(ANN, max_streams_per_subject=2, max_streams_per_address=2) for _ in range(2)]
    for each in streams:
        core.add(each, NOW)
    late = subscriber(ANN, max_streams_per_subject=2)
    assert core.refusal(late) is not None
    assert core.admission.rejected == {
        "subject": 1,
        "address": 0,
        "channels": 0,
        "stream_channels": 0,
        "reads": 0,
    }
    for each in streams:
        core.remove(each, NOW)
    assert core.refusal(late) is None
    assert (core.admission._subjects, core.admission._addresses) == ({}, {})


# -- relayed streams, whose clients may have left (13.21) -------------------------------------------


def core_with_three() -> tuple[Core[Subscriber], list[Subscriber]]:
    """Return a core in which two relayed streams of an address are open and a third one waits."""
    streams = [relayed() for _ in range(3)]
    core = core_with(*streams)
    assert [each.has_begun for each in streams] == [True, True, False]
    return core, streams


def test_one_too_many_waits_while_the_relayed_ones_are_probed_and_gets_the_place_of_one_that_left() -> None:
    core, (first, second, third) = core_with_three()
    core.tick(NOW + TICK_SECONDS)
    assert {(first, HEARTBEAT), (second, HEARTBEAT)} == set(written(core))
    core.remove(first, NOW + TICK_SECONDS)
    core.tick(NOW + 2 * TICK_SECONDS)
    settle(core)
    assert third.has_begun
    assert core.admission.rejected["address"] == 0
    # Nobody waits any more, so nobody is probed.
    core.tick(NOW + 3 * TICK_SECONDS)
    assert written(core) == []


def test_where_all_are_there_it_is_rejected_in_the_end() -> None:
    core, (_, _, third) = core_with_three()
    core.tick(NOW + PROBATION_SECONDS - TICK_SECONDS)
    assert settle(core) == []
    core.tick(NOW + PROBATION_SECONDS)
    (end,) = settle(core)
    assert end.subscriber is third
    assert end.data.startswith(b":too many streams of this address\n\nretry:")
    assert core.admission.rejected["address"] == 1
    assert len(core) == 2


def test_no_more_of_them_wait_than_may_be_open() -> None:
    core, _ = core_with_three()
    fourth, fifth = relayed(), relayed()
    assert core.refusal(fourth) is None
    core.add(fourth, NOW)
    body = core.refusal(fifth)
    assert body is not None
    assert body.startswith(b":too many streams of this address")
    # Others have their own.
    assert core.refusal(relayed(Grant("bob", "192.0.2.2"))) is None


def test_who_leaves_waits_no_more() -> None:
    core, (first, _, third) = core_with_three()
    core.remove(third, NOW)
    assert len(core) == 2
    core.remove(first, NOW)
    core.tick(NOW + TICK_SECONDS)
    assert settle(core) == []
    assert not third.has_begun


def test_a_revocation_ends_those_that_wait() -> None:
    core, streams = core_with_three()
    assert set(order(core, subject="ann")) == set(streams)
    assert len(core) == len(core.admission._relayed) == 0


def test_it_waits_on_in_the_next_hub() -> None:
    core, streams = core_with_three()
    successor = core_with()
    moved = [
        Subscriber(StreamRequest(each.channels, each.mode, each.rules, grant=each.grant_now(NOW)))
        for each in streams
    ]
    for each, old in zip(moved, streams, strict=True):
        successor.restore(each, old.subscriber_snapshot(NOW), NOW)
    settle(successor)
    assert len(successor) == 3
    assert core.subscribers == set(streams)
    successor.tick(NOW + PROBATION_SECONDS)
    (end,) = settle(successor)
    assert end.subscriber is moved[2]


def test_a_hub_that_drains_says_goodbye_to_those_that_wait() -> None:
    core, (_, _, third) = core_with_three()
    core.drain(5, NOW)
    (end,) = settle(core)
    assert end.subscriber is third
    assert end.data.startswith(b"retry:")


def test_a_claim_goes_along_to_the_next_hub_with_the_time_that_is_left() -> None:
    grant = Grant("ann", "192.0.2.1", 60, 100, by_ticket=True)
    stream = subscriber(grant)
    core_with(stream)
    later = NOW + 20
    left = stream.grant_now(later)
    assert left == Grant("ann", "192.0.2.1", 40, 100, by_ticket=True)

    successor: Core[Subscriber] = Core(10_000, 100, random.random)
    moved = Subscriber(StreamRequest(stream.channels, stream.mode, stream.rules, grant=left))
    successor.restore(moved, stream.subscriber_snapshot(later), 500)
    assert moved.expires_at == moved.ends_at == 540
    successor.remove(moved, 500)
    assert successor.admission._subjects == {}


@pytest.mark.parametrize(
    "grant",
    [
        {},
        "ann",
        {"subject": 7, "address": None, "ends_in": None, "issued_at": None, "by_ticket": False},
        {"subject": None, "address": [], "ends_in": None, "issued_at": None, "by_ticket": False},
        {"subject": None, "address": None, "ends_in": "1", "issued_at": None, "by_ticket": False},
        {"subject": None, "address": None, "ends_in": None, "issued_at": True, "by_ticket": False},
        {"subject": None, "address": None, "ends_in": None, "issued_at": None, "by_ticket": 1},
    ],
)
def test_a_claim_that_no_application_makes_is_refused(grant: object) -> None:
    data = StreamRequest(("a",), FRAMES, StreamRules(), grant=ANN).packet().encode()
    (packet,) = PacketDecoder(1000).feed(data)
    assert StreamRequest.read(packet).grant == ANN
    packet.fields["grant"] = grant
    with pytest.raises(ProtocolError, match="grant"):
        StreamRequest.read(packet)


def test_an_order_says_what_it_said() -> None:
    revocation = Revocation("ann", "a", "bye", 1.5)
    assert Revocation.read(revocation.envelope()) == revocation
    assert json.loads(revocation.envelope())["data"]["subject"] == "ann"


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
