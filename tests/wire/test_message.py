"""Messages: checked once when they are made, and 1.0's contract wherever 1.0 was right."""

from __future__ import annotations

import datetime as dt
import json
import math
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.vectors import (
    ENCODE,
    REJECT,
    EncodeVector,
    RejectVector,
    normalised,
    read,
    texts,
    wild_texts,
)

from flask_sse.errors import InvalidMessageError
from flask_sse.wire.cursor import MAX_ID_BYTES, flaw_of_own_id
from flask_sse.wire.decode import Event
from flask_sse.wire.message import MAX_RETRY_MS, RESERVED_PREFIX, Message

quick = settings(deadline=None, max_examples=200)

MESSAGE_VECTORS = [vector for vector in ENCODE if "data" in vector.fields]


def message_of(fields: dict[str, Any]) -> Message:
    """Make a message of a vector's fields, where the type has the standard's name for it."""
    names = {"event": "type"}
    return Message(**{names.get(name, name): value for name, value in fields.items()})


def nested(depth: int) -> list[Any]:
    data: list[Any] = []
    for _ in range(depth):
        data = [data]
    return data


# -- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", MESSAGE_VECTORS, ids=lambda vector: vector.name)
def test_each_vector_has_its_exact_bytes_as_a_message(vector: EncodeVector) -> None:
    message = message_of(vector.fields)

    assert message.frame() == vector.frame
    assert str(message) == vector.frame.decode()
    assert read([message.frame()])[0] == vector.client_sees


# What 1.0 wrote for these, byte for byte.
BYTES_OF_1_0: list[tuple[Message, str]] = [
    (Message("foo"), "data:foo\n\n"),
    (Message("foo", type="example", id=5, retry=500), "event:example\ndata:foo\nid:5\nretry:500\n\n"),
    (Message("foo", type="", id=None, retry=None), "data:foo\n\n"),
    (Message("foo\nbar"), "data:foo\ndata:bar\n\n"),
    (Message("foo\r\nbar"), "data:foo\ndata:bar\n\n"),
    (Message("foo\rbar"), "data:foo\ndata:bar\n\n"),
    (Message("foo\n\nbar"), "data:foo\ndata:\ndata:bar\n\n"),
    (Message("\tfoo "), "data:\tfoo \n\n"),
    (Message("héllo €"), "data:héllo €\n\n"),
    (Message("a: b", type="job: done"), "event:job: done\ndata:a: b\n\n"),
    (Message("foo", id="a:b c"), "data:foo\nid:a:b c\n\n"),
    (Message("foo", retry=1), "data:foo\nretry:1\n\n"),
    (Message("[1]"), "data:[1]\n\n"),
    (Message(None), "data:null\n\n"),
    (Message(True), "data:true\n\n"),
    (Message(0), "data:0\n\n"),
    (Message(1.5), "data:1.5\n\n"),
    (Message([]), "data:[]\n\n"),
    (Message({}), "data:{}\n\n"),
    (Message(["x\ny"]), 'data:["x\\ny"]\n\n'),
    (Message({"b": 1, "a": [2, None, True, 1.5]}), 'data:{"a": [2, null, true, 1.5], "b": 1}\n\n'),
    (Message({"x": {"z": 1, "y": 2}}), 'data:{"x": {"y": 2, "z": 1}}\n\n'),
    (Message({"é": "€"}, type="t"), 'event:t\ndata:{"\\u00e9": "\\u20ac"}\n\n'),
]


@pytest.mark.parametrize(("message", "text"), BYTES_OF_1_0, ids=lambda value: str(value).strip())
def test_what_1_0_wrote_right_is_written_the_same(message: Message, text: str) -> None:
    assert str(message) == text
    assert message.frame() == text.encode()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message(""), "data:\n\n"),
        (Message("foo\n"), "data:foo\ndata:\n\n"),
        (Message(" foo"), "data:  foo\n\n"),
        (Message("a\u2028b\x85c"), "data:a\u2028b\x85c\n\n"),
        (Message("foo", id=0), "data:foo\nid:0\n\n"),
        (Message("foo", id=""), "data:foo\nid:\n\n"),
        (Message("foo", retry=0), "data:foo\nretry:0\n\n"),
    ],
    ids=lambda value: ascii(str(value)),
)
def test_what_1_0_lost_is_written(message: Message, text: str) -> None:
    assert str(message) == text


# -- what can be sent ------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", REJECT, ids=lambda vector: vector.name)
def test_each_vector_that_cannot_be_sent_is_refused(vector: RejectVector) -> None:
    with pytest.raises(InvalidMessageError):
        message_of(vector.fields)


@pytest.mark.parametrize("surrogate", ["\ud800", "x\udfff", "\udc00\ud800"])
@pytest.mark.parametrize("field", ["data", "type", "id"])
def test_a_lone_surrogate_is_refused_in_every_field(field: str, surrogate: str) -> None:
    with pytest.raises(InvalidMessageError) as refused:
        message_of({"data": "x", field: surrogate})

    assert (refused.value.field, refused.value.value) == (field, surrogate)


@pytest.mark.parametrize("break_", ["\r", "\n", "\r\n", "\0"])
@pytest.mark.parametrize("text", ["{}", "{}a", "a{}", "a{}b"])
@pytest.mark.parametrize("field", ["type", "id"])
def test_no_field_takes_what_would_forge_another(field: str, text: str, break_: str) -> None:
    with pytest.raises(InvalidMessageError, match=field):
        message_of({"data": "x", field: text.format(break_)})


@pytest.mark.parametrize("control", ["\t", "\x01", "\x1b[2J", "\x7f", "\x85", "\x9b31m"])
@pytest.mark.parametrize("field", ["type", "id"])
def test_no_field_takes_control_characters(field: str, control: str) -> None:  # 13.11
    """They reach terminals, and servers answer an id with them in a header with 400."""
    with pytest.raises(InvalidMessageError, match="control characters") as refused:
        message_of({"data": "x", field: f"job{control}seven"})

    assert refused.value.field == field


@pytest.mark.parametrize("event_id", ["stream-end", "earliest", "abcdefgh.1-0"])
def test_an_id_that_means_something_else_to_a_stream_is_reserved(event_id: str) -> None:  # 13.11
    with pytest.raises(InvalidMessageError, match="reserved"):
        Message("x", id=event_id)


@pytest.mark.parametrize(
    "event_id", ["stream-end-7", "stream-ended", "Earliest", "abcdefgh.1", "1-0", " spaced "]
)
def test_an_id_that_only_looks_reserved_is_not(event_id: str) -> None:
    assert Message("x", id=event_id).id == event_id


@pytest.mark.parametrize("field", ["type", "id", "retry"])
@pytest.mark.parametrize("value", [1.5, True, b"a", [], range(3)], ids=repr)
def test_a_field_of_a_wrong_type_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidMessageError) as refused:
        message_of({"data": "x", field: value})

    assert refused.value.field == field


@pytest.mark.parametrize("name", ["stream-", "stream-reset", "stream-x"])
def test_the_names_of_the_stream_itself_are_reserved(name: str) -> None:
    with pytest.raises(InvalidMessageError, match="reserved"):
        Message("x", type=name)


@pytest.mark.parametrize("name", ["stream", "streams-x", "Stream-x", " stream-x", "my-stream-x", "error"])
def test_names_that_only_look_reserved_are_not(name: str) -> None:
    assert Message("x", type=name).type == name


@pytest.mark.parametrize(
    "event_id", ["a" * MAX_ID_BYTES, "é" * (MAX_ID_BYTES // 2), 10 ** (MAX_ID_BYTES - 1)]
)
def test_an_id_may_have_256_bytes(event_id: str | int) -> None:
    assert Message("x", id=event_id).id == event_id


@pytest.mark.parametrize(
    "event_id",
    ["a" * (MAX_ID_BYTES + 1), "é" * (MAX_ID_BYTES // 2) + "a", 10**MAX_ID_BYTES, 10**5000],
    ids=["ascii", "utf-8", "integer", "integer too long to print"],
)
def test_an_id_of_more_than_256_bytes_is_refused(event_id: str | int) -> None:
    with pytest.raises(InvalidMessageError, match="256"):
        Message("x", id=event_id)


@pytest.mark.parametrize("retry", [-1, -(10**5000), 2**31, 10**5000], ids=["-1", "-huge", "2**31", "huge"])
def test_a_retry_out_of_all_bounds_is_refused(retry: int) -> None:
    with pytest.raises(InvalidMessageError, match="milliseconds"):
        Message("x", retry=retry)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text for this")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "data",
    [
        math.nan,
        math.inf,
        -math.inf,
        {"deep": [math.nan]},
        object(),
        b"bytes",
        {1, 2},
        dt.date(2026, 1, 1),
        {"a": 1, 2: "b"},
        {(1, 2): 3},
        CIRCLE,
        nested(100_000),
        10**5000,
        Unprintable(),
    ],
    ids=[
        *("nan", "infinity", "minus infinity", "nan inside", "object", "bytes", "set", "date"),
        *("keys of two types", "tuple as key", "circle", "deep nesting", "5000 digits", "no repr"),
    ],
)
def test_data_that_is_no_json_is_refused(data: object) -> None:
    message = Message(data)

    for encode in (message.payload, message.frame, message.__str__):
        with pytest.raises(InvalidMessageError) as refused:
            encode()
        assert refused.value.field == "data"
        assert refused.value.value is data


def test_json_text_with_a_lone_surrogate_is_refused() -> None:
    class Unescaped(Message):
        @staticmethod
        def dump_json(data: Any) -> str:
            return json.dumps(data, ensure_ascii=False)

    with pytest.raises(InvalidMessageError, match="surrogate"):
        Unescaped(["\ud800"]).frame()


def test_a_lone_surrogate_that_json_escapes_can_be_sent() -> None:
    assert Message(["\ud800"]).frame() == b'data:["\\ud800"]\n\n'


@quick
@given(
    data=wild_texts,
    event=st.none() | wild_texts,
    event_id=st.none() | wild_texts | st.integers(),
    retry=st.none() | st.integers(),
)
def test_any_fields_are_sent_as_they_are_or_refused(
    data: str, event: str | None, event_id: str | int | None, retry: int | None
) -> None:
    def is_sendable(text: str) -> bool:
        return not any("\ud800" <= character <= "\udfff" for character in text)

    def is_line(value: str | int | None) -> bool:
        text = "" if value is None else str(value)
        return is_sendable(text) and all(unicodedata.category(character) != "Cc" for character in text)

    can_be_sent = (
        is_sendable(data)
        and is_line(event)
        and not (event or "").startswith(RESERVED_PREFIX)
        and is_line(event_id)
        and not flaw_of_own_id(str(event_id or ""))
        and (retry is None or 0 <= retry <= MAX_RETRY_MS)
    )
    try:
        frame = Message(data, type=event, id=event_id, retry=retry).frame()
    except InvalidMessageError:
        assert not can_be_sent
        return

    assert can_be_sent
    events, decoder = read([frame])
    assert events == [Event(event or "message", normalised(data), "" if event_id is None else str(event_id))]
    assert decoder.retry_ms == retry


@quick
@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    ).filter(lambda data: not isinstance(data, str))
)
def test_what_is_not_a_string_arrives_as_json(data: Any) -> None:
    (event,), _ = read([Message(data).frame()])

    assert json.loads(event.data) == data


# -- 1.0's class -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (Message("foo"), {"data": "foo"}),
        (Message(None), {"data": None}),
        (Message("foo", type="example"), {"data": "foo", "type": "example"}),
        (Message("foo", type=""), {"data": "foo"}),
        (Message({"a": 1}, id=5), {"data": {"a": 1}, "id": 5}),
        (
            Message("foo", type="example", id="5", retry=500),
            {"data": "foo", "type": "example", "id": "5", "retry": 500},
        ),
        (Message("foo", id=0, retry=0), {"data": "foo", "id": 0, "retry": 0}),
        (Message("foo", id=""), {"data": "foo", "id": ""}),
    ],
    ids=repr,
)
def test_to_dict_holds_the_fields_that_are_set(message: Message, fields: dict[str, Any]) -> None:
    assert message.to_dict() == fields


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message("foo"), "Message('foo')"),
        (Message({"a": 1}), "Message({'a': 1})"),
        (Message("foo", type="example"), "Message('foo', type='example')"),
        (Message("foo", id=5), "Message('foo', id=5)"),
        (Message("foo", retry=500), "Message('foo', retry=500)"),
        (
            Message("foo", retry=500, id="5", type="example"),
            "Message('foo', type='example', id='5', retry=500)",
        ),
        (Message("foo", type="", id="", retry=0), "Message('foo', id='', retry=0)"),
    ],
    ids=lambda value: str(value).strip(),
)
def test_repr_is_the_call_that_makes_it_again(message: Message, text: str) -> None:
    assert repr(message) == text
    assert eval(text) == message


def test_repr_names_a_subclass() -> None:
    class Note(Message):
        pass

    assert repr(Note("foo", id=1)) == "Note('foo', id=1)"


def test_messages_with_the_same_fields_are_equal() -> None:
    assert Message({"a": 1}, type="t", id=5, retry=1) == Message({"a": 1}, type="t", id=5, retry=1)


@pytest.mark.parametrize(
    "other",
    [
        Message("bar", type="t", id=5, retry=1),
        Message("foo", type="u", id=5, retry=1),
        Message("foo", type="t", id=6, retry=1),
        Message("foo", type="t", id="5", retry=1),
        Message("foo", type="t", id=5, retry=2),
        Message("foo", type="t", id=5),
        Message("foo"),
        "foo",
        {"data": "foo", "type": "t", "id": 5, "retry": 1},
        None,
    ],
    ids=repr,
)
def test_a_message_with_another_field_is_another(other: object) -> None:
    assert Message("foo", type="t", id=5, retry=1) != other


@pytest.mark.parametrize(("unset", "set_"), [(None, 0), (None, "")])
def test_an_id_that_is_false_is_still_an_id(unset: None, set_: str | int) -> None:
    assert Message("foo", id=unset) != Message("foo", id=set_)


def test_a_message_cannot_be_hashed_because_its_data_may_change() -> None:
    with pytest.raises(TypeError):
        hash(Message("foo"))


def test_fields_are_given_by_position_as_in_1_0() -> None:
    message = Message("foo", "example", 5, 500)

    assert (message.data, message.type, message.id, message.retry) == ("foo", "example", 5, 500)
