"""Packets of a control connection: their layout, and a decoder that reads them piece by piece. No I/O.

A control connection is a stream socket between processes of one user. Everything on it is a *packet*:

    4 bytes   length of the fields  (big endian)
    4 bytes   length of the body    (big endian)
    fields    JSON object; "op" names the request or the answer
    body      bytes as they are: a response head or an envelope

The application sends ``hello`` first, with the versions of the protocol that it speaks; the hub answers with
the highest that both speak, or refuses. ``attach`` carries one descriptor with its first byte and has no
answer; ``submit``, ``cursor``, ``read``, ``status`` and ``rejected`` are answered in order. Anything else
is a protocol error, and the hub closes the connection. A hub that is to replace this one sends ``handover``
instead of ``hello``: see ``handover.handover_connection``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import ProtocolError

# How long either end waits for an answer of the other one.
ANSWER_SECONDS = 2.0
MAX_HEAD_BYTES = 256 * 1024
MAX_FIELDS_BYTES = 1024 * 1024
# JSON may write one byte of data as six (\\u0000), and the keys around it take some more.
ENVELOPE_GROWTH = 6
ENVELOPE_OVERHEAD_BYTES = 4096

_write_json = json.JSONEncoder(separators=(",", ":")).encode
_LENGTHS = struct.Struct("!II")


def max_body_bytes(max_event_bytes: int) -> int:
    """Return the longest body that an application within its limits can send."""
    return max(MAX_HEAD_BYTES, ENVELOPE_GROWTH * max_event_bytes + ENVELOPE_OVERHEAD_BYTES)


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, whose fields are not checked yet."""

    op: str
    fields: dict[str, Any]
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the bytes to send.

        Raises:
            ProtocolError: If the fields are too long, as those of hundreds of channels are.
        """
        fields = _write_json({"op": self.op, **self.fields}).encode()
        # Checked here, too: the hub would close the connection, and the application could not tell why.
        if len(fields) > MAX_FIELDS_BYTES:
            raise ProtocolError(f"fields of {len(fields)} bytes, the most is {MAX_FIELDS_BYTES}")
        return _LENGTHS.pack(len(fields), len(self.body)) + fields + self.body


class PacketDecoder:
    """Reads packets piece by piece.

    Args:
        max_body_bytes: Longest body; the lengths are checked before a byte of a longer one is buffered.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take the next bytes and yield the packets they complete.

        Raises:
            ProtocolError: If the bytes are not those of a packet.
        """
        self._buffer += data
        while (packet := self._next()) is not None:
            yield packet

    @property
    def incomplete(self) -> bytes:
        """The beginning of the next packet, as far as it was received."""
        return bytes(self._buffer)

    def begin_with(self, incomplete: bytes) -> None:
        """Take the beginning of the next packet, where another decoder stopped."""
        self._buffer += incomplete

    def _next(self) -> Packet | None:
        if len(self._buffer) < _LENGTHS.size:
            return None
        fields_length, body_length = _LENGTHS.unpack_from(self._buffer)
        if fields_length > MAX_FIELDS_BYTES:
            raise ProtocolError(f"fields of {fields_length} bytes, the most is {MAX_FIELDS_BYTES}")
        if body_length > self._max_body_bytes:
            raise ProtocolError(f"a body of {body_length} bytes, the most is {self._max_body_bytes}")
        body_at = _LENGTHS.size + fields_length
        end = body_at + body_length
        if len(self._buffer) < end:
            return None
        fields = _read_fields(bytes(self._buffer[_LENGTHS.size : body_at]))
        body = bytes(self._buffer[body_at:end])
        del self._buffer[:end]
        return Packet(fields.pop("op"), fields, body)


def _read_fields(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"fields that are not JSON ({error})") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("op"), str):
        raise ProtocolError("fields without op")
    return fields
