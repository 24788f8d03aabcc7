"""History in Redis: the keys of a channel, and the three scripts that alone read and write them.

For the channel ``news``, all with a time to live:

    flask-sse:{news}:s      stream; of each event the envelope ``d``, the id ``p`` of the event before it and
                            the application's own id ``i``
    flask-sse:{news}:m      hash; epoch ``e`` and id ``t`` of the last event. It outlives the stream by far,
                            except of a run; where nothing was ever published, it lives for minutes
    flask-sse:{news}:i      sorted set; the application's own ids by the time of their events
    flask-sse:{news}:k:...  the receipt of the publication with the key whose SHA-256 follows

A script runs alone, so appending, linking and publishing are one step (R3 of the races), and so are
reading the last id and the events up to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

from redis.exceptions import ResponseError

from ...wire.cursor import EARLIEST, FROM_NOW, Cursor, read_cursor
from ..base import (
    KEY_SECONDS,
    PAGE_BYTES,
    PAGE_EVENTS,
    UNUSED_SECONDS,
    Entry,
    Page,
    Publication,
    Receipt,
    listening_seconds,
    remembered_seconds,
)
from ..epoch import new_epoch

PREFIX = "flask-sse"

_UNUSED_MS = int(UNUSED_SECONDS * 1000)

Args = list[bytes | str | int]


@cache
def script(name: str) -> str:
    """Return the text of a script."""
    folder = Path(__file__).parent
    return "".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", name))


@cache
def digest(name: str) -> str:
    """Return what a server calls a script that it has."""
    return hashlib.sha1(script(name).encode(), usedforsecurity=False).hexdigest()


@lru_cache(maxsize=1024)
def keys_of(channel: str) -> tuple[str, ...]:
    """Return the names of stream, meta and own ids of a channel; the braces keep them in one slot."""
    return tuple(f"{PREFIX}:{{{channel}}}:{kind}" for kind in "smi")


def append_args(publications: Sequence[Publication]) -> tuple[list[str], Args]:
    """Return keys and arguments of the script ``append``."""
    keys: list[str] = []
    args: Args = []
    for publication in publications:
        channel, history, own_id = publication.channel, publication.history, publication.own_id
        keys += keys_of(channel)
        keys.append(_key_of_result(channel, publication.key))
        kept_ms = max(1, int(history.seconds * 1000))
        args += (
            channel,
            publication.envelope,
            history.size,
            kept_ms,
            max(kept_ms, int(remembered_seconds(channel, history) * 1000)),
            own_id or "",
            new_epoch(),
            0 if publication.key is None else KEY_SECONDS,
            "" if own_id is None else "1",
        )
    return keys, args


def _key_of_result(channel: str, key: str | None) -> str:
    if key is None:
        # It is not used, but each event has as many keys.
        return keys_of(channel)[0]
    # A digest has one length, so that no channel with a strange name has the same key.
    return f"{PREFIX}:{{{channel}}}:k:{hashlib.sha256(key.encode()).hexdigest()}"


def receipt(answer: bytes) -> Receipt:
    """Return the receipt in one answer of the script ``append``.

    Raises:
        ResponseError: If the server refused that publication.
    """
    receivers, cursor, *own_id = _taken(answer).split(" ", 2)
    return Receipt(int(receivers), Cursor.of(cursor) if cursor else None, *own_id)


def read_args(channel: str, since: str) -> tuple[list[str], Args]:
    """Return keys and arguments of the script ``read``."""
    cursor = read_cursor(since)
    start: Args
    if cursor is not None:
        start = ["cursor", *cursor]
    elif since in (FROM_NOW, EARLIEST):
        start = [since or "now", "", ""]
    else:
        start = ["own id", since, ""]
    listening_ms = int(listening_seconds(channel) * 1000)
    return [*keys_of(channel)], [new_epoch(), listening_ms, *start, PAGE_EVENTS, PAGE_BYTES, _UNUSED_MS]


def page(answer: list[bytes]) -> Page:
    """Return the page in an answer of the script ``read``."""
    epoch, top, since, complete = (part.decode() for part in answer[:4])
    ids, previous, envelopes = answer[4::3], answer[5::3], answer[6::3]
    entries = [
        Entry(event_id.decode(), before.decode(errors="replace"), envelope)
        for event_id, before, envelope in zip(ids, previous, envelopes, strict=True)
    ]
    return Page(epoch, top, since or None, entries, complete == "1")


def positions_args(channels: Sequence[str]) -> tuple[list[str], Args]:
    """Return keys and arguments of the script ``positions``."""
    keys = [key for channel in channels for key in keys_of(channel)]
    args: Args = [_UNUSED_MS]
    for channel in channels:
        args += (new_epoch(), int(listening_seconds(channel) * 1000))
    return keys, args


def cursor(answer: bytes) -> Cursor:
    """Return the cursor in one answer of the script ``positions``.

    Raises:
        ResponseError: If the server refused it.
    """
    return Cursor.of(_taken(answer))


def _taken(answer: bytes) -> str:
    text = answer.decode(errors="replace")
    if text.startswith("!"):
        raise ResponseError(text[1:])
    return text
