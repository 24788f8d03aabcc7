"""What is written down in a run: by those who publish, and by those who listen.

A *cursor* is ``EPOCH.MS-SEQ``. Within an epoch the two numbers give the order; epochs have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flask_sse.wire.decode import Event

STREAM_OPEN, STREAM_RESET = "stream-open", "stream-reset"

# Not the library's own reader of cursors: one mistake could then hide in both.
_CURSOR = re.compile("([a-z]{8})[.]([0-9]+)-([0-9]+)")


class Cursor(NamedTuple):
    """A position in a channel: behind the publication with this number, in this epoch."""

    epoch: str
    number: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.epoch}.{self.number[0]}-{self.number[1]}"


def read_cursor(text: object) -> Cursor | None:
    """Understand a cursor; ``None`` if it is none."""
    match = _CURSOR.fullmatch(text) if isinstance(text, str) else None
    return Cursor(match[1], (int(match[2]), int(match[3]))) if match else None


def read_cursors(last_event_id: str, channels: Sequence[str]) -> dict[str, Cursor]:
    """Understand the id of a stream: a cursor for each of its channels; empty if it is no such id."""
    cursors = [cursor for part in last_event_id.split(",") if (cursor := read_cursor(part))]
    whole = ",".join(map(str, cursors)) == last_event_id and len(cursors) == len(channels)
    return dict(zip(sorted(channels), cursors, strict=True)) if whole else {}


@dataclass(frozen=True, slots=True)
class Publication:
    """One call of ``publish``.

    Attributes:
        channel: Where to.
        payload: The data as clients see it: a JSON object that names the channel, unlike all others.
        cursor: What was acknowledged; ``None`` if the call failed, so that it happened or did not.
        lost: Whether the broker lost it later, so that not every client can have seen it.
    """

    channel: str
    payload: str
    cursor: str | None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """The answer to a client's connection began.

    Attributes:
        connection: Counts the connections that this client opened, from 1.
        last_event_id: What the client sent; empty for none.
    """

    connection: int
    last_event_id: str


@dataclass(frozen=True, slots=True)
class ClientLog:
    """What one client saw.

    Attributes:
        name: Of the client.
        channels: Of its stream; all of them have a history.
        seen: All that came, in its order.
        connected: Whether a stream was open in the end.
    """

    name: str
    channels: Sequence[str]
    seen: Sequence[Opened | Event]
    connected: bool = True
