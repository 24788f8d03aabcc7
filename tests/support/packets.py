"""Packets of control connections, as the other end gets them, and values that do not belong in them."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from flask_sse.brokers.base import Publication
from flask_sse.hub.protocol.hello import Hello
from flask_sse.hub.protocol.packet import Packet, PacketDecoder
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.settings import History, StreamRules

MAX_BODY_BYTES = 1000
NO_NUMBERS: list[object] = [None, "5", True, [], {}, math.nan, math.inf, -math.inf, 10**400, -1]

HELLO = Hello(pid=7, linger_seconds=60.0)
ATTACH = StreamRequest(("a", "b"), FRAMES, StreamRules(), {"a": ""}, b"HTTP/1.1 200 OK\r\n\r\n")
PUBLICATION = Publication("a", b'{"data": 1}', History())

quick = settings(deadline=None, max_examples=150)
texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
cut_places = st.lists(st.integers(0, 400), max_size=12)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return the pieces of some bytes that are cut at these places."""
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def decode(pieces: list[bytes], max_bytes: int = MAX_BODY_BYTES) -> list[Packet]:
    """Return the packets that pieces of bytes are."""
    decoder = PacketDecoder(max_bytes)
    return [packet for piece in pieces for packet in decoder.feed(piece)]


def sent(packet: Packet) -> Packet:
    """Return what the other end gets."""
    (received,) = decode([packet.encode()])
    return received


def changed(packet: Packet, **fields: Any) -> Packet:
    """Return a packet with other fields."""
    return replace(packet, fields={**packet.fields, **fields})


def without(packet: Packet, name: str) -> Packet:
    """Return a packet without one of its fields."""
    return replace(packet, fields={key: value for key, value in packet.fields.items() if key != name})
