"""A client that stays: it comes back as a page does, and writes down what it sees for the checker."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Sequence
from http import HTTPStatus
from typing import Self
from urllib.parse import urlsplit

from tests.support.client import RECEIVE_BYTES, Reading, connect, request_bytes
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until

from flask_sse.wire.decode import Event

from .records import ClientLog, Opened

DEFAULT_RETRY_SECONDS = 3.0  # what browsers wait that no stream has told otherwise
MAX_RETRY_SECONDS = 0.2  # what tests wait at most, whatever a stream asks for
MAX_RECORDS = 1_000_000
JOIN_SECONDS = 15.0


class RawClient:
    """One event stream after the other, on plain sockets; leaving the ``with`` block ends it.

    Args:
        urls: Where it listens; each time that it comes back it goes to the next one.
        channels: Of its stream.
        name: Of this client, in the log.
        max_retry_seconds: How long it waits at most before it comes back, whatever the stream asks for.
        last_event_id: What it begins with.
        patient: Whether it comes back after what makes a browser give up: any answer but an event stream.

    Attributes:
        last_event_id: What it would send now.
        connected: Whether a stream is open; after :meth:`stop`, whether one was.
        failures: Why connections brought no event stream, each in a line.
    """

    def __init__(
        self,
        urls: Sequence[str],
        channels: Sequence[str],
        *,
        name: str = "raw client",
        max_retry_seconds: float = MAX_RETRY_SECONDS,
        last_event_id: str = "",
        patient: bool = False,
    ) -> None:
        self.last_event_id = last_event_id
        self.connected = False
        self.failures: list[str] = []
        self._urls, self._channels, self._name, self._patient = urls, channels, name, patient
        self._max_retry_seconds = max_retry_seconds
        self._retry_seconds = DEFAULT_RETRY_SECONDS
        self._seen: list[Opened | Event] = []
        self._lock = threading.Lock()  # of the two below
        self._sock: socket.socket | None = None
        self._leaving = False
        self._may_read = threading.Event()
        self._may_read.set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def log(self) -> ClientLog:
        """Return what it has seen so far."""
        return ClientLog(self._name, self._channels, tuple(self._seen), connected=self.connected)

    def wait_opened(self, connections: int = 1, seconds: float = PATIENT_SECONDS) -> None:
        """Return as soon as a stream is open, not before that many have been."""

        def opened() -> bool:
            if not self._thread.is_alive():
                raise ConnectionError(f"{self._name} has ended: {self.failures}")
            return self.connected and sum(isinstance(each, Opened) for each in self._seen) >= connections

        wait_until(opened, seconds, f"{connections} connections of {self._name}")

    def disconnect(self, *, reset: bool = False) -> None:
        """Leave the stream that is open, and come back; one that is paused goes on."""
        with self._lock:
            self._leaving = True
            if self._sock:
                if reset:
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._sock.shutdown(socket.SHUT_RD)  # wakes who reads, and tells the server nothing
        self._may_read.set()

    def pause(self) -> None:
        """Read nothing more, but for what is being read just now."""
        self._may_read.clear()

    def resume(self) -> None:
        """Read again."""
        self._may_read.set()

    def stop(self) -> None:
        """Leave for good."""
        self._stopped.set()
        self.disconnect()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        for connection, url in enumerate(itertools.cycle(self._urls), 1):
            try:
                self._listen(connection, url)
            except OSError as error:
                self.failures.append(repr(error))
            except _NoEventStreamError as error:
                self.failures.append(str(error))
                if not self._patient:
                    return
            if self._stopped.wait(min(self._retry_seconds, self._max_retry_seconds)):
                return

    def _listen(self, connection: int, url: str) -> None:
        parts = urlsplit(url)
        headers = {"Last-Event-ID": self.last_event_id} if self.last_event_id else {}
        reading = Reading()
        # Browsers keep the id over connections; a block without one says nothing new.
        reading.decoder.last_event_id = reading.decoder._id_buffer = self.last_event_id
        with connect(parts.port or 80) as sock:
            sock.settimeout(None)
            with self._lock:
                self._sock, self._leaving = sock, self._stopped.is_set()
            try:
                sock.sendall(request_bytes(f"{parts.path}?{parts.query}", headers))
                while not reading.ended and (data := self._receive(sock)):
                    self._take(data, reading, Opened(connection, headers.get("Last-Event-ID", "")))
            finally:
                with self._lock:
                    self._sock = None
                    self.connected &= self._stopped.is_set()

    def _receive(self, sock: socket.socket) -> bytes:
        self._may_read.wait()
        data = b"" if self._leaving else sock.recv(RECEIVE_BYTES)
        return b"" if self._leaving else data

    def _take(self, data: bytes, reading: Reading, opened: Opened) -> None:
        is_new = not reading.head
        events = reading.feed(data)
        if is_new and reading.head:
            kind = reading.headers.get_content_type()
            if reading.status != HTTPStatus.OK or kind != "text/event-stream":
                raise _NoEventStreamError(f"status {reading.status}, {kind}")
            self._seen.append(opened)
            self.connected = True
        self._seen += events
        if len(self._seen) > MAX_RECORDS:
            raise RuntimeError(f"{self._name} has seen more than {MAX_RECORDS} events")
        self.last_event_id = reading.decoder.last_event_id
        if reading.decoder.retry_ms is not None:
            self._retry_seconds = reading.decoder.retry_ms / 1000
        for kept in (reading.raw, reading.body):
            kept.clear()


class _NoEventStreamError(Exception):
    """The answer was none of those that an ``EventSource`` comes back after."""
