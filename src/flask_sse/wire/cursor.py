"""Cursor: a position in the history of a channel, and what a client names as its last event id.

Text form: ``EPOCH.MS-SEQ``. The epoch is eight random letters, new whenever the history of a channel
starts over; the rest is the id of an event, the broker's clock in milliseconds and a counter. The cursors
of a stream over several channels are joined by commas, in the order of the sorted channel names.

What a stream resumes from (``since``) is a text for each channel: a cursor, ``EARLIEST`` for all that is
kept, ``FROM_NOW``, or anything else, which is looked up among the ids that the application gave.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .text import flaw_of_line

FROM_NOW = ""
EARLIEST = "earliest"
# The last event id of a stream that is over for good: a client that sends it must not reconnect.
END_ID = "stream-end"
# No id of an application can be this, so it is found nowhere and answered with a reset.
NOWHERE = "\0"
MAX_ID_BYTES = 256
BEFORE_ALL = "0-0"

# The latest time that JavaScript's Date can be, for pages that show when an event was.
MAX_MS = 8_640_000_000_000_000
_MAX_SEQUENCE = 2**63
EPOCH_LETTERS = 8
EPOCH_PATTERN = f"[a-z]{{{EPOCH_LETTERS}}}"
ID_PATTERN = "(?:0|[1-9][0-9]{0,15})-(?:0|[1-9][0-9]{0,18})"
_CURSOR = re.compile(rf"({EPOCH_PATTERN})\.({ID_PATTERN})")


class Cursor(NamedTuple):
    """A position: behind the event with this id, in this epoch."""

    epoch: str
    id: str

    def __str__(self) -> str:
        return f"{self.epoch}.{self.id}"

    @classmethod
    def of(cls, text: str) -> Cursor:
        """Read what ``str`` wrote, from a process or a broker that is trusted."""
        epoch, _, event_id = text.partition(".")
        return cls(epoch, event_id)


class Stamp(NamedTuple):
    """Where an event stands in the history of its channel, and which one stands before it."""

    epoch: str
    id: str
    previous: str

    @property
    def cursor(self) -> Cursor:
        """The position behind this event."""
        return Cursor(self.epoch, self.id)


def read_cursor(text: str) -> Cursor | None:
    """Understand a cursor; ``None`` if the text is none."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    cursor = Cursor(*match.groups())
    return cursor if is_in_range(cursor.id) else None


def is_in_range(event_id: str) -> bool:
    """Tell whether a broker could have given an id whose form is right."""
    milliseconds, sequence = order(event_id)
    return milliseconds <= MAX_MS and sequence < _MAX_SEQUENCE


def order(event_id: str) -> tuple[int, int]:
    """Return what ids of one epoch are compared by."""
    milliseconds, _, sequence = event_id.partition("-")
    return int(milliseconds), int(sequence)


def positions(last_event_id: str, channels: Sequence[str]) -> tuple[str, ...]:
    """Return where a client resumes, for each of the sorted channels of its stream.

    Args:
        last_event_id: As the client sent it; nothing of it is trusted.
        channels: Those of its channels that have a history.
    """
    parts = last_event_id.split(",")
    if len(parts) == len(channels) and all(part == EARLIEST or read_cursor(part) for part in parts):
        return tuple(parts)
    is_ours = last_event_id == EARLIEST or read_cursor(last_event_id)
    if not is_ours and flaw_of_own_id(last_event_id):
        last_event_id = NOWHERE
    return (last_event_id,) * len(channels)


def flaw_of_own_id(text: str) -> str | None:
    """Return why an application cannot give this id to an event; ``None`` if it can.

    A browser sends it back in a header, which must be accepted and mean nothing else.
    """
    if text in (END_ID, EARLIEST) or read_cursor(text):
        return "it means something else to a stream: stream-end, earliest and positions are reserved"
    return flaw_of_line(text, MAX_ID_BYTES)
