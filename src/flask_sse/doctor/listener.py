"""What came over one stream, and when: the head, comments, events. It decides nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from ..wire.decode import Decoder, Event
from .address import Address
from .answer import Answer
from .line import Line
from .observations import Ending, printable

_BEGINNING_BYTES = 4096
_MAX_SAID = 8
_COMMENT = re.compile(r"^:(.*[^\s].*)$", re.MULTILINE)


class Listener:
    """A stream that was asked for.

    Attributes:
        answer: What was answered so far.
        asked_at: When it was asked, as ``time.monotonic`` has it.
        head_at: When the head was there; ``None`` until it is.
        body_at: When the first bytes of the body were there.
        heard_at: When the last bytes were there.
        beginning: The first bytes of the body.
        events: The first events, and when each was there; later ones are asked for by ``wanted``.
        wanted: Says whether an event is to be kept, too.
        ending: How it ended; ``None`` while it goes on.
    """

    def __init__(self, line: Line, wanted: Callable[[Event], bool]) -> None:
        self.answer = Answer()
        self.asked_at = self.heard_at = time.monotonic()
        self.head_at: float | None = None
        self.body_at: float | None = None
        self.beginning = b""
        self.events: list[tuple[Event, float]] = []
        self.wanted = wanted
        self.ending: Ending | None = None
        self._line = line
        self._decoder = Decoder()

    @property
    def said(self) -> tuple[str, ...]:
        """The first comments, and the types of the first events."""
        comments = _COMMENT.findall(self.beginning.decode("utf-8", "replace"))
        types = [event.type for event, _ in self.events]
        return tuple(printable(text) for text in [*comments[:_MAX_SAID], *types[:_MAX_SAID]])

    def until(self, is_enough: Callable[[], object], seconds: float) -> bool:
        """Listen until it is enough, the time is over or the stream is; return whether it was enough."""
        deadline = time.monotonic() + seconds
        while not is_enough():
            if self.ending is not None or not self._receive(deadline):
                return bool(is_enough())
        return True

    def _receive(self, deadline: float) -> bool:
        try:
            data = self._line.receive(deadline)
        except OSError:
            self.ending = "reset"
            return True
        if data is None:
            return False
        now = time.monotonic()
        if data:
            self._take(data, now)
        elif self.ending is None:
            self.ending = "closed"
        return True

    def _take(self, data: bytes, now: float) -> None:
        body = self.answer.feed(data)
        if self.answer.status and self.head_at is None:
            self.head_at = now
        if body:
            self.body_at = self.body_at or now
            self.heard_at = now
            self.beginning += body[: _BEGINNING_BYTES - len(self.beginning)]
            for event in self._decoder.feed(body):
                if len(self.events) < _MAX_SAID or self.wanted(event):
                    self.events.append((event, now))
        if self.answer.wrong:
            self.ending = "unreadable"
        elif self.answer.is_over:
            self.ending = "last chunk"


def ask(line: Line, address: Address, headers: dict[str, str], seconds: float) -> None:
    """Ask for a stream as a browser's ``EventSource`` does.

    Raises:
        OSError: If the server does not take the request.
    """
    fields = {
        "Host": address.host_header,
        "Accept": "text/event-stream",
        "Accept-Encoding": "gzip, deflate",
        "Cache-Control": "no-store",
        "Connection": "keep-alive",
        "User-Agent": "Flask-SSE doctor",
        **headers,
    }
    lines = [f"GET {address.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    line.send("\r\n".join([*lines, "", ""]).encode("latin-1"), seconds)


def offered_protocol(address: Address, protocols: tuple[str, ...], seconds: float) -> str:
    """Return which of these protocols the server chooses with TLS; empty if it does not say."""
    try:
        with Line(address, seconds, protocols) as line:
            return line.protocol
    except OSError:
        return ""
