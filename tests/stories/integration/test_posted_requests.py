"""(14.36) Streams that are asked for with POST are taken over once the body of the request was read."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.support import webservers
from tests.support.bare_application import BareApplication
from tests.support.client import StreamReader, connect
from tests.support.patience import PATIENT_SECONDS
from tests.support.webservers import WEB_SERVERS, RunningServer

APPS = Path(__file__).parent / "apps"
URL = "memory://posted"
TAKEOVER = [name for name, server in WEB_SERVERS.items() if server.takeover]
OFTEN = [
    "flask-single",
    "gunicorn-sync",
    "gevent-pywsgi",
    "waitress",
    "cheroot",
    "uwsgi-http-socket",
    "uvicorn-asyncio",
]
OPTIONS = {name: ["--enable-threads"] for name in WEB_SERVERS if name.startswith("uwsgi")}
# They give Flask no body that has no Content-Length.
NOT_CHUNKED = ("uwsgi", "uvicorn", "gunicorn-asgi")
UNREAD = "relay: the body of its request was not read to the end"
LARGE = b"x" * (3 * 1024 * 1024)
MULTIPART = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nhello\r\n--b--\r\n'
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def hub() -> Iterator[BareApplication]:
    """The hub of all servers here."""
    with BareApplication(URL) as client:
        client.status()
        yield client


def start(name: str) -> RunningServer:
    return webservers.start(name, "posted:app", APPS, {"POSTED_BROKER_URL": URL}, OPTIONS.get(name, ()))


def head(path: str, *fields: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *fields]
    return "\r\n".join([*lines, "", ""]).encode()


def posted(path: str, body: bytes, *fields: str) -> bytes:
    return head(path, f"Content-Length: {len(body)}", *fields) + body


@contextlib.contextmanager
def sent(server: RunningServer, *pieces: bytes) -> Iterator[StreamReader]:
    """Send pieces that do not arrive together, and read the answer as a stream."""
    sock = connect(server.port)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with StreamReader(sock) as stream:
        for number, piece in enumerate(pieces):
            if number:
                # The server has read what came before when it answers another connection.
                with contextlib.suppress(TimeoutError):
                    sock.settimeout(0.1)
                    sock.recv(1, socket.MSG_PEEK)
            sock.settimeout(PATIENT_SECONDS)
            sock.sendall(piece)
        yield stream


def is_taken_over(stream: StreamReader) -> bool:
    assert stream.status == 200
    assert stream.raw.count(b" 200 OK\r\n") == 1
    if "Server" in stream.headers:
        return False
    return stream.reading.head.endswith(b"\r\nConnection: close\r\n\r\n")


def check_answer(server: RunningServer, stream: StreamReader, who: str, text: str) -> None:
    """The worker is free while the answer is open, and the answer comes to its end."""
    assert stream.next_event().data == f"read {text}"
    assert is_taken_over(stream)
    assert server.get("/ordinary").body == b"ordinary "
    assert server.get(f"/go-on?who={quote(who)}").body == b"yes"
    assert stream.next_event().data == "the end"
    assert stream.next_event().type == "stream-end"
    assert stream.wait_closed() == "eof"
    assert b"ordinary" not in stream.raw


def bodies(name: str) -> Iterator[tuple[str, list[bytes], str]]:
    """Yield ways to send a body and to read it: a name, what is sent, and what the view has read."""

    def path(how: str, who: str) -> str:
        return f"/answer?how={quote(how)}&who={quote(who)}"

    form = "Content-Type: application/x-www-form-urlencoded"
    yield "length", [posted(path("data", "length"), b"hello")], "hello"
    yield "empty", [posted(path("data", "empty"), b"")], ""
    yield "without", [head(path("nothing ", "without"))], ""
    yield "json", [posted(path("json", "json"), b'"hello"')], "hello"
    yield "form", [posted(path("form", "form"), b"text=hello", form)], "hello"
    both = posted(path("data then form", "both"), b"text=hello", form)
    yield "both", [both], "text=hellohello"
    multipart = "Content-Type: multipart/form-data; boundary=b"
    yield "multipart", [posted(path("form", "multipart"), MULTIPART, multipart)], "hello"
    yield "pieces", [posted(path("pieces", "pieces"), b"hello")], "hello"
    late = posted(path("data", "late"), b"hello")
    yield "late", [late[:-3], late[-3:]], "hello"
    yield "large", [posted(path("some ", "large"), LARGE)], LARGE.decode()
    behind = posted(path("data", "behind"), b"hello")
    yield "behind", [behind + posted("/ordinary", b"behind")], "hello"
    if not name.startswith(NOT_CHUNKED):
        chunks = b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
        for how in ("data", "pieces"):
            who = f"chunked {how}"
            yield who, [head(path(how, who), "Transfer-Encoding: chunked") + chunks], "hello"
        who = "chunked late"
        chunked = head(path("data", who), "Transfer-Encoding: chunked") + chunks
        yield who, [chunked[:-9], chunked[-9:] + posted("/ordinary", b"behind")], "hello"


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in OFTEN else pytest.mark.long) for n in TAKEOVER]
)
def test_a_posted_stream_holds_no_worker(name: str, hub: BareApplication) -> None:
    """Whatever the form of the body, and whatever comes behind it."""
    with start(name) as server:
        for who, pieces, text in bodies(name):
            with sent(server, *pieces) as stream:
                check_answer(server, stream, who, text)
        check_expectation(server)
        check_keep_alive(server)
        with sent(server, posted("/channel?channel=posted", b"hello")) as stream:
            stream.wait_opened()
            assert is_taken_over(stream)
            assert hub.publish("to a channel", channel="posted") == 1
            assert stream.next_event().data == "to a channel"
        unread = head("/stream?channel=posted", "Content-Length: 5", method="GET") + b"hello"
        with sent(server, unread) as stream:
            stream.wait_opened()
            assert is_taken_over(stream)
        output = server.process.output()
        assert "Traceback" not in output
        assert "relay:" not in output
        check_unread(server)
        assert "Traceback" not in server.process.output()


def check_expectation(server: RunningServer) -> None:
    """A client that asks before it sends its body gets both answers."""
    if server.name.startswith("uwsgi"):
        return  # it never answers the question
    who = "expecting"
    with sent(server, head(f"/answer?who={who}", "Content-Length: 5", "Expect: 100-continue")) as stream:
        stream.sock.settimeout(PATIENT_SECONDS)
        assert stream.sock.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        stream.sock.sendall(b"hello")
        check_answer(server, stream, who, "hello")


def check_keep_alive(server: RunningServer) -> None:
    """The same after an ordinary request on the same connection, where the server keeps it open."""
    who = "kept"
    with sent(server, posted("/ordinary", b"first")) as stream:
        stream.sock.settimeout(PATIENT_SECONDS)
        first = b""
        while b"ordinary first" not in first:
            piece = stream.sock.recv(65536)
            assert piece, first
            first += piece
        if b"\r\nconnection: close\r\n" in first.lower() or server.name.startswith("uwsgi"):
            return  # uWSGI closes without saying so
        stream.sock.sendall(posted(f"/answer?who={who}", b"hello"))
        while stream.sock.recv(1, socket.MSG_PEEK) != b"H":
            assert stream.sock.recv(1), first  # of the last chunk of the first answer
        check_answer(server, stream, who, "hello")


def check_unread(server: RunningServer) -> None:
    """What was not read to its end is relayed: the generator may still read it, or nobody answers a 100."""
    cases = [("some", "")]
    if not server.name.startswith(("cheroot", "uwsgi")):
        # cheroot throws away what is left of a body, and uWSGI crashes when another thread reads it.
        cases.append(("nothing", " of hello"))
    for how, then in cases:
        with sent(server, posted(f"/answer?how={how}", b"hello")) as stream:
            assert stream.next_event().data == "read " + ("hel" if how == "some" else "")
            assert not is_taken_over(stream)
            assert stream.next_event().data == f"the end{then}"
            assert stream.next_event().type == "stream-end"
        assert server.get("/ordinary").body == b"ordinary "
    assert server.process.output().count(UNREAD) == len(cases)
    if server.name == "waitress":
        return  # it reads the whole body before it calls the application
    with sent(
        server, head("/answer?how=ignored", "Content-Length: 5", "Expect: 100-continue", "Connection: close")
    ) as stream:
        assert stream.events(3)[1].data == "the end"
        assert not is_taken_over(stream)
    assert server.get("/ordinary").body == b"ordinary "
