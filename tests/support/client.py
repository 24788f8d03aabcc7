"""A client of event streams on a plain socket: it sees every byte, and keeps them."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from email.message import Message
from typing import NamedTuple, Self, TypeVar

from flask_sse.wire.decode import Decoder, Event

from .patience import PATIENT_SECONDS

T = TypeVar("T")

# A port of 127.0.0.1, or the path of a Unix socket.
Address = int | str

RECEIVE_BYTES = 65536
HEAD_END = b"\r\n\r\n"
# Takes any certificate: those of tests are their own authority.
TLS = ssl._create_unverified_context()


class Answer(NamedTuple):
    """An answer to an ordinary request."""

    status: int
    headers: Message
    body: bytes


def get(
    address: Address,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    *,
    tls: bool = False,
) -> Answer:
    """Ask for ``path`` and return the whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1")
    connection.sock = connect(address, tls=tls)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def connect(address: Address, *, tls: bool = False) -> socket.socket:
    """Return a connection to ``address``."""
    family, target = (
        (socket.AF_INET, ("127.0.0.1", address)) if isinstance(address, int) else (socket.AF_UNIX, address)
    )
    sock = socket.socket(family)
    try:
        sock.settimeout(PATIENT_SECONDS)
        sock.connect(target)
        return TLS.wrap_socket(sock) if tls else sock
    except BaseException:
        sock.close()
        raise


def request_bytes(path: str, headers: Mapping[str, str] | None = None, http_version: str = "1.1") -> bytes:
    """Return the bytes of a GET request as a browser's ``EventSource`` would send it."""
    lines = {"Host": "127.0.0.1", "Accept": "text/event-stream", **(headers or {})}
    head = [
        f"GET {path} HTTP/{http_version}",
        *(f"{name}: {value}" for name, value in lines.items()),
    ]
    return "\r\n".join([*head, "", ""]).encode()


class Reading:
    """What the bytes of one answer say so far; does no I/O.

    Attributes:
        raw: All bytes, as they came.
        head: The bytes of the head with the empty line that ends it; empty until it is whole.
        status: The status code; 0 until the head is whole.
        headers: The headers.
        body: The bytes of the body, out of their chunks.
        ended: Whether the last chunk has come.
        decoder: The reader of the body; knows the last event id and the retry as well.
    """

    def __init__(self) -> None:
        self.raw = bytearray()
        self.head = b""
        self.status = 0
        self.headers = Message()
        self.body = bytearray()
        self.ended = False
        self.decoder = Decoder()
        self._rest = b""
        self._chunked = False

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return the events they complete."""
        self.raw += data
        self._rest += data
        if not self.head and not self._read_head():
            return []
        piece = self._chunks() if self._chunked else self._all()
        self.body += piece
        return self.decoder.feed(piece)

    def _read_head(self) -> bool:
        head, end, rest = self._rest.partition(HEAD_END)
        while end and head.startswith(b"HTTP/1.1 1"):  # informational, and another one follows
            head, end, rest = rest.partition(HEAD_END)
        if not end:
            return False
        status_line, _, fields = head.partition(b"\r\n")
        self.head = head + end
        self.status = int(status_line.split()[1])
        self.headers = http.client.parse_headers(io.BytesIO(fields + end))
        self._chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        self._rest = rest
        return True

    def _all(self) -> bytes:
        piece, self._rest = self._rest, b""
        return piece

    def _chunks(self) -> bytes:
        pieces = []
        while not self.ended:
            line, end, rest = self._rest.partition(b"\r\n")
            size = int(line.partition(b";")[0], 16) if end else 0
            if not end or len(rest) < size + len(b"\r\n"):
                break
            pieces.append(rest[:size])
            self._rest = rest[size + len(b"\r\n") :]
            self.ended = size == 0
        return b"".join(pieces)


class StreamReader:
    """One event stream that comes over a connection, whoever opened it.

    All that must come is waited for with patience; give a ``timeout`` only for what must not come.

    Attributes:
        sock: The connection.
        reading: What came over it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.reading = Reading()
        self.sock = sock
        self._events: deque[Event] = deque()
        self._ending: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def status(self) -> int:
        """The status code, as soon as the head is there."""
        self._wait_for_head()
        return self.reading.status

    @property
    def headers(self) -> Message:
        """The headers, as soon as the head is there."""
        self._wait_for_head()
        return self.reading.headers

    @property
    def raw(self) -> bytes:
        """All bytes received so far, the head and the chunks' sizes too."""
        return bytes(self.reading.raw)

    def wait_opened(self, timeout: float = PATIENT_SECONDS) -> Event:
        """Return what a stream with history says first to a client that comes back with nothing."""
        event = self.next_event(timeout)
        if event.type != "stream-open":
            raise ValueError(f"{event} instead of stream-open")
        return event

    def next_event(self, timeout: float = PATIENT_SECONDS) -> Event:
        """Return the next event."""
        return self.events(1, timeout)[0]

    def events(self, count: int, timeout: float = PATIENT_SECONDS) -> list[Event]:
        """Return the next ``count`` events."""
        self._until(lambda: len(self._events) >= count, timeout, f"{count} events")
        return [self._events.popleft() for _ in range(count)]

    def wait_for_bytes(self, wanted: bytes, timeout: float = PATIENT_SECONDS) -> None:
        """Return as soon as the body has ``wanted`` somewhere in it."""
        self._until(lambda: wanted in self.reading.body, timeout, repr(wanted))

    def wait_closed(self, timeout: float = PATIENT_SECONDS) -> str:
        """Wait for the end of the stream; return its kind: ``eof``, ``last chunk`` or ``reset``."""
        return self._until(lambda: self._ending, timeout, "the end of the stream")

    def close(self) -> None:
        """Leave, as a page that is closed."""
        self.sock.close()

    def reset(self) -> None:
        """Leave with a reset, as a machine that crashed."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _wait_for_head(self) -> None:
        self._until(lambda: self.reading.head, PATIENT_SECONDS, "a head")

    def _until(self, condition: Callable[[], T | None], timeout: float, what: str) -> T:
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            if self._ending:
                raise EOFError(f"{self._ending} instead of {what} after {self.raw[-2000:]!r}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no {what} within {timeout} s after {self.raw[-2000:]!r}")
            self._receive(left)
        return value

    def _receive(self, seconds: float) -> None:
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except TimeoutError:
            return
        except ConnectionError:
            self._ending = "reset"
            return
        self._events += self.reading.feed(data)
        if not data:
            self._ending = "eof"
        elif self.reading.ended:
            self._ending = "last chunk"


class StreamClient(StreamReader):
    """One event stream that it asks a server for."""

    def __init__(
        self,
        address: Address,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        http_version: str = "1.1",
        tls: bool = False,
    ) -> None:
        super().__init__(connect(address, tls=tls))
        self.sock.sendall(request_bytes(path, headers, http_version))
