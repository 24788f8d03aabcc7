"""Packets survive every cut, and nothing else is taken for one."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.packets import (
    ATTACH,
    HELLO,
    MAX_BODY_BYTES,
    PUBLICATION,
    cut,
    cut_places,
    decode,
    json_values,
    quick,
    sent,
    texts,
)

from flask_sse.errors import ProtocolError
from flask_sse.hub.protocol.packet import MAX_FIELDS_BYTES, Packet, PacketDecoder, max_body_bytes
from flask_sse.hub.protocol.requests import (
    answer,
    refusal,
    status_request,
    submit_request,
)
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message

packets = st.builds(
    Packet,
    texts,
    st.dictionaries(texts.filter(lambda name: name != "op"), json_values, max_size=4),
    st.binary(max_size=50),
)


def raw(fields: bytes, body: bytes = b"") -> bytes:
    return struct.pack("!II", len(fields), len(body)) + fields + body


def test_the_layout_of_a_packet_is_the_documented_one() -> None:
    assert Packet("op", {"a": 1}, b"body").encode() == b'\0\0\0\x11\0\0\0\x04{"op":"op","a":1}body'


@pytest.mark.parametrize(
    "packet",
    [
        HELLO.packet(),
        ATTACH.packet(),
        submit_request(PUBLICATION),
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


@quick
@given(sent_packets=st.lists(packets, max_size=4), cuts=cut_places)
def test_packets_are_read_in_any_split(sent_packets: list[Packet], cuts: list[int]) -> None:
    stream = b"".join(packet.encode() for packet in sent_packets)

    assert decode(cut(stream, cuts)) == sent_packets


def test_packets_are_read_byte_by_byte() -> None:
    stream = HELLO.packet().encode() + ATTACH.packet().encode() + submit_request(PUBLICATION).encode()

    received = decode([bytes([byte]) for byte in stream])

    assert [packet.op for packet in received] == ["hello", "attach", "submit"]


def test_a_packet_is_there_with_its_last_byte_and_not_before() -> None:
    data = submit_request(PUBLICATION).encode()
    decoder = PacketDecoder(MAX_BODY_BYTES)

    assert list(decoder.feed(data[:-1])) == []
    assert [packet.op for packet in decoder.feed(data[-1:])] == ["submit"]
    assert list(decoder.feed(b"")) == []


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
    packet = Packet("submit", {}, b"x" * MAX_BODY_BYTES)

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


@pytest.mark.parametrize("max_event_bytes", [1, 1000, 256 * 1024])
def test_the_envelope_of_the_largest_event_fits(max_event_bytes: int) -> None:
    # JSON writes a control character as six bytes, and an event has it as one.
    frame_overhead = len(Message("", id="i" * 256).frame())
    message = Message("\x01" * max(0, max_event_bytes - frame_overhead), id='"' * 256)

    assert len(pack(message)) <= max_body_bytes(max_event_bytes)


def test_a_response_head_fits_however_small_events_are() -> None:
    assert max_body_bytes(1) >= 256 * 1024
