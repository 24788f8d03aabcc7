"""Subscriber: limits, grants and snapshots of one stream, and what a group writes of an event."""

from __future__ import annotations

import pytest
from tests.support.core_grants import ANN, NOW, relayed, subscriber

from flask_sse.hub.core.subscriber import Group, Subscriber
from flask_sse.hub.protocol.block import BlockDecoder
from flask_sse.hub.protocol.grant import ANONYMOUS, Grant
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.cursor import EARLIEST, Cursor
from flask_sse.wire.envelope import pack
from flask_sse.wire.frame import Frame
from flask_sse.wire.keyed_chunks import pieces_of
from flask_sse.wire.message import Message

CURSORS = {"a": Cursor("abcdefgh", "1-0"), "b": Cursor("abcdefgh", "2-0")}
ENVELOPE = pack(Message("hello"))
FRAME = Frame.of_envelope(ENVELOPE)


def test_only_the_limits_of_named_owners_count() -> None:
    assert subscriber(ANN, max_streams_per_address=2).limits == {("address", "192.0.2.1"): 2}
    assert subscriber(ANN, max_streams_per_subject=3).limits == {("subject", "ann"): 3}
    assert subscriber(ANONYMOUS, max_streams_per_subject=3, max_streams_per_address=2).limits == {}


def test_a_stream_whose_head_the_web_server_wrote_is_relayed() -> None:
    assert relayed().is_relayed
    assert not subscriber().is_relayed
    assert not subscriber(mode=ENVELOPES, head=b"").is_relayed


def test_a_stream_of_envelopes_has_no_position_to_resume() -> None:
    since = {"a": EARLIEST}
    frames = Subscriber(StreamRequest(("a",), FRAMES, StreamRules(), since))
    envelopes = Subscriber(StreamRequest(("a",), ENVELOPES, StreamRules(), since))

    assert frames.resume is not None
    assert envelopes.resume is None
    assert envelopes.history_channels == ("a",)


def test_a_grant_shrinks_with_the_time_that_has_passed() -> None:
    stream = subscriber(Grant("ann", ends_in=60.0))
    stream.begin_age(NOW)

    assert stream.ends_at == stream.expires_at == NOW + 60
    assert stream.grant_now(NOW + 45).ends_in == pytest.approx(15)


def test_a_snapshot_restores_the_times_of_a_stream_on_another_clock() -> None:
    stream = subscriber()
    stream.begin_age(NOW)
    stream.has_begun, stream.pace, stream.ends_at = True, 12.0, NOW + 100
    successor = subscriber()
    successor.begin_age(500.0)
    successor.restore(stream.subscriber_snapshot(NOW + 10), 500.0)

    assert successor.has_begun
    assert successor.pace == 12.0
    assert successor.written_at == pytest.approx(500 - 10)
    assert successor.ends_at == pytest.approx(500 + 90)


def test_an_event_of_a_group_names_the_positions_of_all_its_channels_with_history() -> None:
    group: Group[Subscriber] = Group((FRAMES, ("a", "b", "c"), ("a", "b")), CURSORS)

    assert group.encode(ENVELOPE, FRAME).endswith(b"id:abcdefgh.1-0,abcdefgh.2-0\n\n")
    assert group.last_event_id == "abcdefgh.1-0,abcdefgh.2-0"


def test_an_event_of_a_group_without_history_has_no_id() -> None:
    group: Group[Subscriber] = Group((FRAMES, ("a",), ()), {})

    assert group.encode(ENVELOPE, FRAME) == b"data:hello\n\n"


def test_a_group_of_envelopes_gets_blocks() -> None:
    group: Group[Subscriber] = Group((ENVELOPES, ("a",), ()), {})

    assert list(BlockDecoder().feed(group.encode(ENVELOPE, FRAME))) == [ENVELOPE]


def test_an_event_with_a_collapse_key_is_written_with_its_key() -> None:
    group: Group[Subscriber] = Group((FRAMES, ("a",), ()), {})
    frame = Frame.of_envelope(ENVELOPE)
    frame.collapse = "price"

    assert [key for _, key in pieces_of(group.encode(ENVELOPE, frame))] == ["price"]
