"""The connections of a proxy: what was read on one side and goes out on the other, as its toxics let it.

Rules of this file: all sockets are non-blocking, nothing here waits; the proxy's thread calls.
"""

from __future__ import annotations

import math
import random
import selectors
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal

# Towards the server, towards the client.
Direction = Literal["upstream", "downstream"]

RECEIVE_BYTES = 65536
MAX_QUEUED_BYTES = 4 * RECEIVE_BYTES  # of one direction of a connection; who sends more has to wait
MAX_ASKED_BYTES = 65536  # of what a client sent first, kept to tell connections apart
BURST_SECONDS = 0.02  # what a limited bandwidth lets through at once
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@dataclass
class Toxics:
    """What is wrong with one direction of all connections."""

    latency_seconds: float = 0
    jitter_seconds: float = 0
    bytes_per_second: float = math.inf
    sliced: bool = False

    @property
    def most_bytes(self) -> int:
        """How many bytes may be written at once."""
        if self.sliced:
            return 1
        return int(min(MAX_QUEUED_BYTES, max(1, self.bytes_per_second * BURST_SECONDS)))


class LimitReachedError(Exception):
    """A connection has passed on all the bytes that it may."""


class Pipe:
    """One direction of a connection.

    Attributes:
        full: Whether the target takes no more just now.
        done: Whether the source has said all, and the target knows.
        bytes_left: How many bytes may still pass; ``None`` for any number.
    """

    def __init__(self, source: socket.socket, target: socket.socket, toxics: Toxics) -> None:
        self.full = False
        self.done = False
        self.bytes_left: int | None = None
        self._source, self._target, self._toxics = source, target, toxics
        # When it came, its share of the jitter, and what it is; no bytes are the end.
        self._queue: deque[tuple[float, float, memoryview]] = deque()
        self._queued_bytes = 0
        self._ended = False
        self._sent_at, self._sent_bytes = 0.0, 0

    @property
    def wants_more(self) -> bool:
        """Whether there is room for what the source says."""
        return not self._ended and self._queued_bytes < MAX_QUEUED_BYTES

    def due_at(self) -> float:
        """Return when the next bytes may go; infinity if there are none, or no room for them."""
        if not self._queue or self.full:
            return math.inf
        # Worked out anew each time, so that a toxic acts on what is on its way when it is switched.
        came_at, jitter, _ = self._queue[0]
        delay = self._toxics.latency_seconds + jitter * self._toxics.jitter_seconds
        return max(came_at + delay, self._sent_at + self._sent_bytes / self._toxics.bytes_per_second)

    def read(self) -> bytes:
        """Take what the source says next."""
        data = self._source.recv(RECEIVE_BYTES)
        self._queue.append((time.monotonic(), random.uniform(-1, 1), memoryview(data)))
        self._queued_bytes += len(data)
        self._ended = not data
        return data

    def write(self) -> None:
        """Pass on what is due, as much as may go at once."""
        came_at, jitter, data = self._queue[0]
        if not data:
            self._queue.clear()
            self._target.shutdown(socket.SHUT_WR)
            self.done = True
            return
        if self.bytes_left == 0:
            raise LimitReachedError
        size = min(self._toxics.most_bytes, len(data) if self.bytes_left is None else self.bytes_left)
        try:
            sent = self._target.send(data[:size])
        except BlockingIOError:
            self.full = True
            return
        self._sent_at, self._sent_bytes = time.monotonic(), sent
        self._queued_bytes -= sent
        if self.bytes_left is not None:
            self.bytes_left -= sent
        self._queue.popleft()
        if sent < len(data):
            self._queue.appendleft((came_at, jitter, data[sent:]))


class Connection:
    """A client, its server, and what is between them.

    Attributes:
        number: Counts the connections of a proxy, from 1.
        asked: The first bytes that the client sent.
        silent: Whether nothing passes.
        pipes: Both directions.
    """

    def __init__(
        self, number: int, client: socket.socket, server: socket.socket, toxics: dict[Direction, Toxics]
    ) -> None:
        self.number = number
        self.asked = b""
        self.silent = False
        self.client, self.server = client, server
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = Pipe(client, server, toxics["upstream"])
        down = Pipe(server, client, toxics["downstream"])
        self.pipes: dict[Direction, Pipe] = {"upstream": up, "downstream": down}

    def pass_on(self) -> float:
        """Write what is due and return when to do so again.

        Raises:
            EOFError: If both sides have said all.
            LimitReachedError: If no more may pass.
            OSError: If a side has left.
        """
        pipes = self.pipes.values()
        for pipe in pipes:
            if pipe.due_at() <= time.monotonic():
                pipe.write()
        if all(pipe.done for pipe in pipes):
            raise EOFError
        return min(pipe.due_at() for pipe in pipes)

    def wanted(self) -> dict[socket.socket, int]:
        """Return what to wait for on each of its sockets."""
        if self.silent:
            return {self.client: 0, self.server: 0}
        up, down = self.pipes["upstream"], self.pipes["downstream"]
        return {
            self.client: READ * up.wants_more | WRITE * down.full,
            self.server: READ * down.wants_more | WRITE * up.full,
        }

    def ready(self, sock: socket.socket, events: int) -> None:
        """Take what came on one of its sockets, and note where there is room again.

        Raises:
            OSError: If that side has left.
        """
        out, back = self.pipes["upstream"], self.pipes["downstream"]
        if sock is self.server:
            out, back = back, out
        if events & WRITE:
            back.full = False
        if events & READ:
            data = out.read()
            if sock is self.client and len(self.asked) < MAX_ASKED_BYTES:
                self.asked += data

    def close(self, *, reset: bool) -> None:
        """Leave both sides."""
        for sock in (self.client, self.server):
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
