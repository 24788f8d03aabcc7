"""Response reader: turns the bytes of one HTTP/1.1 response into observations and events. No I/O, no clock.

h11 does the framing: it reports each piece as it arrives, where ``http.client`` would wait for the whole head
and for whole chunks. What it leaves to its caller is here: limits, compression, the event stream.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

import h11

from ..wire.decode import Decoder, Event
from .observations import Ending, OpenAttempt, printable
from .stream_url import StreamURL

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 2 * 1024 * 1024

_HEADERS = {
    "cache-control",
    "connection",
    "content-encoding",
    "content-type",
    "location",
    "server",
    "transfer-encoding",
    "via",
    "x-accel-buffering",
}
_BEGINNING_BYTES = 4096
_MAX_MESSAGES = 8
_COMMENT = re.compile(r"^:(.*[^\s].*)$", re.MULTILINE)
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class ResponseReader:
    """Reads the response to one attempt, however its bytes are split.

    Args:
        attempt: Filled in as the response arrives.
        on_event: Called with each event of the body and the time of its arrival.

    Attributes:
        ending: How the response ended; ``None`` while it is open.
        last_body_at: When the last bytes of the body arrived.
    """

    def __init__(self, attempt: OpenAttempt, on_event: Callable[[Event, float], None]) -> None:
        self.ending: Ending | None = None
        self.last_body_at = 0.0
        self._attempt = attempt
        self._on_event = on_event
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._requested_at = 0.0
        self._beginning = b""
        self._event_types: list[str] = []
        self._body_bytes = self._wire_bytes = 0
        self._decompressor: zlib._Decompress | None = None
        self._decoder = Decoder()

    @property
    def first_messages(self) -> tuple[str, ...]:
        """Texts of the first comments, and types of the first events."""
        comments = _COMMENT.findall(self._beginning.decode("utf-8", "replace"))
        return tuple(printable(text) for text in [*comments[:_MAX_MESSAGES], *self._event_types])

    def request(self, url: StreamURL, cookie: str, now: float) -> bytes:
        """Return a request as a browser's ``EventSource`` sends it, and measure from now on."""
        self._requested_at = self.last_body_at = now
        headers = {
            "Host": url.host_header,
            "Accept": "text/event-stream",
            "Accept-Encoding": "gzip, deflate",
            "Cache-Control": "no-store",
            "Connection": "keep-alive",
            "User-Agent": "Flask-SSE doctor",
            **({"Cookie": cookie} if cookie else {}),
        }
        request = h11.Request(method="GET", target=url.target, headers=list(headers.items()))
        return (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    def feed(self, data: bytes, now: float) -> None:
        """Take the next bytes; none at the end of the connection."""
        try:
            self._http.receive_data(data)
            while self.ending is None and isinstance(event := self._http.next_event(), h11.Event):
                self._take(event, now, is_closed=not data)
            self._check(len(data))
        except (h11.RemoteProtocolError, zlib.error) as error:
            # h11 quotes the line that it rejects, which may be a cookie.
            reason = str(error).partition(": b")[0]
            self.end("unreadable", reason) if data else self.end("closed")

    def end(self, ending: Ending, reason: str = "") -> None:
        """Note how the response ended; before its head, that is a failure of the attempt."""
        self.ending = ending
        self._attempt.reason = printable(reason)
        if not self._attempt.status:
            self._attempt.failure = "not-http" if ending == "unreadable" else "closed"
            self._attempt.reason = printable(reason) or "the connection was closed without a response"

    def _take(self, event: h11.Event, now: float, *, is_closed: bool) -> None:
        if isinstance(event, h11.Response):
            self._take_head(event, now)
        elif isinstance(event, h11.Data):
            self._take_body(self._decompressed(bytes(event.data)), now)
        elif isinstance(event, h11.EndOfMessage):
            self.end("closed" if is_closed else "last chunk")

    def _take_head(self, response: h11.Response, now: float) -> None:
        headers: dict[str, str] = {}
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1"), printable(raw_value.decode("latin-1"))
            if name in _HEADERS:
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if "location" in headers:
            # Its query may have a ticket, which grants access and belongs in no report.
            headers["location"] = headers["location"].partition("?")[0]
        self._attempt.status, self._attempt.headers = response.status_code, headers
        self._attempt.head_seconds = now - self._requested_at
        if self._attempt.encoding in {"gzip", "x-gzip", "deflate"}:
            self._decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)

    def _take_body(self, body: bytes, now: float) -> None:
        self._body_bytes += len(body)
        if not body or self._body_bytes > MAX_BODY_BYTES:
            return
        self.last_body_at = now
        if self._attempt.body_seconds is None:
            self._attempt.body_seconds = now - self._requested_at
        if len(self._beginning) < _BEGINNING_BYTES:
            self._beginning += body[: _BEGINNING_BYTES - len(self._beginning)]
            self._attempt.beginning = printable(self._beginning.decode("utf-8", "replace"))
        for event in self._decoder.feed(body):
            if len(self._event_types) < _MAX_MESSAGES:
                self._event_types.append(event.type)
            self._on_event(event, now)

    def _decompressed(self, data: bytes) -> bytes:
        # A few bytes may decompress to gigabytes.
        return self._decompressor.decompress(data, MAX_BODY_BYTES + 1) if self._decompressor else data

    def _check(self, received: int) -> None:
        if self._attempt.status:
            self._wire_bytes += received
            if max(self._wire_bytes, self._body_bytes) > MAX_BODY_BYTES:
                raise h11.RemoteProtocolError(f"the body is over {MAX_BODY_BYTES} bytes")
            return
        # h11 waits for an empty line; a server of another protocol (SSH, SMTP, Redis) may send just one line.
        beginning, _ = self._http.trailing_data
        if not beginning.startswith(b"HTTP/"[: len(beginning)]):
            raise h11.RemoteProtocolError("the response does not begin with HTTP/")
