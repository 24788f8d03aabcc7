"""Clients that stay come back as pages do, and write down what they see."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Self

import pytest
from tests.stories.faults.clients import RawClient
from tests.stories.faults.node_clients import NodeClients
from tests.stories.faults.records import ClientLog, Opened
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import free_port, wait_until

from flask_sse.wire.decode import Event

# A test of the test helpers.
pytestmark = pytest.mark.long

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
LAST_EVENT_ID = re.compile("\r\nlast-event-id: (.*)\r\n", re.IGNORECASE)


class Served:
    """One connection of a client, as its server sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENT_SECONDS)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += sock.recv(65536)
        self.request = request.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()

    @property
    def last_event_id(self) -> str | None:
        found = LAST_EVENT_ID.search(self.request)
        return found[1] if found else None

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def wait_left(self) -> None:
        with suppress(ConnectionError):
            while self.sock.recv(65536):
                pass


class Server:
    """A server that a test plays itself."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENT_SECONDS)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/stream?channel=a"

    def accept(self) -> Served:
        return Served(self._listener.accept()[0])

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def seen(client: RawClient, count: int) -> ClientLog:
    """Return the log as soon as so many things stand there."""
    wait_until(lambda: len(client.log().seen) >= count)
    return client.log()


def test_a_client_writes_down_what_it_sees_and_comes_back_with_the_last_id(server: Server) -> None:
    with RawClient([server.url], ["a"], name="page") as client:
        with server.accept() as first:
            assert first.request.startswith("GET /stream?channel=a HTTP/1.1\r\n")
            assert first.last_event_id is None
            first.send(HEAD + b"retry: 1\n\nevent: stream-open\nid: 1\ndata: {}\n\n")
            client.wait_opened()
            first.send(b"data: x\nid: 2\n\nid: 3\n\ndata: cut off\nid: 4\n")
            seen(client, 3)
        with server.accept() as second:
            assert second.last_event_id == "3"
            second.send(HEAD + b":\n\n")
            client.wait_opened(2)
        with server.accept() as third:
            assert third.last_event_id == "3"
            third.send(HEAD + b"data: y\nid: 5\n\n")
            log = seen(client, 6)
            assert client.last_event_id == "5"
    # The server's end may be noticed before the client is stopped, or not.
    assert (
        log
        == replace(client.log(), connected=True)
        == ClientLog(
            "page",
            ["a"],
            (
                Opened(1, ""),
                Event("stream-open", "{}", "1"),
                Event("message", "x", "2"),
                Opened(2, "3"),
                Opened(3, "3"),
                Event("message", "y", "5"),
            ),
        )
    )
    assert client.failures == []


def test_a_client_goes_from_server_to_server(server: Server, other: Server) -> None:
    away = f"http://127.0.0.1:{free_port()}/"
    with RawClient([server.url, away, other.url], ["a"], max_retry_seconds=0, last_event_id="0") as client:
        for each in (server, other, server):
            with each.accept() as served:
                assert served.last_event_id == "0"
                served.send(HEAD)
    assert "ConnectionRefusedError" in client.failures[0]
    connections = [record.connection for record in client.log().seen if isinstance(record, Opened)]
    assert connections == [1, 3, 4][: len(connections)]


def test_a_client_waits_as_long_as_it_is_told_but_no_longer_than_it_may(server: Server) -> None:
    with RawClient([server.url], ["a"], max_retry_seconds=0.3):
        for retry, least, most in ((b"retry: 0", 0, 0.25), (b"retry: 60000", 0.25, 2)):
            with server.accept() as served:
                served.send(HEAD + retry + b"\n\n")
            start = time.monotonic()
            server.accept().sock.close()
            assert least <= time.monotonic() - start < most


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_leaves_when_it_is_told(server: Server, reset: bool) -> None:
    with RawClient([server.url], ["a"]) as client:
        with server.accept() as first:
            first.send(HEAD)
            client.wait_opened()
            client.disconnect(reset=reset)
            if reset:
                with pytest.raises(ConnectionResetError):
                    first.sock.recv(1)
            else:
                assert first.sock.recv(1) == b""
        with server.accept() as second:
            second.send(HEAD)
            client.wait_opened(2)
            client.stop()
            second.wait_left()
    assert client.log().connected


def test_a_client_that_is_not_connected_in_the_end_says_so(server: Server) -> None:
    with RawClient([server.url], ["a"]) as client:
        with server.accept() as served:
            served.send(HEAD)
            client.wait_opened()
        wait_until(lambda: not client.connected)
    assert not client.log().connected


def test_a_paused_client_makes_its_server_wait(server: Server) -> None:
    with RawClient([server.url], ["a"]) as client, server.accept() as served:
        served.send(HEAD)
        client.wait_opened()
        client.pause()
        served.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            served.send(b"data: x\n\n" * 3_000_000)
        before = len(client.log().seen)
        client.resume()
        wait_until(lambda: len(client.log().seen) > before)


@pytest.mark.parametrize("how", [RawClient.disconnect, RawClient.stop])
def test_a_paused_client_can_leave(server: Server, how: Callable[[RawClient], None]) -> None:
    with RawClient([server.url], ["a"]) as client, server.accept() as served:
        client.pause()
        how(client)
        served.wait_left()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Busy\r\nContent-Type: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
    ],
)
def test_a_client_gives_up_as_a_browser_unless_it_is_patient(server: Server, answer: bytes) -> None:
    with RawClient([server.url], ["a"]) as client:
        with server.accept() as served:
            served.send(answer)
            served.wait_left()
        with pytest.raises(ConnectionError, match="status"):
            wait_until(client.wait_opened)
    with RawClient([server.url], ["a"], patient=True) as client:
        with server.accept() as served:
            served.send(answer)
        with server.accept() as served:
            served.send(HEAD)
            client.wait_opened()
    assert len(client.failures) == 1
    assert len(client.log().seen) == 1


def test_chunks_and_their_end_are_understood(server: Server) -> None:
    with RawClient([server.url], ["a"]) as client:
        with server.accept() as served:
            chunked = HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
            served.send(chunked + b"9\r\ndata: x\n\n\r\n0\r\n\r\n")
            served.wait_left()
        server.accept().sock.close()
    assert client.log().seen == (Opened(1, ""), Event("message", "x", ""))


def test_clients_of_node_write_down_what_they_see(server: Server, other: Server) -> None:
    types = ["message", "tick"]
    with NodeClients([server.url, other.url], ["a"], types=types) as clients, other.accept() as quiet:
        quiet.send(HEAD)
        with server.accept() as first:
            first.send(HEAD + b"event: stream-open\nid: 1\ndata: {}\n\nevent: unheard\nid: 2\ndata: 2\n\n")
            first.send("event: tick\nid: 3\ndata: \u2028ü\n\n".encode())
            clients.wait_opened()
        with server.accept() as second:
            assert second.last_event_id == "3"
            second.send(HEAD + b'event: stream-reset\nid: 4\ndata: {"to": "4"}\n\nid: 5\ndata: last\n\n')
            wait_until(lambda: len(clients.logs()[0].seen) == 6)
            assert clients.failures() == []
            clients.end()
            second.wait_left()
            quiet.wait_left()
    assert clients.process.wait() == 0
    assert clients.logs() == [
        ClientLog(
            "node client 0",
            ["a"],
            [
                Opened(1, ""),
                Event("stream-open", "{}", "1"),
                Event("tick", "\u2028ü", "3"),
                Opened(2, "3"),
                Event("stream-reset", '{"to": "4"}', "4"),
                Event("message", "last", "5"),
            ],
        ),
        ClientLog("node client 1", ["a"], [Opened(1, "")]),
    ]


def test_clients_of_node_say_when_they_give_up(server: Server) -> None:
    with NodeClients([server.url], ["a"]) as clients:
        with server.accept() as served:
            served.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            with pytest.raises(ConnectionError, match="503"):
                clients.wait_opened()
        (log,) = clients.logs()
    assert not log.connected
    assert log.seen == []
