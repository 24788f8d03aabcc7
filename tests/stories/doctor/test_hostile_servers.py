"""A hostile server neither blocks the doctor nor makes it fail."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
from collections.abc import Callable, Iterable

import pytest
from tests.support.diagnosis import HURRY, diagnose
from tests.support.local import LocalServer
from tests.support.patience import Stopwatch
from tests.support.scripted import ScriptedServer

from flask_sse.doctor.probe import Timeouts

# What all steps may take together, and the work.
MOST_SECONDS = 4 * (HURRY.head + HURRY.body) + 3 * HURRY.arrival + HURRY.flush + 3
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
DRIP_SECONDS = 0.02


def says(
    *pieces: bytes, then: Iterable[bytes] = (), pace: float = 0.0
) -> Callable[[socket.socket, bytes], None]:
    """Return a script that sends these pieces, then more until the client closes."""

    def script(client: socket.socket, request: bytes) -> None:
        for piece in itertools.chain(pieces, then):
            client.sendall(piece)
            if pace:
                client.settimeout(pace)
                with contextlib.suppress(TimeoutError):
                    if not client.recv(1):
                        return
        client.settimeout(30)
        client.recv(1)

    return script


def closes(*pieces: bytes) -> Callable[[socket.socket, bytes], None]:
    def script(client: socket.socket, request: bytes) -> None:
        for piece in pieces:
            client.sendall(piece)

    return script


def endless(*pieces: bytes) -> Iterable[bytes]:
    return itertools.cycle(pieces)


# The bytes that are read at most, or the time, whichever is over first on this machine.
FULL = "The stream ends at once|Events do not arrive"

HOSTILE = {
    "silent": (says(), "No response"),
    "closes at once": (closes(), "The connection is closed without a response"),
    "half a head": (closes(STREAM), "The connection is closed without a response"),
    "endless head": (says(STREAM, then=endless(b"X-More: more\r\n" * 100)), "The response is not HTTP/1.1"),
    "endless header": (says(STREAM, b"X:", then=endless(b"x" * 60_000)), "The response is not HTTP/1.1"),
    "many headers": (says(STREAM, b"X: y\r\n" * 50_000, b"\r\n"), "The response is not HTTP/1.1"),
    "thousands of headers": (says(STREAM, b"X: y\r\n" * 5000, b"\r\n"), "Events do not arrive"),
    "dripping head": (says(STREAM, b"X: ", then=endless(b"x"), pace=DRIP_SECONDS), "No response"),
    "one line of ssh": (says(b"SSH-2.0-OpenSSH_9.6\r\n"), "The response is not HTTP/1.1"),
    "no http": (says(b"220 mail.example ESMTP\r\n\r\n"), "The response is not HTTP/1.1"),
    "noise": (says(bytes(range(256)) * 100), "The response is not HTTP/1.1"),
    "endless noise": (says(then=endless(bytes(range(256)) * 100)), "The response is not HTTP/1.1"),
    "http/2": (says(b"HTTP/2 200\r\n\r\n"), "The response is not HTTP/1.1"),
    "endless continue": (says(then=endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)), "No response"),
    "endless body": (says(STREAM + b"\r\n", then=endless(b"x" * 60_000)), FULL),
    "endless lines": (says(STREAM + b"\r\n", then=endless(b"\n" * 60_000)), FULL),
    "endless events": (
        says(STREAM + b"\r\n", then=endless(b"data:x\n\n" * 9_000)),
        FULL,
    ),
    "dripping body": (says(STREAM + b"\r\n", then=endless(b":"), pace=DRIP_SECONDS), "Events do not arrive"),
    "endless page": (
        says(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", then=endless(b"<p>" * 20_000)),
        "The response is not an event stream",
    ),
    "huge chunk": (says(CHUNKED, b"FFFFFFFF\r\nx"), "Events do not arrive"),
    "longer chunk": (says(CHUNKED, b"FFFFFFFFFFFFFFFFF\r\nx"), "Events do not arrive"),
    "longest chunk": (says(CHUNKED, b"F" * 30 + b"\r\n"), "The stream ends at once"),
    "negative chunk": (says(CHUNKED, b"-1\r\n"), "The stream ends at once"),
    "endless size": (says(CHUNKED, b"1;", then=endless(b"x" * 10_000)), "The stream ends at once"),
    "dripping size": (says(CHUNKED, b"1;", then=endless(b"x"), pace=DRIP_SECONDS), "Events do not arrive"),
    "lying chunk": (says(CHUNKED, b"1\r\n:::::\r\n"), "The stream ends at once"),
    "last chunk": (says(CHUNKED, b"0\r\n\r\n"), "The stream ends at once"),
    "tiny chunks": (says(CHUNKED, then=endless(b"1\r\n\n\r\n" * 9_000)), FULL),
    "bomb": (
        says(STREAM + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(200_000_000), 1)),
        FULL,
    ),
    "no gzip": (says(STREAM + b"Content-Encoding: gzip\r\n\r\n", b"data:x\n\n"), "The stream ends at once"),
    "wrong utf-8": (says(STREAM + b"\r\n", b"data:\xff\xfe\n\n:\xff\x1b[31m\n\n"), "Events do not arrive"),
    "wrong headers": (
        says(STREAM, b": x\r\n\x00\xff\r\nServer: \x1b[2J\r\n\r\n"),
        "The response is not HTTP/1.1",
    ),
    "escapes in headers": (says(STREAM, b"Server: \x1b[2J\xff\r\n\r\n"), "Events do not arrive"),
    "other status": (
        says(b"HTTP/1.1 418 \x1b[5m\r\nContent-Length: 999\r\n\r\n\x1b[5m"),
        "The response is an error",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_found_out_in_time(name: str, start: Callable[..., LocalServer]) -> None:
    script, problem = HOSTILE[name]
    app = start().app
    with ScriptedServer(script) as server:
        with Stopwatch() as watch:
            found = diagnose(app, f"{server.url}/stream", HURRY)
        assert watch.seconds < MOST_SECONDS
    assert len(found.problems) == 1
    assert found.problems[0] in problem.split("|")
    assert "\x1b" not in repr(found)


def test_a_server_that_takes_connections_and_says_nothing_is_left(start: Callable[..., LocalServer]) -> None:
    app = start().app
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/stream"
        assert diagnose(app, url, HURRY).problems == ["No response"]
        impatient = Timeouts(connect=0.3)
        # The TLS handshake gets no response.
        assert diagnose(app, url.replace("http", "https"), impatient).problems == ["The connection times out"]
