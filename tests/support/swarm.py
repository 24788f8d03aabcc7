"""Thousands of event streams in one thread."""

from __future__ import annotations

import contextlib
import itertools
import resource
import selectors
import socket
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Self, cast

from .client import RECEIVE_BYTES, Address, Reading, connect, request_bytes
from .patience import PATIENT_SECONDS
from .processes import wait_until

# A connection beyond a server's listen queue waits for a second; the shortest queues hold a few.
MAX_OPENING = 8
TURN_SECONDS = 0.02
MAX_DESCRIPTORS = 65536  # where the system names no limit


class Swarm:
    """Many streams at once, opened and read by a thread of their own.

    Attributes:
        events: For each stream, in the order of opening, the data of its events but the stream-open.
        closed: Numbers of the streams that the server ended, refused or did not take.
    """

    def __init__(
        self, addresses: Sequence[Address], path: str, headers: Mapping[str, str] | None = None
    ) -> None:
        raise_descriptor_limit()
        self.events: list[list[str]] = []
        self.closed: set[int] = set()
        self._addresses = itertools.cycle(addresses)
        self._request = request_bytes(path, headers)
        self._readings: list[Reading] = []
        self._waiting: deque[int] = deque()
        self._opening: set[int] = set()
        self._opened: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="swarm", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def open(self, count: int) -> None:
        """Begin to open ``count`` more streams, at each address in turn."""
        first = len(self.events)
        self.events += ([] for _ in range(count))
        self._readings += (Reading() for _ in range(count))
        self._waiting.extend(range(first, first + count))

    def wait_opened(self, seconds: float = PATIENT_SECONDS) -> None:
        """Return as soon as every stream has a head with status 200."""

        def opened() -> bool:
            if refused := self.closed - self._opened:
                raise ConnectionError(f"{len(refused)} of {len(self.events)} streams did not open")
            return len(self._opened) == len(self.events)

        wait_until(opened, seconds, "all streams open")

    def wait_events(self, count: int, seconds: float = PATIENT_SECONDS) -> None:
        """Return as soon as every stream has at least ``count`` events."""
        try:
            wait_until(lambda: min(map(len, self.events)) >= count, seconds)
        except TimeoutError:
            behind = sum(len(events) < count for events in self.events)
            message = f"{behind} of {len(self.events)} streams have not {count} events after {seconds} s"
            raise TimeoutError(message) from None

    def close(self) -> None:
        """Leave all streams."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._open_some()
            for key, _ in self._selector.select(TURN_SECONDS):
                self._read(cast("socket.socket", key.fileobj), key.data)
        for key in list(self._selector.get_map().values()):
            cast("socket.socket", key.fileobj).close()
        self._selector.close()

    def _open_some(self) -> None:
        while self._waiting and len(self._opening) < MAX_OPENING:
            number = self._waiting.popleft()
            try:
                sock = connect(next(self._addresses))
                sock.sendall(self._request)
            except OSError:
                self.closed.add(number)
                continue
            sock.setblocking(False)
            self._opening.add(number)
            self._selector.register(sock, selectors.EVENT_READ, number)

    def _read(self, sock: socket.socket, number: int) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = sock.recv(RECEIVE_BYTES)
        reading = self._readings[number]
        events = reading.feed(data)
        self.events[number] += (event.data for event in events if event.type != "stream-open")
        if reading.status == HTTPStatus.OK:
            self._opened.add(number)
        if reading.status:
            self._opening.discard(number)
        if not data or reading.ended or reading.status not in {0, HTTPStatus.OK}:
            self._opening.discard(number)
            self.closed.add(number)
            self._selector.unregister(sock)
            sock.close()


def raise_descriptor_limit() -> None:
    """Let this process open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
