"""Admission: counting, limits and probation, without sockets."""

from __future__ import annotations

import json
import random

import pytest
from tests.support.core_grants import (
    ANN,
    NOW,
    core_with,
    order,
    relayed,
    settle,
    subscriber,
    written,
)

from flask_sse.errors import ProtocolError
from flask_sse.hub.core.admission import PROBATION_SECONDS
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.protocol.grant import Grant
from flask_sse.hub.protocol.packet import PacketDecoder
from flask_sse.hub.protocol.revocation import Revocation
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.encode import HEARTBEAT


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
