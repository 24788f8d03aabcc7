"""A TCP proxy in front of one server, with faults that are switched while it runs.

Rules of this file: one thread owns all sockets and all state. What a test calls hands that thread a piece of
work and returns when it is done, so a fault holds from the next line of the test on.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Container
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Self, TypeVar

from .patience import PATIENT_SECONDS
from .pipes import READ, RECEIVE_BYTES, Connection, Direction, LimitReachedError, Toxics
from .processes import free_port

T = TypeVar("T")

# Some connections: by their numbers, or by the first bytes that the client sent on them.
Which = Container[int] | Callable[[bytes], bool]

MAX_CONNECTIONS = 1000
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = PATIENT_SECONDS  # for the thread to do what a test asks for


class Proxy:
    """A running proxy; leaving the ``with`` block ends it and all its connections.

    Faults add up until :meth:`restore`. Where a fault takes a direction, ``None`` stands for both.

    Args:
        upstream_port: The server's port.
        host: The server's address.

    Attributes:
        port: Its own port of 127.0.0.1.
    """

    def __init__(self, upstream_port: int, host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self._upstream = (host, upstream_port)
        self._toxics: dict[Direction, Toxics] = {"upstream": Toxics(), "downstream": Toxics()}
        self._silent = False
        self._connections: dict[int, Connection] = {}
        self._unmet: list[socket.socket] = []  # clients that came while all was silent
        self._accepted = 0
        self._selector = selectors.DefaultSelector()
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._bell, self._ear = socket.socketpair()
        self._selector.register(self._ear, READ, self._do_work)
        self._listener: socket.socket | None = None
        self._listen()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ask(self._stop)
        self._thread.join(ANSWER_SECONDS)
        for end in (self._selector, self._bell, self._ear):
            end.close()

    def connections(self) -> dict[int, bytes]:
        """Return the numbers of the open connections, with the first bytes that the client sent on each."""
        return self._ask(lambda: {number: each.asked for number, each in self._connections.items()})

    def latency(self, seconds: float, jitter: float = 0, direction: Direction | None = None) -> None:
        """Hold all bytes back for ``seconds``, more or less by up to ``jitter``; their order stays."""
        self._ask(lambda: self._spoil(direction, latency_seconds=seconds, jitter_seconds=jitter))

    def bandwidth(self, bytes_per_second: float, direction: Direction | None = None) -> None:
        """Let no more than so many bytes through, on each connection."""
        if bytes_per_second <= 0:
            raise ValueError("no bandwidth at all is a black hole")
        self._ask(lambda: self._spoil(direction, bytes_per_second=bytes_per_second))

    def slicer(self, direction: Direction | None = None) -> None:
        """Write one byte at a time."""
        self._ask(lambda: self._spoil(direction, sliced=True))

    def black_hole(self) -> None:
        """Let nothing pass, not even the news that a side has left; take new connections in silence.

        As with a cable that is out: what was sent meanwhile arrives after :meth:`restore`.
        """

        def silence() -> None:
            self._silent = True
            for connection in self._connections.values():
                connection.silent = True

        self._ask(silence)

    def black_hole_connections(self, which: Which) -> set[int]:
        """Do so with some of the present connections alone; return their numbers."""

        def silence() -> set[int]:
            chosen = self._chosen(which)
            for connection in chosen:
                connection.silent = True
            return {connection.number for connection in chosen}

        return self._ask(silence)

    def limit_data(self, size: int, direction: Direction, which: Which | None = None) -> None:
        """Close each of the present connections when more than ``size`` further bytes want to pass on it.

        Later connections are not limited, so whoever tries again gets through.

        Args:
            size: In bytes; with 0 and ``downstream`` a request arrives and its answer does not.
            direction: In which the bytes are counted.
            which: Some of the connections; ``None`` for all.
        """

        def limit() -> None:
            for connection in self._chosen(which):
                connection.pipes[direction].bytes_left = size

        self._ask(limit)

    def lead_to(self, port: int) -> None:
        """Lead later connections to another server; the present ones stay where they are."""

        def lead() -> None:
            self._upstream = (self._upstream[0], port)

        self._ask(lead)

    def reset(self) -> None:
        """End all connections with a reset, on both sides; new ones are taken."""
        self._ask(partial(self._close_all, reset=True))

    def cut(self) -> None:
        """End all connections and refuse new ones."""

        def cut() -> None:
            self._refuse()
            self._close_all(reset=False)

        self._ask(cut)

    def restore(self) -> None:
        """Take all faults away."""

        def restore() -> None:
            self._spoil(None, **vars(Toxics()))
            self._silent = False
            for connection in self._connections.values():
                connection.silent = False
                for pipe in connection.pipes.values():
                    pipe.bytes_left = None
            while self._unmet:
                self._connect(self._unmet.pop(0))
            if self._listener is None:
                self._listen()

        self._ask(restore)

    def _ask(self, work: Callable[[], T]) -> T:
        answer: Future[T] = Future()

        def do() -> None:
            try:
                answer.set_result(work())
            except Exception as error:  # noqa: BLE001 - it belongs to who asked
                answer.set_exception(error)

        self._work.put(do)
        self._bell.send(b"\0")
        return answer.result(ANSWER_SECONDS)

    # All below runs in the thread, but for what the constructor calls before there is one.

    def _run(self) -> None:
        while not self._stopped:
            due_at = min(map(self._serve, list(self._connections.values())), default=math.inf)
            wait = None if due_at == math.inf else max(0, due_at - time.monotonic())
            for key, events in self._selector.select(wait):
                key.data(events)

    def _do_work(self, _events: int) -> None:
        self._ear.recv(RECEIVE_BYTES)
        while not self._work.empty():
            self._work.get()()

    def _stop(self) -> None:
        self._stopped = True
        self._refuse()
        self._close_all(reset=False)

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, READ, self._accept)

    def _refuse(self) -> None:
        if self._listener:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, _events: int) -> None:
        if self._listener is None:  # closed in this very turn
            return
        with contextlib.suppress(OSError):  # it may have left again
            client, _ = self._listener.accept()
            if len(self._connections) + len(self._unmet) >= MAX_CONNECTIONS:
                client.close()
            elif self._silent:
                self._unmet.append(client)
            else:
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream, CONNECT_SECONDS)
        except OSError:
            client.close()
            return
        self._accepted += 1
        self._connections[self._accepted] = Connection(self._accepted, client, server, self._toxics)

    def _serve(self, connection: Connection) -> float:
        """Pass on what is due and listen for more; return when to come again."""
        due_at = math.inf
        try:
            if not connection.silent:
                due_at = connection.pass_on()
        except (EOFError, LimitReachedError, OSError) as error:
            self._close(connection, reset=isinstance(error, OSError))
            return math.inf
        for sock, events in connection.wanted().items():
            self._watch(sock, events, partial(self._ready, connection, sock))
        return due_at

    def _ready(self, connection: Connection, sock: socket.socket, events: int) -> None:
        if connection.number in self._connections:
            try:
                connection.ready(sock, events)
            except OSError:
                self._close(connection, reset=True)

    def _watch(self, sock: socket.socket, events: int, call: Callable[[int], None] | None = None) -> None:
        known = self._selector.get_map().get(sock)
        if known and not events:
            self._selector.unregister(sock)
        elif not known and events:
            self._selector.register(sock, events, call)
        elif known and events != known.events:
            self._selector.modify(sock, events, call)

    def _chosen(self, which: Which | None) -> list[Connection]:
        def fits(connection: Connection) -> bool:
            if which is None:
                return True
            return which(connection.asked) if callable(which) else connection.number in which

        return list(filter(fits, self._connections.values()))

    def _spoil(self, direction: Direction | None, **changes: float) -> None:
        for name, toxics in self._toxics.items():
            if direction in {None, name}:
                vars(toxics).update(changes)

    def _close_all(self, *, reset: bool) -> None:
        for connection in list(self._connections.values()):
            self._close(connection, reset=reset)
        while self._unmet:
            self._unmet.pop().close()

    def _close(self, connection: Connection, *, reset: bool) -> None:
        for sock in (connection.client, connection.server):
            self._watch(sock, 0)
        del self._connections[connection.number]
        connection.close(reset=reset)
