"""Envelopes: what 1.0 publishes is understood, 1.0 understands ours, and nothing hostile gets through."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import flask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.vectors import texts

from flask_sse.errors import InvalidMessageError
from flask_sse.wire.cursor import MAX_MS, Stamp, flaw_of_own_id
from flask_sse.wire.envelope import checked_json, pack, split_stamp, unpack
from flask_sse.wire.message import Message

quick = settings(deadline=None, max_examples=200)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=10)
own_ids = names.filter(lambda text: flaw_of_own_id(text) is None)
messages = st.builds(
    Message,
    json_values,
    type=st.none() | names.filter(lambda name: not name.startswith("stream-")),
    id=st.none() | own_ids | st.integers(-(10**20), 10**20),
    retry=st.none() | st.integers(0, 10**9),
)


@dataclass
class OldMessage:
    """What 1.0 makes of an envelope: exactly these four names, all but the first optional."""

    data: Any
    type: str | None = None
    id: str | int | None = None
    retry: int | None = None


def read_by_1_0(envelope: bytes) -> OldMessage:
    return OldMessage(**json.loads(envelope))


def written_by_1_0(fields: dict[str, Any]) -> bytes:
    app = flask.Flask(__name__)
    with app.app_context():
        return flask.json.dumps(fields).encode()


# -- both ways with 1.0 ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("envelope", "message"),
    [
        (b'{"data": "foo"}', Message("foo")),
        (b'{"data": null}', Message(None)),
        (b'{"data": {"a": [2, null, true, 1.5], "b": 1}}', Message({"b": 1, "a": [2, None, True, 1.5]})),
        (b'{"data": "h\\u00e9llo \\u20ac \\ud83e\\uddea"}', Message("héllo € \U0001f9ea")),
        (b'{"data": "a\\nb\\u0000"}', Message("a\nb\0")),
        (
            b'{"data": "foo", "id": 5, "retry": 500, "type": "example"}',
            Message("foo", type="example", id=5, retry=500),
        ),
        (b'{"data": {"x": "}, {"}, "id": "a:b"}', Message({"x": "}, {"}, id="a:b")),
    ],
    ids=repr,
)
def test_what_1_0_publishes_is_understood(envelope: bytes, message: Message) -> None:
    assert unpack(envelope) == message
    assert unpack(envelope).frame() == message.frame()


@quick
@given(message=messages)
def test_whatever_1_0_publishes_is_understood(message: Message) -> None:
    read = unpack(written_by_1_0(message.to_dict()))

    assert read == message
    assert read.frame() == message.frame()


@quick
@given(message=messages)
def test_1_0_understands_what_is_packed(message: Message) -> None:
    old = read_by_1_0(pack(message))

    assert (old.data, old.type, old.id, old.retry) == (
        message.data,
        message.type or None,
        message.id,
        message.retry,
    )


@pytest.mark.parametrize("message", [Message("x"), Message({}), Message("x", "t", 0, 0), Message(1, id="")])
def test_an_envelope_has_no_key_that_1_0_does_not_know(message: Message) -> None:
    assert json.loads(pack(message)) == message.to_dict()


@quick
@given(message=messages)
def test_what_is_packed_is_unpacked_as_it_was(message: Message) -> None:
    read = unpack(pack(message))

    assert read == message
    assert read.frame() == message.frame()
    assert pack(read) == pack(message)


# -- the stamp of a broker ---------------------------------------------------------------------------


def stamped(envelope: bytes, stamp: Stamp) -> bytes:
    """Write as the script ``publish`` of Redis does."""
    return f'{{"data": "{stamp.cursor} {stamp.previous}", '.encode() + envelope[1:]


event_ids = st.builds("{}-{}".format, st.integers(0, MAX_MS), st.integers(0, 2**63 - 1))
epochs = st.text("abcdefghijklmnopqrstuvwxyz", min_size=8, max_size=8)
stamps = st.builds(Stamp, epochs, event_ids, event_ids)
STAMP = Stamp("abcdefgh", "2-0", "1-0")


@quick
@given(message=messages, stamp=stamps)
def test_a_stamp_comes_off_again_and_leaves_the_envelope_as_it_was(message: Message, stamp: Stamp) -> None:
    envelope = pack(message)

    assert split_stamp(stamped(envelope, stamp)) == (stamp, envelope)


@quick
@given(message=messages, stamp=stamps)
def test_1_0_reads_an_envelope_with_a_stamp_as_one_without(message: Message, stamp: Stamp) -> None:
    envelope = pack(message)

    assert read_by_1_0(stamped(envelope, stamp)) == read_by_1_0(envelope)


# Texts that try to look like a stamp.
forgeries = st.lists(
    st.sampled_from(
        [
            "abcdefgh.2-0 1-0",
            '", "data": ',
            '"data": ',
            '{"data": "',
            '{"data": "abcdefgh.2-0 1-0", "data": ',
            '"',
            "\\",
            "\\u0022",
            ", ",
            "{",
            "}",
        ]
    ),
    max_size=6,
).map("".join)


@quick
@given(
    data=forgeries | st.dictionaries(forgeries, forgeries, max_size=3) | st.lists(forgeries, max_size=2),
    event_type=st.none() | forgeries,
    event_id=st.none() | forgeries,
)
def test_what_is_published_cannot_forge_a_stamp(
    data: Any, event_type: str | None, event_id: str | None
) -> None:
    envelope = pack(Message(data, type=event_type, id=event_id))

    assert split_stamp(envelope) == (None, envelope)
    assert split_stamp(stamped(envelope, STAMP)) == (STAMP, envelope)


@quick
@given(message=messages)
def test_what_1_0_publishes_has_no_stamp(message: Message) -> None:
    envelope = written_by_1_0(message.to_dict())

    assert split_stamp(envelope) == (None, envelope)


NO_STAMPS = {
    "nothing": b"",
    "data once": b'{"data": "abcdefgh.2-0 1-0"}',
    "data once, and a type": b'{"data": "abcdefgh.2-0 1-0", "type": "t"}',
    "no data behind": b'{"data": "abcdefgh.2-0 1-0", "id": 1, "data": "x"}',
    "other spaces": b'{"data":"abcdefgh.2-0 1-0","data":"x"}',
    "space first": b' {"data": "abcdefgh.2-0 1-0", "data": "x"}',
    "no cursor": b'{"data": "abcdefgh 1-0", "data": "x"}',
    "no id before": b'{"data": "abcdefgh.2-0 ", "data": "x"}',
    "no id before at all": b'{"data": "abcdefgh.2-0", "data": "x"}',
    "leading zero": b'{"data": "abcdefgh.02-0 1-0", "data": "x"}',
    "short epoch": b'{"data": "abcdefg.2-0 1-0", "data": "x"}',
    "digits of other scripts": '{"data": "abcdefgh.٢-0 1-0", "data": "x"}'.encode(),
    "thousands of digits": b'{"data": "abcdefgh.%b-0 1-0", "data": "x"}' % (b"9" * 5000),
    "a time that no date of a page can be": b'{"data": "abcdefgh.%d-0 1-0", "data": "x"}' % (MAX_MS + 1),
    "a counter that no broker has": b'{"data": "abcdefgh.2-%d 1-0", "data": "x"}' % 2**63,
}


@pytest.mark.parametrize("carried", NO_STAMPS.values(), ids=NO_STAMPS.keys())
def test_what_only_looks_like_a_stamp_stays_in_the_envelope(carried: bytes) -> None:
    assert split_stamp(carried) == (None, carried)


def test_a_stamp_behind_a_stamp_is_no_event() -> None:
    """Somebody else wrote it; a second data key is refused as ever."""
    stamp, envelope = split_stamp(stamped(stamped(pack(Message("x")), STAMP), STAMP))

    assert stamp == STAMP
    with pytest.raises(InvalidMessageError):
        unpack(envelope)


@quick
@given(
    carried=st.binary(max_size=60) | st.binary(max_size=20).map(lambda tail: b'{"data": "abcdefgh.' + tail)
)
def test_arbitrary_bytes_are_parted_without_an_error(carried: bytes) -> None:
    split_stamp(carried)


# -- the text of the data --------------------------------------------------------------------------

# As the JSON provider of an application may write it.
TEXTS = [
    '{"b":1,"a":2}',
    '{"b": 1.10, "a": 1e2, "c": 1E400, "d": -0.0, "e": 100000000000000000000001}',
    '{"text": "\\u00e9 é \\/ \\ud83e\\uddea"}',
    '{\n  "a": [\n    1\n  ]\n}',
    "[1 , 2]",
    '{"a": 1, "a": 2}',
    "1.0",
    "null",
    "false",
    '["}", "\\"}", ", \\"type\\": \\"forged\\""]',
]


class Written(Message):
    """A message of an application whose JSON provider has its own mind."""

    @staticmethod
    def dump_json(data: Any) -> str:
        return str(data["text"])


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_of_the_json_provider_is_kept_as_it_was_written(text: str) -> None:
    message = Written({"text": text}, type="t", id="5")

    read = unpack(pack(message))

    assert read.payload() == text
    assert read.frame() == message.frame()
    assert read.data == json.loads(text)


@pytest.mark.parametrize("space", ["", " ", "\n\t "])
@pytest.mark.parametrize("text", TEXTS)
def test_the_text_is_kept_whoever_wrote_the_envelope(text: str, space: str) -> None:
    envelope = f'{{"data":{space}{text}{space},{space}"type":{space}"t"}}'

    assert unpack(envelope.encode()).payload() == text


layouts = st.fixed_dictionaries(
    {
        "indent": st.none() | st.integers(0, 2),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",\t", ":\r\n  ")]),
        "ensure_ascii": st.booleans(),
    }
)


@quick
@given(
    message=messages,
    order=st.permutations(["data", "type", "id", "retry"]),
    layout=layouts,
    space=st.sampled_from(["", " ", "\n"]),
)
def test_an_envelope_in_any_layout_is_understood(
    message: Message, order: list[str], layout: dict[str, Any], space: str
) -> None:
    fields = message.to_dict()
    text = json.dumps({name: fields[name] for name in order if name in fields}, **layout)

    read = unpack(f"{space}{text}{space}".encode())

    assert read == message
    payload = read.payload()
    assert message.data == (payload if isinstance(message.data, str) else json.loads(payload))


@pytest.mark.parametrize("space", ["", " ", "\n\t\r "])
@pytest.mark.parametrize("text", TEXTS)
def test_one_json_value_is_checked_and_kept_without_the_space_around_it(text: str, space: str) -> None:
    assert checked_json(f"{space}{text}{space}") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "NaN",
        "[-Infinity]",
        "1 2",
        "1,",
        '1, "type": "forged"',
        '{"a": 1}}',
        "\xa01",
        "'a'",
        "[1",
    ],
)
def test_what_is_not_one_json_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        checked_json(text)


@pytest.mark.parametrize("name", ["type", "id", "retry"])
def test_a_key_that_is_null_is_not_set(name: str) -> None:
    assert unpack(f'{{"data": 1, "{name}": null}}'.encode()) == Message(1)


# -- hostile ---------------------------------------------------------------------------------------

HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "space": b" ",
    "no JSON": b"hello",
    "half of it": b'{"data": "foo"',
    "half of the data": b'{"data": {"a": 1',
    "half of a key": b'{"data": 1, "ty',
    "two of them": b'{"data": 1}{"data": 2}',
    "more behind it": b'{"data": 1} x',
    "comma too many": b'{"data": 1,}',
    "comma too many at first": b'{,"data": 1}',
    "comma missing": b'{"data": 1 "type": "t"}',
    "comma missing, no space": b'{"data": 1"type": "t"}',
    "colon missing": b'{"data" 1}',
    "single quotes": b"{'data': 1}",
    "key without quotes": b'{data: 1, "data": 2}',
    "key that is a list": b'{"data": 1, ["type"]: "t"}',
    "key that is a number": b'{"data": 1, 5: "t"}',
    "space that JSON does not know": b'{\x0b"data": 1}',
    "space that JSON does not know at first": b'\x1c{"data": 1}',
    "space that JSON does not know behind the data": b'{"data": 1\x1f, "type": "t"}',
    "space beyond ASCII": '{"data":\u00a01}'.encode(),
    "comment": b'{"data": 1 /* one */}',
    "line feed in a string": b'{"data": "a\nb"}',
    "NUL in a string": b'{"data": "a\0b"}',
    "number that is none": b'{"data": 01}',
    "NaN": b'{"data": NaN}',
    "NaN at the end": b'{"type": "t", "data": NaN}',
    "NaN inside": b'{"data": [NaN]}',
    "infinity": b'{"data": Infinity}',
    "minus infinity": b'{"data": -Infinity}',
    "NaN as id": b'{"data": 1, "id": NaN}',
    "list": b"[]",
    "list of pairs": b'[["data", 1]]',
    "string": b'"data"',
    "number": b"1",
    "null": b"null",
    "empty": b"{}",
    "no data": b'{"type": "t"}',
    "extra key": b'{"data": 1, "channel": "c"}',
    "extra key first": b'{"channel": "c", "data": 1}',
    "key in capitals": b'{"Data": 1}',
    "empty key": b'{"data": 1, "": 1}',
    "data twice": b'{"data": 1, "data": 2}',
    "data twice, no space": b'{"data":1,"data":2}',
    "data twice, in between": b'{"data":1,"type":"t","data":2}',
    "type twice": b'{"data": 1, "type": "a", "type": "b"}',
    "type twice, no space": b'{"type":"a","data":1,"type":"b"}',
    "data twice, once escaped": b'{"data": 1, "d\\u0061ta": 2}',
    "type with LF": b'{"data": 1, "type": "a\\nid: 9"}',
    "type with CR": b'{"data": 1, "type": "a\\rid: 9"}',
    "type with NUL": b'{"data": 1, "type": "a\\u0000"}',
    "type of the stream": b'{"data": 1, "type": "stream-reset"}',
    "type that is a number": b'{"data": 1, "type": 1}',
    "type that is a list": b'{"data": 1, "type": ["t"]}',
    "type that is false": b'{"data": 1, "type": false}',
    "id with LF": b'{"data": 1, "id": "1\\n\\ndata: forged"}',
    "id with NUL": b'{"data": 1, "id": "\\u0000"}',
    "id too long": b'{"data": 1, "id": "' + b"a" * 257 + b'"}',
    "id that is a fraction": b'{"data": 1, "id": 1.0}',
    "id that is true": b'{"data": 1, "id": true}',
    "id that is an object": b'{"data": 1, "id": {}}',
    "retry that is a string": b'{"data": 1, "retry": "1000"}',
    "retry that is a fraction": b'{"data": 1, "retry": 1e3}',
    "retry that is true": b'{"data": 1, "retry": true}',
    "retry below zero": b'{"data": 1, "retry": -1}',
    "retry of 4000 digits": b'{"data": 1, "retry": ' + b"9" * 4000 + b"}",
    "retry of 5000 digits": b'{"data": 1, "retry": ' + b"9" * 5000 + b"}",
    "id of 4000 digits": b'{"data": 1, "id": ' + b"9" * 4000 + b"}",
    "id of 5000 digits": b'{"data": 1, "id": ' + b"9" * 5000 + b"}",
    "data of 5000 digits": b'{"data": ' + b"9" * 5000 + b"}",
    "data of 5000 digits inside": b'{"data":[' + b"9" * 5000 + b"]}",
    "lone surrogate in data": b'{"data": "\\ud800"}',
    "lone surrogate in type": b'{"data": 1, "type": "\\udfff"}',
    "lone surrogate in id": b'{"data": 1, "id": "\\ud800"}',
    "lone surrogate as a key": b'{"data": 1, "\\ud800": 1}',
    "no UTF-8": b'{"data": "\xff"}',
    "half a character": b'{"data": "\xe2\x82',
    "surrogate in UTF-8": b'{"data": "\xed\xa0\x80"}',
    "UTF-16": '{"data": 1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"data": 1}',
    "pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01x\x94.",
    "NUL": b"\0" * 100,
}


@pytest.mark.parametrize("envelope", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_envelope_is_refused(envelope: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        unpack(envelope)


def events_of(envelope: bytes) -> int:
    """Return how many events come out, 0 or 1; only one kind of error may come instead."""
    try:
        message = unpack(envelope)
        message.frame()
        pack(message)
    except InvalidMessageError:
        return 0
    return 1


def deepest_nesting() -> int:
    """Return how many lists inside each other Python's JSON can read, called from here."""
    readable, refused = 1, 1_000_000
    while refused - readable > 1:
        depth = (readable + refused) // 2
        try:
            json.loads("[" * depth + "]" * depth)
            readable = depth
        except RecursionError:
            refused = depth
    return readable


@pytest.mark.parametrize("opening", [b"[", b'{"a":'], ids=["lists", "objects"])
@pytest.mark.parametrize(
    "envelope",
    [b'{"data": %b}', b'{"data":%b}', b'{"type": "t", "data": %b}', b'{"data": 1, "x": %b}', b"%b"],
)
def test_nesting_of_any_depth_is_an_event_or_refused(envelope: bytes, opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    # At one depth close to the limit reading still works, and writing or showing it no more.
    edge = deepest_nesting()
    for depth in (1, *range(edge - 80, edge + 20), 500_000):
        events_of(envelope % (opening * depth + b"1" + closing * depth))


@settings(deadline=None, max_examples=300)
@given(envelope=st.binary(max_size=100))
def test_arbitrary_bytes_are_refused(envelope: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        unpack(envelope)


def one_of_each_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key twice")
    return fields


@settings(deadline=None, max_examples=600)
@given(
    envelope=st.sampled_from(
        [
            b'{"data": [1, {"a": "x"}], "type": "t", "id": 5, "retry": 10}',
            b'{"data":"x","type":"t"}',
            b'{"data": {"a": null}}',
            b'{"id": "5", "data": true}',
        ]
    ),
    at=st.integers(0, 70),
    length=st.integers(0, 3),
    insert=st.sampled_from([*b'{}[]:,"\\ \n019-.eEtn\0\xff']).map(lambda number: bytes([number]))
    | st.just(b""),
)
def test_what_is_understood_is_json_that_says_so(
    envelope: bytes, at: int, length: int, insert: bytes
) -> None:
    damaged = envelope[:at] + insert + envelope[at + length :]
    try:
        message = unpack(damaged)
    except InvalidMessageError:
        return

    fields = json.loads(damaged, object_pairs_hook=one_of_each_key)
    assert fields.keys() <= {"data", "type", "id", "retry"}
    assert Message(**fields) == message
