"""Takeover in process: three steps, and what is left where one of them fails."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime

import psutil
import pytest

from flask_sse.serving.client_socket import ClientSocket, GoneError
from flask_sse.serving.takeover import TakenConnection, response_head

HEADERS = [("Content-Type", "text/event-stream"), ("Content-Length", "0"), ("X-Own", "ü")]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and its connection as a web server holds it."""
    client, server = socket.socketpair()
    with closing(client), closing(server):
        client.settimeout(10)
        yield client, server


def held(server: socket.socket) -> ClientSocket:
    def exclusively(action: Callable[[int], None]) -> None:
        action(server.fileno())

    return ClientSocket(server, exclusively, close_header=True, body=(b"\n",))


def open_descriptors() -> int:
    return psutil.Process().num_fds()


def test_the_copy_is_the_client_and_the_server_has_a_dead_socket(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, server = pair
    with TakenConnection(held(server)) as connection:
        server.sendall(b"of the server")
        os.write(connection.descriptor, b"of the hub")
        assert client.recv(100) == b"of the hub"
        body = connection.finish_request(lambda *_: None, "200 OK", HEADERS)
    assert client.recv(100) == b"", "no copy is left, so the connection has ended"
    assert list(body) == [b"\n"]
    body.close()


def test_the_web_server_gets_the_headers_and_the_end_of_the_connection(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    started: list[object] = []
    with TakenConnection(held(pair[1])) as connection:
        body = connection.finish_request(lambda *args: started.extend(args), "200 OK", HEADERS)
    body.close()

    assert started == ["200 OK", [*HEADERS, ("Connection", "close")]]


def test_a_short_answer_reaches_the_client_before_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    client, server = pair
    client.sendall(b"unread")
    with TakenConnection(held(server)) as connection:
        connection.answer_and_end(b"not now")
        assert client.recv(100) == b"not now"
        assert client.recv(100) == b""
        connection.finish_request(lambda *_: None, "200 OK", HEADERS).close()


@pytest.mark.parametrize("is_copied", [False, True])
def test_a_connection_that_cannot_be_taken_leaves_no_descriptor(
    pair: tuple[socket.socket, socket.socket], is_copied: bool
) -> None:
    def exclusively(action: Callable[[int], None]) -> None:
        if is_copied:
            action(pair[1].fileno())
        raise GoneError

    before = open_descriptors()
    with pytest.raises(GoneError):
        TakenConnection(ClientSocket(pair[1], exclusively))
    assert open_descriptors() == before


def test_an_error_on_the_way_to_the_hub_leaves_no_descriptor(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    before = open_descriptors()
    with pytest.raises(KeyboardInterrupt), TakenConnection(held(pair[1])):
        raise KeyboardInterrupt
    assert open_descriptors() == before


def test_a_head_has_a_date_and_ends_with_the_connection() -> None:
    first, *lines = response_head("200 OK", HEADERS).decode("latin-1").split("\r\n")
    named = dict(line.split(": ", 1) for line in lines[:-2])

    assert first == "HTTP/1.1 200 OK"
    assert lines[-2:] == ["", ""]
    assert named.keys() == {"Content-Type", "X-Own", "Date", "Connection"}
    assert named["Connection"] == "close"
    assert named["Date"].endswith(" GMT")
    assert parsedate_to_datetime(named["Date"]).tzinfo is not None


def test_a_date_of_the_application_is_kept() -> None:
    head = response_head("200 OK", [("Date", "Thu, 01 Jan 1970 00:00:00 GMT")])

    assert head.count(b"Date:") == 1
