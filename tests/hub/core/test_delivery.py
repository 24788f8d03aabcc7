"""Delivery: which streams get an event, and as which bytes."""

from __future__ import annotations

import pytest
from tests.support.core_readers import (
    MAX_EVENT_BYTES,
    Hub,
    Reader,
)

from flask_sse.hub.protocol.block import BlockDecoder
from flask_sse.hub.protocol.packet import max_body_bytes
from flask_sse.hub.protocol.stream_request import ENVELOPES
from flask_sse.wire.decode import Decoder, Event

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
