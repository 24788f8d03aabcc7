"""Envelope: the bytes that a broker carries, one message each.

The form is the JSON object that Flask-SSE 1.0 publishes (keys data, type, id, retry), so that old and
new processes understand each other while a deployment is being upgraded. ``data`` stands first and its
JSON text is kept as the publisher wrote it: a page gets the very text that the application's JSON
provider made, key order and number format included.

Where the history of the channel is kept, the broker puts a *stamp* in front: the key ``data`` once more,
with the event's own cursor and the id of the event before it. A JSON reader takes the last of two equal
keys, so 1.0 does not see it. What an event replaces for a client that is behind, its *collapse key*, stands
there in the same way, behind the stamp: ``{"data": "~prices%3AAAPL", "data": 182.5}``.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any
from urllib.parse import quote, unquote

from ..errors import InvalidMessageError
from .cursor import EPOCH_PATTERN, ID_PATTERN, Stamp, is_in_range
from .message import Message

_SPACE = "[ \t\r\n]*"  # what JSON takes for white space
_DATA_FIRST = re.compile(f'{_SPACE}{{{_SPACE}"data"{_SPACE}:{_SPACE}')
_COMMA = re.compile(f"^{_SPACE},")
_COLLAPSE = re.compile(rb'\{"data": "~([A-Za-z0-9_.~%-]+)", (?="data": )')
_STAMP = re.compile(
    rb'\{"data": "(%s)\.(%s) (%s)", (?="data": )'
    % (EPOCH_PATTERN.encode(), ID_PATTERN.encode(), ID_PATTERN.encode())
)


# Python reads as many as its stack has room for, which is 1000 calls less those of the reader.
MAX_DEPTH = 500
_NO_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+')
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


class _Written(Message):
    """A message whose JSON text is known already, as another process wrote it."""

    __slots__ = ("_text",)

    def __init__(self, text: str, data: Any, rest: dict[str, Any]) -> None:
        super().__init__(data, **rest)
        self._text = text

    def payload(self) -> str:
        return self._text


def pack(message: Message, collapse: str | None = None) -> bytes:
    """Write a message as an envelope.

    Args:
        message: The message.
        collapse: Its collapse key; ``None`` for a message that replaces no other.

    Raises:
        InvalidMessageError: If the data cannot become JSON, or is nested so deep that no hub reads it.
    """
    payload = message.payload()
    if not isinstance(message.data, str) and _depth(payload) > MAX_DEPTH:
        raise InvalidMessageError("data", message.data, f"it is nested more than {MAX_DEPTH} deep")
    text = _write_json(payload) if isinstance(message.data, str) else payload
    rest = message.to_dict()
    del rest["data"]
    tail = f", {_write_json(rest)[1:]}" if rest else "}"
    key = "" if collapse is None else f'"data": "~{quote(collapse, safe="")}", '
    return f'{{{key}"data": {text}{tail}'.encode()


def _depth(text: str) -> int:
    """Return how deep arrays and objects of a JSON text are nested, or any number up to the limit."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    brackets = _NO_BRACKETS.sub("", text)
    return max(accumulate(map(_STEPS.__getitem__, brackets)))


def split_collapse(envelope: bytes) -> tuple[str | None, bytes]:
    """Part an envelope into collapse key and the rest; ``None`` where there is no key."""
    match = _COLLAPSE.match(envelope)
    if match is None:
        return None, envelope
    return unquote(match[1].decode(), errors="replace"), b"{" + envelope[match.end() :]


def unpack(envelope: bytes) -> Message:
    """Read an envelope of any publisher, also of 1.0 or of another program.

    Raises:
        InvalidMessageError: If it is not the JSON object of a message, or a field cannot be sent.
    """
    _, envelope = split_collapse(envelope)
    try:
        text = envelope.decode()
        data_first = _DATA_FIRST.match(text)
        if data_first:
            start = data_first.end()
            data, end = _data_decoder.raw_decode(text, start)
            written = text[start:end]
            rest = _rest(text[end:])
        else:
            rest = _fields_decoder.decode(text)
            data = rest.pop("data")
            written = None
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        # Not its repr: that of a decoding error has all the bytes.
        what = f"{type(error).__name__}: {error}"[:80]
        raise InvalidMessageError("envelope", envelope, f"not a message ({what})") from error
    if not rest.keys() <= _OPTIONAL:
        raise InvalidMessageError("envelope", envelope, "it has keys that no message has")
    if isinstance(data, str) or written is None:
        return Message(data, **rest)
    return _Written(written, data, rest)


def _rest(text: str) -> dict[str, Any]:
    """Read what follows the data of an envelope."""
    if text == "}":
        return {}
    text, commas = _COMMA.subn("", text)
    rest: dict[str, Any] = _fields_decoder.decode("{" + text)
    if bool(rest) != bool(commas):
        raise ValueError("a comma is missing or too many")
    return rest


def split_stamp(carried: bytes) -> tuple[Stamp | None, bytes]:
    """Part what a broker carried into stamp and envelope; ``None`` where there is no stamp."""
    match = _STAMP.match(carried)
    if match is None:
        return None, carried
    epoch, event_id, previous = match.groups()
    stamp = Stamp(epoch.decode(), event_id.decode(), previous.decode())
    # Every client of the broker can write one, and pages send it back as their last event id.
    if not is_in_range(stamp.id):
        return None, carried
    return stamp, b"{" + carried[match.end() :]


def checked_json(text: str) -> str:
    """Return ``text`` if it is one JSON value, without white space around it.

    Raises:
        ValueError: If not; ``NaN`` and infinities are none.
    """
    _data_decoder.decode(text)
    return text.strip(" \t\r\n")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands there twice")
    return fields


_OPTIONAL = {"type", "id", "retry"}
_write_json = json.JSONEncoder(ensure_ascii=False).encode
_data_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_fields_decoder = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_with_each_key_once)
