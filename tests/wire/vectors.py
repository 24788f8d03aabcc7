"""The wire format as examples: what ``wire-vectors.json`` holds, and texts that are good at breaking it."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from flask_sse.wire.decode import Decoder, Event


@dataclass(frozen=True)
class EncodeVector:
    """Fields of one message, the bytes they must give, and what a page then sees."""

    name: str
    fields: dict[str, Any]
    frame: bytes
    client_sees: list[Event]


@dataclass(frozen=True)
class RejectVector:
    """Fields that no message may have."""

    name: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class ParseVector:
    """The bytes of a stream and what a conforming reader makes of them."""

    name: str
    stream: bytes
    events: list[Event]
    last_event_id: str


_FILE = json.loads((Path(__file__).parent / "wire-vectors.json").read_text(encoding="utf-8"))

ENCODE = [
    EncodeVector(
        vector["name"],
        vector["fields"],
        vector["bytes"].encode(),
        [Event(**event) for event in vector["client_sees"]],
    )
    for vector in _FILE["encode"]
]
REJECT = [RejectVector(**vector) for vector in _FILE["reject"]]
PARSE = [
    ParseVector(
        vector["stream"],
        base64.b64decode(vector["stream_base64"]),
        [Event(**event) for event in vector["events"]],
        vector["last_event_id"],
    )
    for vector in _FILE["parse"]
]

LINE_BREAK = re.compile("\r\n|\r|\n")

# Every character that some reader or some language takes for a line end, the marks of the format
# itself, and one character of each length in UTF-8.
_NASTY = "\r\n\0: \t\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\ufeffaé€\U0001f9ea"
_SURROGATES = "\ud800\udfff"

# Any text that can be sent, and any that Python can hold.
texts = st.text(st.sampled_from(_NASTY) | st.characters(codec="utf-8"), max_size=30)
wild_texts = st.text(st.sampled_from(_NASTY + _SURROGATES) | st.characters(), max_size=30)
# What may stand in a type or an id.
lines = st.text(
    st.sampled_from([character for character in _NASTY if unicodedata.category(character) != "Cc"])
    | st.characters(codec="utf-8", exclude_categories=["Cc"]),
    max_size=30,
)


def normalised(data: str) -> str:
    """Return what a page gets for ``data``: every line break arrives as LF."""
    return LINE_BREAK.sub("\n", data)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    """Return ``stream`` cut at every place in ``cuts``, which may repeat or lie outside."""
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


def read(stream: list[bytes]) -> tuple[list[Event], Decoder]:
    """Feed a decoder piece by piece; return what it saw, and itself."""
    decoder = Decoder()
    return [event for piece in stream for event in decoder.feed(piece)], decoder
