"""A response is read the same however it is split, and everything in it is bounded."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse.doctor.observations import OpenAttempt
from flask_sse.doctor.response_reader import MAX_BODY_BYTES, MAX_HEAD_BYTES, ResponseReader
from flask_sse.doctor.stream_url import StreamURL
from flask_sse.wire.decode import Event

BODY = b"data:one\n\ndata:two\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
URL = StreamURL.parse("http://example.com/stream?channel=a")


class Response:
    """A response that is read, and what was found in it."""

    def __init__(self) -> None:
        self.attempt = OpenAttempt("a", is_probe_channel=True)
        self.events: list[tuple[str, float]] = []
        self.reader = ResponseReader(self.attempt, self._on_event)
        self.request = self.reader.request(URL, "", 10.0)

    def _on_event(self, event: Event, now: float) -> None:
        self.events.append((event.data, now))

    def feed(self, data: bytes, now: float = 11.0) -> None:
        if self.reader.ending is None:
            self.reader.feed(data, now)


def chunked(body: bytes, size: int = 7) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


RESPONSES = {
    "plain": HEAD + b"\r\n" + BODY,
    "line feeds alone": HEAD.replace(b"\r", b"") + b"\n" + BODY,
    "length": HEAD + b"Content-Length: %d\r\n\r\n%b behind it" % (len(BODY), BODY),
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY),
    "gzip": HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(BODY),
    "deflate in chunks": HEAD
    + b"Content-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(zlib.compress(BODY)),
    "after another head": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + b"\r\n" + BODY,
}


@pytest.mark.parametrize("name", RESPONSES)
@given(cuts=st.lists(st.integers(1, 40), max_size=40))
def test_it_is_read_the_same_however_it_is_split(name: str, cuts: list[int]) -> None:
    rest, response = RESPONSES[name], Response()
    for cut in [*cuts, len(rest)]:
        if rest[:cut]:
            response.feed(rest[:cut])
        rest = rest[cut:]
    assert (response.attempt.status, response.attempt.content_type) == (200, "text/event-stream")
    assert [data for data, _ in response.events] == ["one", "two"]
    assert (response.attempt.beginning, response.attempt.reason) == ("data:one??data:two??", "")
    ends = name in {"length", "chunks", "deflate in chunks"}
    assert response.reader.ending == ("last chunk" if ends else None)


@given(head=st.sampled_from([b"", HEAD, *RESPONSES.values()]), pieces=st.lists(st.binary(max_size=60)))
def test_no_bytes_make_it_fail(head: bytes, pieces: list[bytes]) -> None:
    response = Response()
    for piece in [head, *pieces, b"\r\n\r\n", *pieces, b""]:
        response.feed(piece)
    assert response.reader.ending is not None
    assert response.attempt.status == 0 or 200 <= response.attempt.status < 1000
    assert (response.attempt.failure is None) == bool(response.attempt.status)


def test_each_piece_has_its_time() -> None:
    response = Response()
    response.feed(HEAD, 10.5)
    response.feed(b"\r\n", 11.0)
    response.feed(b":\n\ndata:a\n", 12.0)
    response.feed(b"\n", 14.0)
    attempt = response.attempt
    assert (attempt.head_seconds, attempt.body_seconds, response.events) == (1.0, 2.0, [("a", 14.0)])
    assert response.reader.last_body_at == 14.0


def test_the_request_is_that_of_a_browser() -> None:
    lines = Response().request.decode().lower().split("\r\n")
    assert lines[0] == "get /stream?channel=a http/1.1"
    assert {"host: example.com", "accept: text/event-stream", "accept-encoding: gzip, deflate"} < set(lines)
    assert lines[-2:] == ["", ""]
    assert b"a=b; c=d" in ResponseReader(OpenAttempt("a", True), lambda event, now: None).request(
        URL, "a=b; c=d", 0.0
    )


def test_headers_of_one_name_are_joined_and_those_with_rights_are_left_out() -> None:
    response = Response()
    response.feed(b"HTTP/1.0 302 Found\r\nVia: a\r\nVIA: b\r\nLocation: /a?ticket=x\r\nSet-Cookie: x\r\n\r\n")
    assert (response.attempt.status, response.attempt.headers) == (302, {"via": "a, b", "location": "/a"})


def test_a_cookie_in_a_line_that_is_not_valid_is_not_shown() -> None:
    response = Response()
    response.feed(HEAD + b"Set-Cookie: geheim\0\r\n\r\n")
    assert (response.attempt.failure, response.attempt.reason) == ("not-http", "illegal header line")


@pytest.mark.parametrize(
    ("data", "ending", "failure"),
    [
        (b"", "closed", "closed"),
        (HEAD, "closed", "closed"),
        (HEAD + b"\r\n", "closed", None),
        (HEAD + b"Content-Length: 9\r\n\r\n", "closed", None),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n:", "closed", None),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "last chunk", None),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "unreadable", None),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "unreadable", "not-http"),
        (b"-ERR unknown command 'GET'\r\n", "unreadable", "not-http"),
        (b"HTTP/2 200\r\n\r\n", "unreadable", "not-http"),
        (HEAD + b"X: y\r\n" * (MAX_HEAD_BYTES // 5), "unreadable", "not-http"),
    ],
)
def test_how_it_ends_is_known(data: bytes, ending: str, failure: str | None) -> None:
    response = Response()
    for piece in [data, b""] if data else [b""]:
        response.feed(piece)
    assert (response.reader.ending, response.attempt.failure) == (ending, failure)


def test_a_body_is_read_up_to_its_limit() -> None:
    response = Response()
    response.feed(HEAD + b"\r\n")
    for _ in range(8):
        response.feed(b"data:x\n\n" * (MAX_BODY_BYTES // 32))
    assert 0 < len(response.events) <= MAX_BODY_BYTES // 8
    assert (response.reader.ending, "over" in response.attempt.reason) == ("unreadable", True)


def test_a_few_bytes_are_not_decompressed_to_more_than_a_body_may_have() -> None:
    response = Response()
    response.feed(HEAD + b"Content-Encoding: gzip\r\n\r\n")
    bomb = gzip.compress(bytes(20 * MAX_BODY_BYTES), 1)
    tracemalloc.start()
    try:
        response.feed(bomb)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 5 * MAX_BODY_BYTES
    assert (response.events, "over" in response.attempt.reason) == ([], True)
