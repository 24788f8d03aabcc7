"""Claims in the hub: counting, ending and handing over, without sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_sse.brokers.base import Entry, Page
from flask_sse.errors import ProtocolError
from flask_sse.hub.admission import Admission
from flask_sse.hub.agenda import TICK_SECONDS
from flask_sse.hub.claim import NOBODY, Claim
from flask_sse.hub.control import ENVELOPES, FRAMES, Attach, PacketDecoder
from flask_sse.hub.core import Core
from flask_sse.hub.directory import CHANNEL_LINGER_SECONDS
from flask_sse.hub.dismissal import HISTORY, Arrival, Dismissal
from flask_sse.hub.group import Member
from flask_sse.hub.orders import CheckAll, Complain, End, GoOn, Read, Revoke, Subscribe, WarnOfLoss, Write
from flask_sse.hub.probation import PROBATION_SECONDS
from flask_sse.hub.runs import State
from flask_sse.settings import StreamRules
from flask_sse.wire.cursor import EARLIEST, Cursor, Stamp
from flask_sse.wire.encode import HEARTBEAT
from flask_sse.wire.envelope import pack
from flask_sse.wire.run import ended

CONTROL = "flask-sse:control"
ANN = Claim("ann", "192.0.2.1", issued_at=100)
NOW = 1000.0


def member(
    claim: Claim = NOBODY, *channels: str, form: str = FRAMES, head: bytes = b"HTTP/1.1 200 OK", **rules: int
) -> Member:
    """Return a stream that has just come, by takeover: the hub writes its head."""
    return Member(Attach(channels or ("a",), form, StreamRules(**rules), head=head, claim=claim))  # type: ignore[arg-type]


def relayed(claim: Claim = ANN, most: int = 2) -> Member:
    """Return a stream that has just come, by relay, and of which an address may have so many."""
    return member(claim, head=b"", max_streams_per_address=most)


def written(core: Core[Member]) -> list[tuple[Member, bytes]]:
    """Return what was written since, but for that to streams that end; carry out the rest."""
    writes = [(each.member, each.data) for each in core.outbox if isinstance(each, Write)]
    settle(core)
    return writes


def core_with(*members: Member) -> Core[Member]:
    """Return a core whose channels are confirmed, with streams in it."""
    core: Core[Member] = Core(10_000, 100)
    core.directory.obey()
    for each in members:
        assert core.refusal(each) is None
        core.add(each, NOW)
    settle(core)
    return core


def settle(core: Core[Member], *kept: Dismissal, at: float = 200.0) -> list[End]:
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
            core.revoke(Arrival(order.dismissal, at, order.is_news))
        elif isinstance(order, GoOn):
            core.go_on(order.member, NOW)
        elif isinstance(order, End):
            ended.append(order)
            core.remove(order.member, NOW)
    return ended


def page_of(epoch: str, *dismissals: Dismissal) -> Page:
    """Return all that the history of the control channel has."""
    ids = [f"{number}-0" for number in range(len(dismissals) + 1)]
    entries = [
        Entry(event_id, previous, each.envelope())
        for previous, event_id, each in zip(ids, ids[1:], dismissals, strict=False)
    ]
    return Page(epoch, ids[-1], "0-0", entries, complete=True)


def revocation(**fields: Any) -> Dismissal:
    return Dismissal(**{"subject": None, "channel": None, "reason": "x", "at": 200.0, **fields})


def order(core: Core[Member], **fields: Any) -> list[Any]:
    """Bring an order; return the streams that it ended."""
    core.deliver(CONTROL, Stamp("abcdefgh", "1-0", "0-0"), revocation(**fields).envelope())
    return [end.member for end in settle(core)]


def remember(admission: Admission, arrived_at: float = 200.0, *, is_news: bool = True, **fields: Any) -> None:
    admission.remember(Arrival(revocation(**fields), arrived_at, is_news))


def answer_to(core: Core[Member], *kept: Dismissal) -> str | None:
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
    bob = Claim("bob", issued_at=100)
    streams = [
        member(ANN),
        member(ANN, "a", "b"),
        member(bob, "b"),
        member(Claim("carl", issued_at=300)),
        member(NOBODY, "b"),
        member(NOBODY, "b", form=ENVELOPES),
    ]
    core = core_with(*streams)
    assert set(order(core, **fields, at=at)) == {streams[number] for number in ended}
    assert core.counters.dismissed == len(ended)
    assert len(core) == len(streams) - len(ended)


def test_who_was_let_in_before_an_order_and_comes_after_it_is_sent_away() -> None:
    core = core_with()
    order(core, subject="ann", reason="bye")
    body = core.refusal(member(ANN))
    assert body is not None
    assert b'data:{"reason": "bye"}' in body
    assert b"id:stream-end" in body
    assert core.refusal(member(Claim("ann", issued_at=201))) is None
    assert core.refusal(member(Claim("bob", issued_at=100))) is None


def test_orders_that_came_before_the_hub_began_hold() -> None:
    core: Core[Member] = Core(10_000, 100)
    core.directory.obey()
    assert settle(core, revocation(subject="ann")) == []
    assert core.refusal(ticket(100)) is not None
    assert core.refusal(ticket(201)) is None


def ticket(issued_at: float, *channels: str) -> Member:
    return member(Claim("ann", issued_at=issued_at, by_ticket=True), *channels)


def test_beyond_a_number_the_earliest_revocation_is_forgotten() -> None:
    admission = Admission()
    for number in range(HISTORY.size + 10):
        remember(admission, subject=f"bob-{number}", at=1e6 + number)
    assert len(list(admission.arrivals)) == HISTORY.size
    for subject, is_known in (("bob-10", True), ("bob-9", False)):
        late = member(Claim(subject, issued_at=100, by_ticket=True))
        assert (admission.verdict(late) is not None) == is_known
    assert len(admission._latest) == HISTORY.size


@pytest.mark.parametrize("at", [200.0 + 86_400, 1e9, 1e11])
def test_a_sender_whose_clock_is_ahead_makes_no_hub_forget_a_revocation(at: float) -> None:
    # 13.4
    core = core_with()
    order(core, subject="ann")
    core.deliver(CONTROL, Stamp("abcdefgh", "2-0", "1-0"), revocation(subject="bob", at=at).envelope())
    settle(core)
    assert core.refusal(ticket(199)) is not None
    assert core.refusal(member(Claim("bob", issued_at=199))) is not None
    # For no longer than a ticket lives.
    late = Claim("bob", issued_at=200 + 86_401, by_ticket=True)
    assert core.refusal(member(late)) is None


@pytest.mark.parametrize("at", ["1e999", "-1e999", "9" * 400, "-1", "NaN", "1e12"])
def test_a_revocation_of_a_time_that_no_clock_shows_is_none(at: str) -> None:
    # 13.4
    core = core_with()
    order(core, subject="ann")
    text = b'{"data": {"subject": "bob", "channel": null, "reason": "x", "at": %s}}' % at.encode()
    core.deliver(CONTROL, Stamp("abcdefgh", "2-0", "1-0"), text)
    assert core.counters.foreign_refused == 1
    settle(core)
    order(core, subject="carl")
    for subject, is_refused in (("ann", True), ("bob", False), ("carl", True)):
        late = member(Claim(subject, issued_at=199, by_ticket=True))
        assert (core.refusal(late) is not None) == is_refused


def test_of_two_revocations_the_later_one_counts_for_tickets_whichever_came_first() -> None:
    for times in ((200.0, 300.0), (300.0, 200.0)):
        admission = Admission()
        for at in times:
            remember(admission, subject="ann", channel="a", at=at)
        assert admission.verdict(ticket(250)) is not None
        assert admission.verdict(ticket(350)) is None
        assert admission.verdict(ticket(250, "b")) is None


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
    assert is_final(core.refusal(member(Claim("ann", issued_at=issued_at)))) is final


@pytest.mark.parametrize(("issued_at", "final"), [(299.9, False), (300.1, None), (401, None)])
def test_a_hub_that_begins_after_a_revocation_has_rights_of_before_checked_again(
    issued_at: float, final: bool | None
) -> None:
    """The clock of its machine may be behind, so nobody is rejected for good."""
    core: Core[Member] = Core(10_000, 100)
    core.directory.obey()
    early = member(Claim("ann", issued_at=issued_at))
    core.add(early, NOW)
    ended = settle(core, revocation(subject="ann", at=300.0), at=400.0)
    assert [is_final(end.data) for end in ended] == ([] if final is None else [final])
    assert is_final(core.refusal(member(Claim("ann", issued_at=issued_at)))) is final


# -- 13.2: the control channel has a new history -------------------------------------------------------


def test_a_gap_of_the_control_channel_is_read_from_the_beginning() -> None:
    stream = member(ANN)
    core = core_with(stream, member(Claim("bob", issued_at=100)))
    new = revocation(subject="ann")
    # As after FLUSHALL: its link leads to an event that nobody knows.
    core.deliver(CONTROL, Stamp("zzzzzzzz", "2-0", "1-0"), revocation(subject="nobody").envelope())
    assert answer_to(core, new, revocation(subject="nobody")) == "abcdefgh.0-0"
    assert any(
        isinstance(each, Complain) and "revocations may be lost" in each.reason for each in core.outbox
    )
    assert answer_to(core, new, revocation(subject="nobody")) == EARLIEST
    assert [end.member for end in settle(core)] == [stream]
    assert answer_to(core) is None


def test_a_revocation_is_carried_out_before_its_place_is_known() -> None:
    stream = member(ANN)
    core = core_with(stream)
    core.deliver(CONTROL, Stamp("zzzzzzzz", "9-0", "8-0"), revocation(subject="ann").envelope())
    (revoke,) = [each for each in core.outbox if isinstance(each, Revoke)]
    core.outbox.remove(revoke)
    core.revoke(Arrival(revoke.dismissal, 200.0, revoke.is_news))
    assert [each.member for each in core.outbox if isinstance(each, End)] == [stream]


def test_a_new_history_without_its_beginning_is_taken_as_far_as_it_is_there() -> None:
    stream = member(ANN)
    core = core_with(stream)
    core.top(CONTROL, Cursor("zzzzzzzz", "5-0"))
    assert answer_to(core) == "abcdefgh.0-0"
    (read,) = [each for each in core.outbox if isinstance(each, Read)]
    core.outbox.clear()
    entry = Entry("5-0", "4-0", revocation(subject="ann").envelope())
    core.page(read.number, Page("zzzzzzzz", "5-0", "3-0", [entry], complete=True), NOW)
    assert [end.member for end in settle(core)] == [stream]


def test_what_is_read_again_ends_no_stream_that_was_let_in_after_it() -> None:
    """A replica that lags has taken over: its history is shorter, and all of it is known."""
    core = core_with()
    old = revocation(subject="ann")
    order(core, subject="ann")
    later = member(Claim("ann", issued_at=201))
    core.add(later, NOW)
    core.top(CONTROL, Cursor("zzzzzzzz", "1-0"))
    while answer_to(core, old):
        pass
    assert settle(core) == []
    assert core.refusal(member(Claim("ann", issued_at=201))) is None


# -- 13.1: what another hub knew -----------------------------------------------------------------------


def successor_of(old: Core[Member]) -> Core[Member]:
    new: Core[Member] = Core(10_000, 100)
    new.inherit(old.positions(), old.directory.runs_told(), list(old.admission.arrivals))
    new.directory.obey()
    return new


def test_revocations_go_along_to_the_next_hub() -> None:
    core = core_with()
    order(core, subject="ann")
    new = successor_of(successor_of(core))
    assert is_final(new.refusal(ticket(199))) is True
    assert is_final(new.refusal(member(Claim("ann", issued_at=199.9)))) is True
    assert new.refusal(ticket(201)) is None
    # What was published in between is news.
    stream = member(Claim("ann", issued_at=500))
    new.add(stream, NOW)
    new.subscribed(CONTROL)
    (read,) = [each for each in new.outbox if isinstance(each, Read)]
    assert read.since == "abcdefgh.1-0"
    new.outbox.clear()
    entry = Entry("2-0", "1-0", revocation(subject="ann", at=1.0).envelope())
    new.page(read.number, Page("abcdefgh", "2-0", "1-0", [entry], complete=True), NOW)
    assert [end.member for end in settle(new)] == [stream]


def test_a_hub_that_has_not_read_the_revocations_leaves_that_to_the_next_one() -> None:
    core: Core[Member] = Core(10_000, 100)
    core.directory.obey()
    core.subscribed(CONTROL)
    (read,) = [each for each in core.outbox if isinstance(each, Read)]
    first = page_of("abcdefgh", revocation(subject="bob"))._replace(complete=False, top="9-0")
    core.page(read.number, first, NOW)
    assert core.positions() == {}


def test_a_run_that_is_over_is_over_for_the_next_hub() -> None:
    core: Core[Member] = Core(10_000, 100)
    listens = Attach(("a", "run:x"), FRAMES, StreamRules(), {"run:x": ""})
    core.add(Member(listens), NOW)
    while core.outbox:
        each = core.outbox.popleft()
        if isinstance(each, Subscribe):
            core.subscribed(each.channel)
        elif isinstance(each, Read):
            core.page(each.number, Page("abcdefgh", "1-0", "1-0", (), complete=True), NOW)
    core.deliver("run:x", Stamp("abcdefgh", "2-0", "1-0"), pack(ended("finished")))
    assert core.directory.runs_told() == {"run:x": State.OVER}
    new = successor_of(core)
    assert new.directory["run:x"].run is not None
    assert new.directory["run:x"].run.state is State.OVER


# -- 13.3: what a hub noted that has died --------------------------------------------------------------


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_broker_that_has_lost_revocations_is_noticed(is_kept: bool) -> None:
    core: Core[Member] = Core(10_000, 100)
    noted = revocation(subject="ann")
    core.revoke_again(noted, 300.0, is_expected=True)
    core.directory.obey()
    core.subscribed(CONTROL)
    (read,) = [each for each in core.outbox if isinstance(each, Read)]
    core.outbox.clear()
    core.page(read.number, page_of("abcdefgh", *([noted] if is_kept else [])), NOW)
    assert list(core.outbox) == [CheckAll(), *([] if is_kept else [WarnOfLoss(1)])]
    assert core.refusal(ticket(199)) is not None


def test_counts_go_back_to_nothing() -> None:
    core = core_with()
    streams = [member(ANN, max_streams_per_subject=2, max_streams_per_address=2) for _ in range(2)]
    for each in streams:
        core.add(each, NOW)
    late = member(ANN, max_streams_per_subject=2)
    assert core.refusal(late) is not None
    assert core.admission.refused == {
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


def core_with_three() -> tuple[Core[Member], list[Member]]:
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
    assert core.admission.refused["address"] == 0
    # Nobody waits any more, so nobody is probed.
    core.tick(NOW + 3 * TICK_SECONDS)
    assert written(core) == []


def test_where_all_are_there_it_is_rejected_in_the_end() -> None:
    core, (_, _, third) = core_with_three()
    core.tick(NOW + PROBATION_SECONDS - TICK_SECONDS)
    assert settle(core) == []
    core.tick(NOW + PROBATION_SECONDS)
    (end,) = settle(core)
    assert end.member is third
    assert end.data.startswith(b":too many streams of this address\n\nretry:")
    assert core.admission.refused["address"] == 1
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
    assert core.refusal(relayed(Claim("bob", "192.0.2.2"))) is None


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
    heir = core_with()
    moved = [
        Member(Attach(each.channels, each.form, each.rules, claim=each.claim_now(NOW))) for each in streams
    ]
    for each, old in zip(moved, streams, strict=True):
        heir.adopt(each, old.standing(NOW), NOW)
    settle(heir)
    assert len(heir) == 3
    assert core.members == set(streams)
    heir.tick(NOW + PROBATION_SECONDS)
    (end,) = settle(heir)
    assert end.member is moved[2]


def test_a_hub_that_drains_says_goodbye_to_those_that_wait() -> None:
    core, (_, _, third) = core_with_three()
    core.drain(5, NOW)
    (end,) = settle(core)
    assert end.member is third
    assert end.data.startswith(b"retry:")


def test_a_claim_goes_along_to_the_next_hub_with_the_time_that_is_left() -> None:
    claim = Claim("ann", "192.0.2.1", 60, 100, by_ticket=True)
    stream = member(claim)
    core_with(stream)
    later = NOW + 20
    left = stream.claim_now(later)
    assert left == Claim("ann", "192.0.2.1", 40, 100, by_ticket=True)

    heir: Core[Member] = Core(10_000, 100)
    moved = Member(Attach(stream.channels, stream.form, stream.rules, claim=left))
    heir.adopt(moved, stream.standing(later), 500)
    assert moved.expires_at == moved.ends_at == 540
    heir.remove(moved, 500)
    assert heir.admission._subjects == {}


@pytest.mark.parametrize(
    "claim",
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
def test_a_claim_that_no_application_makes_is_refused(claim: object) -> None:
    data = Attach(("a",), FRAMES, StreamRules(), claim=ANN).packet().encode()
    (packet,) = PacketDecoder(1000).feed(data)
    assert Attach.read(packet).claim == ANN
    packet.fields["claim"] = claim
    with pytest.raises(ProtocolError, match="claim"):
        Attach.read(packet)


def test_an_order_says_what_it_said() -> None:
    dismissal = Dismissal("ann", "a", "bye", 1.5)
    assert Dismissal.read(dismissal.envelope()) == dismissal
    assert json.loads(dismissal.envelope())["data"]["subject"] == "ann"


# -- channels, whose names come from visitors ------------------------------------------------------------


def come_and_go(core: Core[Member], stream: Member) -> None:
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
        come_and_go(core, member(NOBODY, f"made up {number}"))
    # 99 are left of them, beside the one that carries revocations.
    assert len(core.directory) == core.max_channels == 100
    others = [member(ANN, f"page {number}", "shared") for number in range(98)]
    for each in others:
        assert core.refusal(each) is None
        core.add(each, NOW)
    assert len(core.directory) == 100

    assert b"too many channels" in (core.refusal(member(NOBODY, "one more")) or b"")
    assert core.refusal(member(NOBODY, "shared")) is None
    assert core.admission.refused["channels"] == 1
    assert all(name in core.directory for each in others for name in each.channels)


def test_the_channel_that_has_been_idle_for_longest_is_given_up_first_and_none_that_is_asked_for() -> None:
    core: Core[Member] = Core(10_000, 3)
    for name in "abc":
        come_and_go(core, member(NOBODY, name))
    come_and_go(core, member(NOBODY, "a", "d"))
    assert [name for name in "abcd" if name in core.directory] == ["a", "c", "d"]
    come_and_go(core, member(NOBODY, "c", "d", "b"))
    assert [name for name in "abcd" if name in core.directory] == ["b", "c", "d"]
    assert core.refusal(member(NOBODY, *"abcd")) is not None
    assert len(core.directory) == 3


def test_a_stream_that_is_one_too_many_of_its_address_gives_no_channel_up() -> None:
    core: Core[Member] = Core(10_000, 1)
    come_and_go(core, member(NOBODY, "idle"))
    assert core.refusal(member(ANN, "new", max_streams_per_address=0)) is not None
    assert "idle" in core.directory


@pytest.mark.parametrize("what", ["address", "subject"])
def test_a_limit_of_streams_counts_the_channels_that_they_leave(what: str) -> None:
    """13.15: one stream at a time is enough to leave any number of channels for a minute."""
    core = core_with(listening := member(NOBODY, "mine 0"))
    limit: dict[str, Any] = {f"max_streams_per_{what}": 3}
    other = Claim("bob", "192.0.2.9")
    come_and_go(core, member(other, "other", **limit))
    for number in range(50):
        come_and_go(core, member(ANN, f"mine {number}", **limit))
        assert len(core.directory) <= 6

    left = [channel.name for channel in core.directory]
    assert left == [CONTROL, "mine 0", "other", "mine 47", "mine 48", "mine 49"]
    # One of them that has a stream again counts no more, and one that is left again counts as the latest.
    core.add(again := member(NOBODY, "mine 48"), NOW)
    come_and_go(core, member(ANN, "mine 50", **limit))
    core.remove(again, NOW)
    core.remove(listening, NOW)
    settle(core)
    assert {channel.name for channel in core.directory} > {
        "mine 47",
        "mine 49",
        "mine 50",
        "mine 48",
        "mine 0",
    }
    core.tick(NOW + CHANNEL_LINGER_SECONDS)
    assert [channel.name for channel in core.directory] == [CONTROL]
    assert not core.directory._idle._left_by
