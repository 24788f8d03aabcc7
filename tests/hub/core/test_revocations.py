"""Revocations: which streams end, by whose clock, and what a successor knows. Without sockets."""

from __future__ import annotations

import random

import pytest
from tests.support.core_grants import (
    ANN,
    CONTROL,
    NOW,
    answer_to,
    core_with,
    order,
    page_of,
    remember,
    revocation,
    settle,
    subscriber,
)

from flask_sse.brokers.base import Entry, Page
from flask_sse.hub.core.actions import (
    CheckAll,
    End,
    Read,
    ReportDropped,
    Revoke,
    Subscribe,
    WarnRevocationsLost,
)
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.runs import State
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.protocol.grant import ANONYMOUS, Grant
from flask_sse.hub.protocol.revocation import HISTORY, ReceivedRevocation
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.cursor import EARLIEST, Cursor, Stamp
from flask_sse.wire.envelope import pack
from flask_sse.wire.run import ended


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
    core.revocations.restore_from_journal(noted, 300.0, is_expected=True)
    core.channels.open_control_channel()
    core.subscribed(CONTROL)
    (read,) = [each for each in core.outbox if isinstance(each, Read)]
    core.outbox.clear()
    core.page(read.number, page_of("abcdefgh", *([noted] if is_kept else [])), NOW)
    assert list(core.outbox) == [CheckAll(), *([] if is_kept else [WarnRevocationsLost(1)])]
    assert core.refusal(ticket(199)) is not None
