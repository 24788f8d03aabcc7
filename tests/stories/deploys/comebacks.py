"""Thousands of clients that come back when they are told to, in one thread."""

from __future__ import annotations

import heapq
import selectors
import socket
import time
from collections.abc import Callable
from typing import Self, cast

from tests.support.client import RECEIVE_BYTES, Reading, connect, request_bytes
from tests.support.swarm import MAX_OPENING, raise_descriptor_limit

TURN_SECONDS = 0.05


class Comebacks:
    """Opens streams and, when the server ends them, opens them again after their ``retry``.

    Attributes:
        ended_at: When streams were ended, in seconds of the monotonic clock.
        attempts: When their clients came back.
        open: How many streams are open.
    """

    def __init__(self, port: int, path: str) -> None:
        raise_descriptor_limit()
        self.ended_at: list[float] = []
        self.attempts: list[float] = []
        self.open = 0
        self._port = port
        self._request = request_bytes(path)
        self._selector = selectors.DefaultSelector()
        self._opening = 0
        self._due: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for key in list(self._selector.get_map().values()):
            cast("socket.socket", key.fileobj).close()
        self._selector.close()

    def add(self, count: int) -> None:
        """Open streams."""
        while self.open < count:
            while self._opening < MAX_OPENING and self.open + self._opening < count:
                self._connect()
            self._turn()

    def go_on_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Read, and come back when it is time, until something holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.open} open, {len(self._due)} to come back")
            self._turn()

    def _turn(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0] <= now:
            heapq.heappop(self._due)
            self.attempts.append(now)
            self._connect()
        for key, _ in self._selector.select(TURN_SECONDS):
            self._read(cast("socket.socket", key.fileobj), key.data)

    def _connect(self) -> None:
        sock = connect(self._port)
        sock.sendall(self._request)
        sock.setblocking(False)
        self._opening += 1
        self._selector.register(sock, selectors.EVENT_READ, Reading())

    def _read(self, sock: socket.socket, reading: Reading) -> None:
        data = sock.recv(RECEIVE_BYTES)
        was_open = bool(reading.decoder.retry_ms)
        reading.feed(data)
        if not was_open and reading.decoder.retry_ms:
            self._opening -= 1
            self.open += 1
        if not data:
            if reading.decoder.retry_ms is None:
                raise ConnectionError(f"sent away: {reading.raw!r}")
            self._selector.unregister(sock)
            sock.close()
            self.open -= 1
            self.ended_at.append(time.monotonic())
            heapq.heappush(self._due, time.monotonic() + reading.decoder.retry_ms / 1000)


def most_per_second(times: list[float]) -> int:
    """Return how many of them fall into the fullest second."""
    times = sorted(times)
    first = most = 0
    for last, moment in enumerate(times):
        while moment - times[first] > 1:
            first += 1
        most = max(most, last - first + 1)
    return most
