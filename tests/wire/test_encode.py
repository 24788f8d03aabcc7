"""Event-stream bytes: exact for each vector, and readable again for any fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.vectors import ENCODE, EncodeVector, lines, normalised, pieces, read, texts

from flask_sse.wire.decode import Event
from flask_sse.wire.encode import HEARTBEAT, encode_comment, encode_event

quick = settings(deadline=None, max_examples=200)


def encode(fields: dict[str, Any]) -> bytes:
    if "comment" in fields:
        return encode_comment(fields["comment"])
    event_id = None if fields.get("id") is None else str(fields["id"])
    return encode_event(
        fields.get("data"), event=fields.get("event"), id=event_id, retry_ms=fields.get("retry")
    )


@pytest.mark.parametrize("vector", ENCODE, ids=lambda vector: vector.name)
def test_each_vector_has_its_exact_bytes(vector: EncodeVector) -> None:
    assert encode(vector.fields) == vector.frame


@pytest.mark.parametrize("vector", ENCODE, ids=lambda vector: vector.name)
def test_a_client_sees_each_vector_as_it_must(vector: EncodeVector) -> None:
    assert read([encode(vector.fields)])[0] == vector.client_sees


def test_no_field_is_no_bytes() -> None:
    assert encode_event() == b""


def test_the_heartbeat_is_the_empty_comment() -> None:
    assert encode_comment("") == HEARTBEAT


@quick
@given(
    data=texts,
    event=st.none() | lines,
    event_id=st.none() | lines,
    retry_ms=st.none() | st.integers(0, 10**12),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_what_is_encoded_is_read_again(
    data: str, event: str | None, event_id: str | None, retry_ms: int | None, cuts: list[int]
) -> None:
    frame = encode_event(data, event=event, id=event_id, retry_ms=retry_ms)

    events, decoder = read(pieces(frame, cuts))

    assert events == [Event(event or "message", normalised(data), event_id or "")]
    assert decoder.last_event_id == (event_id or "")
    assert decoder.retry_ms == retry_ms


@quick
@given(frames=st.lists(st.tuples(texts, lines, lines), min_size=1, max_size=6))
def test_frames_stand_behind_each_other_without_mixing(frames: list[tuple[str, str, str]]) -> None:
    stream = b"".join(encode_event(data, event=event, id=event_id) for data, event, event_id in frames)

    events, _ = read([stream])

    assert events == [
        Event(event or "message", normalised(data), event_id) for data, event, event_id in frames
    ]


@quick
@given(data=texts, event=st.none() | lines, event_id=st.none() | lines)
def test_a_frame_ends_with_its_only_blank_line(data: str, event: str | None, event_id: str | None) -> None:
    frame = encode_event(data, event=event, id=event_id)

    assert frame.endswith(b"\n\n")
    assert b"\n\n" not in frame[:-1]
    assert b"\r" not in frame


@quick
@given(text=texts, data=texts)
def test_a_comment_is_never_seen(text: str, data: str) -> None:
    comment = encode_comment(text)

    events, decoder = read([comment, encode_event(data), comment])

    assert events == [Event("message", normalised(data), "")]
    assert decoder.last_event_id == ""
    assert decoder.retry_ms is None


@pytest.mark.parametrize("data", ["a", " a", ":a", "", "\ufeffa"])
def test_a_space_follows_the_colon_only_where_the_value_begins_with_one(data: str) -> None:
    space = b" " if data.startswith(" ") else b""
    value = data.encode()

    assert encode_event(data) == b"data:" + space + value + b"\n\n"
    assert encode_event(event=data or None, id=data) == (
        (b"event:" + space + value + b"\n" if data else b"") + b"id:" + space + value + b"\n\n"
    )
