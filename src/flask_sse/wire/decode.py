"""Events out of event-stream bytes, as a conforming reader sees them (WHATWG HTML 9.2.6)."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_LINE_END = re.compile("\r\n|\r|\n")
# Longer numbers are no time that anybody waits, and Python refuses to read very long ones.
_DIGITS = re.compile("[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a page's ``EventSource`` would show it."""

    type: str
    data: str
    last_event_id: str


class Decoder:
    r"""Read an event stream piece by piece.

    Attributes:
        last_event_id: What a reader would send as ``Last-Event-ID`` when it reconnects now.
        retry_ms: The reconnection time the stream asked for; ``None`` until it has.

    Example:
        >>> decoder = Decoder()
        >>> decoder.feed(b"data: Hel"), decoder.feed(b"lo\n\n")
        ([], [Event(type='message', data='Hello', last_event_id='')])
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry_ms: int | None = None
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = True
        self._after_cr = False
        self._rest: list[str] = []
        self._type = ""
        self._data: list[str] = []
        self._id_buffer = ""

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes, split anywhere, and return the events they complete."""
        text = self._text.decode(data)
        if self._at_start and text:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        if self._after_cr and text:
            # The CR at the end of the last piece already ended its line.
            self._after_cr = False
            text = text.removeprefix("\n")
        if text.endswith("\r"):
            self._after_cr = True
        *ended, rest = _LINE_END.split(text)
        if not ended:
            self._rest.append(rest)
            return []
        ended[0] = "".join(self._rest) + ended[0]
        self._rest = [rest]
        return [event for line in ended if (event := self._line(line)) is not None]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id_buffer = value
        elif name == "retry" and _DIGITS.fullmatch(value):
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id_buffer
        event_type, data = self._type, self._data
        self._type, self._data = "", []
        if not data:
            return None
        return Event(event_type or "message", "\n".join(data), self.last_event_id)
