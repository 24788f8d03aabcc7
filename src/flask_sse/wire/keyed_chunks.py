"""Keyed chunks: bytes of several events, of which a slow client needs only the latest of each key. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self


class KeyedChunks(bytes):
    """Bytes that know where each event begins, and the key by which a later event replaces it.

    Attributes:
        pieces: The bytes of each event and its key; ``None`` for what nothing replaces.
    """

    pieces: tuple[tuple[bytes, str | None], ...]

    def __new__(cls, pieces: Iterable[tuple[bytes, str | None]]) -> Self:
        """Join the bytes of events."""
        pieces = tuple(pieces)
        parts = super().__new__(cls, b"".join(data for data, _ in pieces))
        parts.pieces = pieces
        return parts


def pieces_of(data: bytes) -> tuple[tuple[bytes, str | None], ...]:
    """Return the events in some bytes with their keys."""
    return data.pieces if isinstance(data, KeyedChunks) else ((data, None),)


def join(pending: list[bytes]) -> bytes:
    """Join what is written together."""
    if len(pending) == 1:
        return pending[0]
    if any(type(data) is KeyedChunks for data in pending):
        return KeyedChunks(piece for data in pending for piece in pieces_of(data))
    return b"".join(pending)


def rest_of(data: bytes, sent: int) -> bytes:
    """Return what follows so many bytes; of an event that was begun, the rest has no key any more."""
    if not isinstance(data, KeyedChunks) or not sent:
        return data[sent:] if sent else data
    for number, (piece, _) in enumerate(data.pieces):
        if sent < len(piece):
            begun = ((piece[sent:], None),) if sent else data.pieces[number : number + 1]
            return KeyedChunks((*begun, *data.pieces[number + 1 :]))
        sent -= len(piece)
    return b""
