"""Frames: one encoding of an event, and the position of each stream behind it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.vectors import lines, normalised, pieces, read, texts

from flask_sse.errors import InvalidMessageError
from flask_sse.wire.cursor import flaw_of_own_id
from flask_sse.wire.decode import Event
from flask_sse.wire.envelope import unpack
from flask_sse.wire.frame import Frame
from flask_sse.wire.message import Message

CURSOR = "abcdefgh.1700000000000-0"


@pytest.mark.parametrize(
    ("message", "behind"),
    [
        (Message("x"), b"data:x\nid:c\n\n"),
        (Message("x", type="t"), b"event:t\ndata:x\nid:c\n\n"),
        (Message("x", retry=0), b"data:x\nid:c\nretry:0\n\n"),
        (Message("a\nb", type="t", retry=5), b"event:t\ndata:a\ndata:b\nid:c\nretry:5\n\n"),
        (Message(""), b"data:\nid:c\n\n"),
        (Message("\n"), b"data:\ndata:\nid:c\n\n"),
        (Message(None), b"data:null\nid:c\n\n"),
        (Message("x", id="order-7"), b"data:x\nid:order-7\n\nid:c\n\n"),
        (Message("x", id=0, retry=5), b"data:x\nid:0\nretry:5\n\nid:c\n\n"),
        (Message("x", id=" 4"), b"data:x\nid:  4\n\nid:c\n\n"),
        (Message("x", id=""), b"data:x\nid:\n\nid:c\n\n"),
    ],
    ids=repr,
)
def test_the_bytes_behind_a_position_are_these(message: Message, behind: bytes) -> None:
    frame = Frame.of_message(message)

    assert frame.behind("c") == behind
    assert frame.plain == message.frame()
    assert len(frame) == len(message.frame())


@pytest.mark.parametrize("type", ["stream-reset", "stream-", "a\nb"])
def test_no_envelope_forges_what_is_reserved(type: str) -> None:  # noqa: A002 - the field's name
    for data in ("x", '"x"', "é"):
        with pytest.raises(InvalidMessageError):
            Frame.of_envelope(json.dumps({"data": data, "type": type}).encode())


plain_texts = st.text(st.characters(min_codepoint=32, max_codepoint=127), max_size=40)
envelopes = st.one_of(
    st.builds(lambda data: json.dumps({"data": data}), plain_texts),
    st.builds(lambda data, kind: json.dumps({"data": data, "type": kind}), plain_texts, plain_texts),
    # Not as a JSON writer has it: what is between the quotes may be anything.
    st.builds('{{"data": "{}", "type": "{}"}}'.format, plain_texts, plain_texts),
    st.builds('{{"data": "{}"{}}}'.format, texts, plain_texts),
).map(str.encode)


@settings(deadline=None, max_examples=500)
@given(envelope=envelopes)
def test_what_is_copied_as_it_is_has_the_bytes_of_what_is_read_and_written_again(envelope: bytes) -> None:
    try:
        message = unpack(envelope)
    except InvalidMessageError:
        with pytest.raises(InvalidMessageError):
            Frame.of_envelope(envelope)
        return
    frame = Frame.of_envelope(envelope)
    assert (frame.plain, frame.behind(CURSOR)) == (message.frame(), Frame.of_message(message).behind(CURSOR))


own_ids = lines.filter(lambda text: flaw_of_own_id(text) is None)
messages = st.builds(
    Message,
    texts,
    type=st.none() | lines.filter(lambda name: not name.startswith("stream-")),
    id=st.none() | own_ids | st.integers(-(10**20), 10**20),
    retry=st.none() | st.integers(0, 10**9),
)


@settings(deadline=None, max_examples=300)
@given(message=messages, cuts=st.lists(st.integers(0, 200), max_size=12))
def test_a_page_sees_the_event_and_comes_back_with_the_position(message: Message, cuts: list[int]) -> None:
    events, decoder = read(pieces(Frame.of_message(message).behind(CURSOR), cuts))

    seen_id = CURSOR if message.id is None else str(message.id)
    assert events == [Event(message.type or "message", normalised(message.data), seen_id)]
    assert decoder.last_event_id == CURSOR
    assert decoder.retry_ms == message.retry


@settings(deadline=None, max_examples=100)
@given(story=st.lists(messages, min_size=1, max_size=5))
def test_one_event_leaves_nothing_behind_for_the_next(story: list[Message]) -> None:
    cursors = [f"abcdefgh.{number}-0" for number in range(len(story))]
    frames = map(Frame.of_message, story)
    stream = b"".join(frame.behind(cursor) for frame, cursor in zip(frames, cursors, strict=True))

    events, decoder = read([stream])

    assert events == [
        Event(
            message.type or "message",
            normalised(message.data),
            cursor if message.id is None else str(message.id),
        )
        for message, cursor in zip(story, cursors, strict=True)
    ]
    assert decoder.last_event_id == cursors[-1]


@settings(deadline=None, max_examples=100)
@given(message=messages)
def test_an_event_without_a_place_is_as_it_was_published_and_keeps_the_position(message: Message) -> None:
    _, decoder = read([Frame.of_message(Message("before")).behind(CURSOR), Frame.of_message(message).plain])

    assert decoder.last_event_id == (CURSOR if message.id is None else str(message.id))
