"""Blocks: what the hub writes to a reader of ``messages()``. No I/O.

A block is 4 bytes length (big endian) and an envelope; one without an envelope is a heartbeat.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_LENGTH = struct.Struct("!I")


def encode_block(envelope: bytes) -> bytes:
    """Return the block that carries an envelope; an empty one is a heartbeat."""
    return _LENGTH.pack(len(envelope)) + envelope


class BlockDecoder:
    """Reads blocks piece by piece, from a hub that is trusted to keep to its limits."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes and yield the envelopes they complete, heartbeats left out."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            envelope = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            if envelope:
                yield envelope
