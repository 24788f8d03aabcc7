"""Claims in the hub: counting, ending and handing over, without sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flask_sse.brokers.base import Page
from flask_sse.errors import ProtocolError
from flask_sse.hub.admission import Admission
from flask_sse.hub.claim import NOBODY, Claim
from flask_sse.hub.control import ENVELOPES, FRAMES, Attach, PacketDecoder
from flask_sse.hub.core import Core
from flask_sse.hub.directory import CHANNEL_LINGER_SECONDS
from flask_sse.hub.dismissal import HISTORY, REMEMBERED_SECONDS, Dismissal
from flask_sse.hub.group import Member
from flask_sse.hub.orders import Complain, End, Read, Subscribe
from flask_sse.settings import StreamRules
from flask_sse.wire.cursor import EARLIEST, Stamp

CONTROL = "flask-sse:control"
ANN = Claim("ann", "192.0.2.1", issued_at=100)
NOW = 1000.0


def member(claim: Claim = NOBODY, *channels: str, form: str = FRAMES, **rules: int) -> Member:
    """Return a stream that has just come."""
    return Member(Attach(channels or ("a",), form, StreamRules(**rules), claim=claim))  # type: ignore[arg-type]


def core_with(*members: Member) -> Core[Member]:
    """Return a core whose channels are confirmed, with streams in it."""
    core: Core[Member] = Core(10_000, 100)
    core.directory.obey()
    for each in members:
        assert core.refusal(each) is None
        core.add(each, NOW)
    settle(core)
    return core


def settle(core: Core[Member]) -> list[End]:
    """Do what a server and a broker with an empty history do; return whose streams ended."""
    ended = []
    while core.outbox:
        order = core.outbox.popleft()
        if isinstance(order, Subscribe):
            core.subscribed(order.channel, NOW)
        elif isinstance(order, Read):
            assert (order.channel, order.since) == (CONTROL, EARLIEST)
            core.page(order.number, Page("abcdefgh", "0-0", "0-0", (), complete=True), NOW)
        elif isinstance(order, End):
            ended.append(order)
            core.remove(order.member, NOW)
    return ended


def order(core: Core[Member], **fields: Any) -> list[Any]:
    """Bring an order; return the streams that it ended."""
    dismissal = Dismissal(**{"subject": None, "channel": None, "reason": "x", "at": 200.0, **fields})
    core.deliver(CONTROL, Stamp("abcdefgh", "1-0", "0-0"), dismissal.envelope())
    return [end.member for end in settle(core)]


@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({"subject": "ann"}, [0, 1]),
        ({"subject": "ann", "channel": "b"}, [1]),
        ({"channel": "b"}, [1, 2]),
        ({"subject": "nobody"}, []),
        ({"subject": "ann", "at": 99.0}, []),
    ],
)
def test_an_order_ends_what_it_names_and_was_let_in_before(
    fields: dict[str, object], ended: list[int]
) -> None:
    bob = Claim("bob", issued_at=100)
    streams = [
        member(ANN),
        member(ANN, "a", "b"),
        member(bob, "b"),
        member(Claim("ann", issued_at=300)),
        member(NOBODY, "b"),
        member(NOBODY, "b", form=ENVELOPES),
    ]
    core = core_with(*streams)
    assert set(order(core, **fields)) == {streams[number] for number in ended}
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
    assert settle(core) == []
    read = Dismissal("ann", None, "bye", 200.0).envelope()
    core.deliver(CONTROL, Stamp("abcdefgh", "1-0", "0-0"), read)
    assert core.refusal(member(ANN)) is not None


def test_orders_are_forgotten_when_no_right_is_as_old() -> None:
    admission = Admission()
    admission.remember(Dismissal("ann", None, "", 200.0))
    admission.remember(Dismissal("bob", None, "", 200.0 + REMEMBERED_SECONDS + 1))
    assert admission.dismissal_of(member(ANN)) is None
    for number in range(HISTORY.size + 10):
        admission.remember(Dismissal(f"bob-{number}", None, "", 1e6 + number))
    assert len(admission._dismissals) == HISTORY.size
    assert admission.dismissal_of(member(Claim("bob-10", issued_at=100))) is not None
    assert admission.dismissal_of(member(Claim("bob-9", issued_at=100))) is None


def test_of_two_orders_the_later_one_counts_whichever_came_first() -> None:
    for times in ((200.0, 300.0), (300.0, 200.0)):
        admission = Admission()
        for at in times:
            admission.remember(Dismissal("ann", "a", "", at))
        assert admission.dismissal_of(member(Claim("ann", issued_at=250))) is not None
        assert admission.dismissal_of(member(Claim("ann", issued_at=350))) is None
        assert admission.dismissal_of(member(Claim("ann", issued_at=250), "b")) is None


def test_a_gap_of_orders_is_said() -> None:
    core = core_with()
    core.deliver(CONTROL, Stamp("zzzzzzzz", "9-0", "8-0"), b"x")
    (read,) = [each for each in core.outbox if isinstance(each, Read)]
    core.outbox.clear()
    core.page(read.number, Page("zzzzzzzz", "9-0", None, (), complete=True), NOW)
    assert any(isinstance(each, Complain) and "orders may be lost" in each.reason for each in core.outbox)


def test_counts_go_back_to_nothing() -> None:
    core = core_with()
    streams = [member(ANN, max_streams_per_subject=2, max_streams_per_address=2) for _ in range(2)]
    for each in streams:
        core.add(each, NOW)
    late = member(ANN, max_streams_per_subject=2)
    assert core.refusal(late) is not None
    assert core.admission.refused == {"subject": 1, "address": 0, "channels": 0, "stream_channels": 0}
    for each in streams:
        core.remove(each, NOW)
    assert core.refusal(late) is None
    assert (core.admission._subjects, core.admission._addresses) == ({}, {})


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
