"""Control packets: they survive every cut, and nothing wrong is understood."""

from __future__ import annotations

import itertools
import json
import math
import struct
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse.brokers.base import Publication, Receipt
from flask_sse.errors import InvalidSettingError, ProtocolError
from flask_sse.hub.protocol.control import (
    ENVELOPES,
    FRAMES,
    PROTOCOLS,
    BlockDecoder,
    Hello,
    Packet,
    PacketDecoder,
    StreamRequest,
    answer,
    common_protocol,
    cursor_request,
    encode_block,
    max_body_bytes,
    publish_answer,
    publish_packet,
    read_channel,
    read_publish,
    read_receipt,
    read_rejected,
    refusal,
    rejected_request,
    status_request,
)
from flask_sse.settings import History, Settings, StreamRules
from flask_sse.version import __version__
from flask_sse.wire.cursor import Cursor
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message

MAX_BODY_BYTES = 1000
MAX_FIELDS_BYTES = 1024 * 1024

quick = settings(deadline=None, max_examples=150)

texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
packets = st.builds(
    Packet,
    texts,
    st.dictionaries(texts.filter(lambda name: name != "op"), json_values, max_size=4),
    st.binary(max_size=50),
)
numbers = st.integers(1, 10**6) | st.integers(1) | st.floats(min_value=0.1).map(str)
cut_places = st.lists(st.integers(0, 400), max_size=12)

OURS = PROTOCOLS[-1]
HELLO = Hello(pid=7, linger_seconds=60.0)
ATTACH = StreamRequest(("a", "b"), FRAMES, StreamRules(), {"a": ""}, b"HTTP/1.1 200 OK\r\n\r\n")
PUBLISH = Publication("a", b'{"data": 1}', History())


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def decode(pieces: list[bytes], max_bytes: int = MAX_BODY_BYTES) -> list[Packet]:
    decoder = PacketDecoder(max_bytes)
    return [packet for piece in pieces for packet in decoder.feed(piece)]


def sent(packet: Packet) -> Packet:
    """Return what the other end gets."""
    (received,) = decode([packet.encode()])
    return received


def raw(fields: bytes, body: bytes = b"") -> bytes:
    return struct.pack("!II", len(fields), len(body)) + fields + body


# -- round trips -----------------------------------------------------------------------------------


def test_the_layout_of_a_packet_is_the_documented_one() -> None:
    assert Packet("op", {"a": 1}, b"body").encode() == b'\0\0\0\x11\0\0\0\x04{"op":"op","a":1}body'


@pytest.mark.parametrize(
    "packet",
    [
        HELLO.packet(),
        ATTACH.packet(),
        publish_packet(PUBLISH),
        status_request(),
        answer(n=1),
        refusal("because"),
    ],
    ids=lambda packet: packet.op,
)
def test_every_packet_arrives_as_it_was_sent(packet: Packet) -> None:
    received = sent(packet)

    assert (received.op, received.body) == (packet.op, packet.body)
    assert received.fields == json.loads(json.dumps(packet.fields))


def test_an_answer_and_a_refusal_say_what_they_were_given() -> None:
    assert sent(answer(streams=3, pid=7)).fields == {"streams": 3, "pid": 7}
    assert sent(refusal("too late")).fields == {"reason": "too late", "version": __version__}


@pytest.mark.parametrize("linger_seconds", [0, 0.5, 60, 10**6])
def test_a_hello_is_understood(linger_seconds: float) -> None:
    hello = Hello(4711, linger_seconds)

    assert Hello.read(sent(hello.packet())) == hello


@pytest.mark.parametrize(
    "attach",
    [
        ATTACH,
        replace(ATTACH, head=b""),
        replace(ATTACH, mode=ENVELOPES),
        replace(ATTACH, channels=("über", "豆腐", "\U0001f9ea", "a:b c"), since={"豆腐": "ü"}),
        replace(ATTACH, rules=StreamRules(0.5, (0, 0), 1, 3600)),
        replace(ATTACH, rules=StreamRules(20, (1000, 90_000), 10**9, 0.5)),
        replace(ATTACH, head=bytes(range(256))),
        replace(ATTACH, since={}),
        replace(ATTACH, since={"b": "abcdefgh.1-0", "a": '\0\u2028 anything " else'}),
    ],
)
def test_an_attach_is_understood(attach: StreamRequest) -> None:
    assert StreamRequest.read(sent(attach.packet())) == attach


@pytest.mark.parametrize(
    "publication",
    [
        PUBLISH,
        Publication("über", bytes(range(256)), History(0, 0.5)),
        Publication("a", b"", History(10**9, 10**9), own_id="", key="order-17-paid"),
        Publication("a", b"x", History(), own_id="豆腐"),
    ],
)
def test_a_publish_is_understood(publication: Publication) -> None:
    assert read_publish(sent(publish_packet(publication))) == publication


@pytest.mark.parametrize(
    "receipt", [Receipt(0, None), Receipt(7, Cursor("abcdefgh", "1-0")), Receipt(7, None, "")]
)
def test_a_receipt_is_understood(receipt: Receipt) -> None:
    assert read_receipt(sent(publish_answer(receipt)).fields) == receipt


def test_a_request_for_a_cursor_names_its_channel() -> None:
    assert read_channel(sent(cursor_request("über"))) == "über"


def test_the_largest_allowed_attach_fits_into_a_packet() -> None:
    channels = tuple(f"{number:04}" + "é" * 98 for number in range(10))
    largest = replace(ATTACH, channels=channels, since=dict.fromkeys(channels, "\x7f" * 256))

    assert StreamRequest.read(sent(largest.packet())) == largest


@quick
@given(sent_packets=st.lists(packets, max_size=4), cuts=cut_places)
def test_packets_are_read_in_any_split(sent_packets: list[Packet], cuts: list[int]) -> None:
    stream = b"".join(packet.encode() for packet in sent_packets)

    assert decode(cut(stream, cuts)) == sent_packets


def test_packets_are_read_byte_by_byte() -> None:
    stream = HELLO.packet().encode() + ATTACH.packet().encode() + publish_packet(PUBLISH).encode()

    received = decode([bytes([byte]) for byte in stream])

    assert [packet.op for packet in received] == ["hello", "attach", "publish"]


def test_a_packet_is_there_with_its_last_byte_and_not_before() -> None:
    data = publish_packet(PUBLISH).encode()
    decoder = PacketDecoder(MAX_BODY_BYTES)

    assert list(decoder.feed(data[:-1])) == []
    assert [packet.op for packet in decoder.feed(data[-1:])] == ["publish"]
    assert list(decoder.feed(b"")) == []


# -- wrong bytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"{",
        b"hello",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'["op"]',
        b'"op"',
        b"7",
        b"{}",
        b'{"op": null}',
        b'{"op": 1}',
        b'{"op": ["hello"]}',
        b'{"Op": "hello"}',
        b'{"op": "hello"} x',
        b'{"op": "hello", "pid": ' + b"9" * 5000 + b"}",
        b'{"op": ' + b"[" * 60_000 + b"}",
    ],
    ids=lambda fields: ascii(fields[:30]),
)
def test_fields_that_are_none_break_the_rules(fields: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode([raw(fields)])


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=60), cuts=cut_places)
def test_arbitrary_bytes_are_packets_or_break_the_rules(data: bytes, cuts: list[int]) -> None:
    decoder = PacketDecoder(MAX_BODY_BYTES)
    try:
        for piece in cut(data, cuts):
            for packet in decoder.feed(piece):
                assert isinstance(packet.op, str)
                assert "op" not in packet.fields
    except ProtocolError:
        return


@settings(deadline=None, max_examples=300)
@given(fields=st.binary(max_size=30), body=st.binary(max_size=10))
def test_arbitrary_fields_are_packets_or_break_the_rules(fields: bytes, body: bytes) -> None:
    try:
        (packet,) = decode([raw(fields, body)])
    except ProtocolError:
        return
    assert packet.body == body


def test_a_body_of_the_longest_length_is_read() -> None:
    packet = Packet("publish", {}, b"x" * MAX_BODY_BYTES)

    assert sent(packet) == packet


@pytest.mark.parametrize("length", [MAX_BODY_BYTES + 1, 2**32 - 1])
def test_a_body_that_is_too_long_is_refused_before_it_is_read(length: int) -> None:
    decoder = PacketDecoder(MAX_BODY_BYTES)
    with pytest.raises(ProtocolError, match=str(length)):
        list(decoder.feed(struct.pack("!II", 10, length)))


def test_fields_that_are_too_long_are_refused_before_they_are_read() -> None:
    decoder = PacketDecoder(MAX_BODY_BYTES)
    with pytest.raises(ProtocolError, match=str(MAX_FIELDS_BYTES + 1)):
        list(decoder.feed(struct.pack("!II", MAX_FIELDS_BYTES + 1, 0)))


def test_the_buffer_never_holds_more_than_one_packet() -> None:
    largest = 8 + MAX_FIELDS_BYTES + MAX_BODY_BYTES
    fields = b'{"op":"x","y":"' + b"y" * (MAX_FIELDS_BYTES - 17) + b'"}'
    decoder = PacketDecoder(MAX_BODY_BYTES)

    stream = raw(fields, b"z" * MAX_BODY_BYTES) * 3
    held = []
    for piece in cut(stream, list(range(0, len(stream), 1000))):
        list(decoder.feed(piece))
        held.append(len(decoder._buffer))
    assert largest - 1000 < max(held) <= largest
    assert held[-1] == 0


# -- wrong requests --------------------------------------------------------------------------------


def changed(packet: Packet, **fields: Any) -> Packet:
    return replace(packet, fields={**packet.fields, **fields})


def without(packet: Packet, name: str) -> Packet:
    return replace(packet, fields={key: value for key, value in packet.fields.items() if key != name})


def rules_with(**values: Any) -> dict[str, Any]:
    return {**asdict(StreamRules()), **values}


def changes(rules: object) -> str:
    """Return what is not as in the default rules, for the name of a test."""
    if not isinstance(rules, dict):
        return ascii(rules)
    default = asdict(StreamRules())
    return ascii({name: value for name, value in rules.items() if default.get(name) != value})


NO_NUMBERS: list[object] = [None, "5", True, [], {}, math.nan, math.inf, -math.inf, 10**400, -1]


@pytest.mark.parametrize("name", ["protocols", "pid", "linger_seconds"])
def test_a_hello_that_lacks_something_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        Hello.read(sent(without(HELLO.packet(), name)))


@pytest.mark.parametrize("protocols", [[], [0], [OURS + 1], [str(OURS)], [None], OURS, None, {}])
def test_a_hello_in_other_protocols_is_refused_with_ours(protocols: object) -> None:
    with pytest.raises(ProtocolError, match=f"speaks protocol {OURS}"):
        Hello.read(sent(changed(HELLO.packet(), protocols=protocols)))


def test_the_highest_protocol_that_both_ends_speak_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_sse.hub.protocol.control.PROTOCOLS", (3, 4, 5))

    assert common_protocol([4, 3]) == 4
    assert common_protocol([2, 3, 9]) == 3
    assert common_protocol([1, 2, 6]) is None


@pytest.mark.parametrize("linger_seconds", NO_NUMBERS, ids=lambda value: ascii(value)[:10])
def test_a_hello_with_a_linger_that_is_no_time_is_refused(linger_seconds: object) -> None:
    with pytest.raises(ProtocolError):
        Hello.read(sent(changed(HELLO.packet(), linger_seconds=linger_seconds)))


@pytest.mark.parametrize("pid", [None, "7", 7.5, [], True])
def test_a_hello_with_a_pid_that_is_none_is_refused(pid: object) -> None:
    with pytest.raises(ProtocolError):
        Hello.read(sent(changed(HELLO.packet(), pid=pid)))


def test_what_does_not_say_hello_is_no_hello() -> None:
    with pytest.raises(ProtocolError):
        Hello.read(sent(replace(HELLO.packet(), op="attach")))


@pytest.mark.parametrize("name", ["channels", "mode", "rules", "since"])
def test_an_attach_that_lacks_something_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(without(ATTACH.packet(), name)))


@pytest.mark.parametrize(
    "channels",
    [
        *(None, "a", [], {}, {"a": "b"}, [1], [None], ["a", 1], [["a"]]),
        *([""], ["a\n"], ["\ud800"], ["a" * 201], ["a", "a"]),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_an_attach_with_channels_that_are_none_is_refused(channels: object) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), channels=channels)))


@pytest.mark.parametrize("mode", [None, "", "Frames", "bytes", 1, True, [FRAMES], {}])
def test_an_attach_in_an_unknown_mode_is_refused(mode: object) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), mode=mode)))


@pytest.mark.parametrize(
    "since",
    [None, 7, "ab", ["a"], [["a"]], [["a", 0]], [["a", [2]]], [["a", [-1]]], [["a", [True]]], [[None, [0]]]],
)
def test_an_attach_that_goes_on_from_nothing_it_has_is_refused(since: object) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), since=since)))


@pytest.mark.parametrize("name", ["own_id", "key"])
@pytest.mark.parametrize("value", [1, True, [], {}, ["x"]])
def test_a_publish_with_a_name_that_is_no_text_is_refused(name: str, value: object) -> None:
    with pytest.raises(ProtocolError):
        read_publish(sent(changed(publish_packet(PUBLISH), **{name: value})))


@pytest.mark.parametrize(
    "history",
    [
        *(None, 1, [], {}, {"size": 1}, {"seconds": 1}, {"size": 1, "seconds": 1, "more": 1}),
        *({"size": number, "seconds": 1} for number in (-1, 1.5, "1", True, None)),
        *({"size": 1, "seconds": number} for number in NO_NUMBERS),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_publish_with_a_history_that_is_none_is_refused(history: object) -> None:
    with pytest.raises(ProtocolError):
        read_publish(sent(changed(publish_packet(PUBLISH), history=history)))


@pytest.mark.parametrize("missing", asdict(StreamRules()))
def test_an_attach_that_lacks_a_rule_is_refused(missing: str) -> None:
    rules = {name: value for name, value in asdict(StreamRules()).items() if name != missing}
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), rules=rules)))


@pytest.mark.parametrize(
    "rules",
    [
        *(None, [], "rules", 1, rules_with(speed=1)),
        *(rules_with(heartbeat_seconds=value) for value in (*NO_NUMBERS, 0)),
        *(rules_with(max_backlog_bytes=value) for value in (*NO_NUMBERS, 0)),
        *(rules_with(max_stream_seconds=value) for value in (*NO_NUMBERS[1:], 0)),
        *(rules_with(retry_ms=value) for value in NO_NUMBERS),
        *(rules_with(retry_ms=[value, value]) for value in NO_NUMBERS),
        *(rules_with(retry_ms=value) for value in (5, [], [5], [5, 6, 7], [6, 5], [1.5, 2], "2000-5000")),
    ],
    ids=lambda value: changes(value)[:60],
)
def test_an_attach_with_rules_that_no_application_sends_is_refused(rules: object) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), rules=rules)))


@quick
@given(
    heartbeat_seconds=numbers,
    retry_ms=st.integers(0) | st.lists(st.integers(0), min_size=2, max_size=2).map(sorted),
    max_backlog_bytes=st.integers(1),
    max_stream_seconds=st.none() | numbers,
)
def test_whatever_the_settings_allow_is_understood(**values: object) -> None:
    config = {f"SSE_{name.upper()}": value for name, value in values.items()}
    try:
        rules = Settings.from_mapping({"SSE_BROKER_URL": "memory://", **config}).rules
    except InvalidSettingError:
        return

    attach = replace(ATTACH, rules=rules)
    assert StreamRequest.read(sent(attach.packet())) == attach


@pytest.mark.parametrize("limit", [None, 1, "address", "streams", "", ["stream_channels"]])
def test_a_rejected_stream_is_counted_by_a_limit_of_applications_alone(limit: object) -> None:
    request = rejected_request("stream_channels")
    assert read_rejected(sent(request)) == "stream_channels"
    with pytest.raises(ProtocolError, match="rejected"):
        read_rejected(sent(changed(request, limit=limit)))


@pytest.mark.parametrize("channel", [None, 1, True, ["a"], {}])
def test_a_publish_on_what_is_no_channel_is_refused(channel: object) -> None:
    with pytest.raises(ProtocolError):
        read_publish(sent(changed(publish_packet(PUBLISH), channel=channel)))


def test_a_publish_without_a_channel_is_refused() -> None:
    with pytest.raises(ProtocolError):
        read_publish(sent(without(publish_packet(PUBLISH), "channel")))


@quick
@given(
    packet=st.sampled_from([HELLO.packet(), ATTACH.packet(), publish_packet(PUBLISH)]),
    name=st.sampled_from(
        [
            *("protocol", "pid", "linger_seconds", "channels", "mode", "rules", "since"),
            *("channel", "history", "own_id", "key"),
        ]
    ),
    value=json_values | st.sampled_from(NO_NUMBERS),
)
def test_a_request_with_any_value_anywhere_is_understood_or_refused(
    packet: Packet, name: str, value: object
) -> None:
    readers: dict[str, Any] = {"hello": Hello.read, "attach": StreamRequest.read, "publish": read_publish}
    read = readers[packet.op]
    try:
        request = read(sent(changed(packet, **{name: value})))
    except ProtocolError:
        return

    again = publish_packet(request) if packet.op == "publish" else request.packet()
    assert read(sent(again)) == request


# -- blocks ----------------------------------------------------------------------------------------


def test_a_block_is_a_length_and_an_envelope() -> None:
    assert encode_block(b"abc") == b"\0\0\0\x03abc"
    assert encode_block(b"") == b"\0\0\0\0"


@quick
@given(envelopes=st.lists(st.binary(max_size=40), max_size=6), cuts=cut_places)
def test_blocks_are_read_in_any_split_and_heartbeats_left_out(
    envelopes: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(encode_block(envelope) for envelope in envelopes)
    decoder = BlockDecoder()

    read = [envelope for piece in cut(stream, cuts) for envelope in decoder.feed(piece)]

    assert read == [envelope for envelope in envelopes if envelope]


def test_a_block_that_is_cut_off_is_not_read() -> None:
    assert list(BlockDecoder().feed(encode_block(b"abc")[:-1])) == []


# -- how long a body may be ------------------------------------------------------------------------


@pytest.mark.parametrize("max_event_bytes", [1, 1000, 256 * 1024])
def test_the_envelope_of_the_largest_event_fits(max_event_bytes: int) -> None:
    # JSON writes a control character as six bytes, and an event has it as one.
    frame_overhead = len(Message("", id="i" * 256).frame())
    message = Message("\x01" * max(0, max_event_bytes - frame_overhead), id='"' * 256)

    assert len(pack(message)) <= max_body_bytes(max_event_bytes)


def test_a_response_head_fits_however_small_events_are() -> None:
    assert max_body_bytes(1) >= 256 * 1024


def test_fields_that_no_hub_reads_are_refused_before_they_are_sent() -> None:
    channels = tuple(f"{number:04d}{'ä' * 90}" for number in range(3000))
    with pytest.raises(ProtocolError, match="the most is 1048576"):
        replace(ATTACH, channels=channels).packet().encode()
