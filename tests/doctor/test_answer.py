"""An answer is read the same however it is split, and whatever it is, it is bounded."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse.doctor.answer import MAX_BODY_BYTES, Answer

BODY = b"data:one\n\ndata:two\n\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def chunked(body: bytes, size: int = 7) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


ANSWERS = {
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


@pytest.mark.parametrize("name", ANSWERS)
@given(cuts=st.lists(st.integers(1, 40), max_size=40))
def test_it_is_read_the_same_however_it_is_split(name: str, cuts: list[int]) -> None:
    rest, answer, body = ANSWERS[name], Answer(), b""
    for cut in [*cuts, len(rest)]:
        body += answer.feed(rest[:cut])
        rest = rest[cut:]
    assert (answer.status, answer.wrong, body) == (200, "", BODY)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.is_over == (name in {"length", "chunks", "deflate in chunks"})


@given(head=st.sampled_from([b"", HEAD, *ANSWERS.values()]), pieces=st.lists(st.binary(max_size=60)))
def test_nothing_that_is_said_makes_it_fail(head: bytes, pieces: list[bytes]) -> None:
    answer = Answer()
    for piece in [head, *pieces, b"\r\n\r\n", *pieces]:
        answer.feed(piece)
    assert answer.status == 0 or 200 <= answer.status < 600


def test_headers_of_one_name_stand_behind_one_another() -> None:
    answer = Answer()
    answer.feed(b"HTTP/1.0 204 No Content\r\nVia: a\r\nVIA: b\r\n\r\n")
    assert (answer.status, answer.headers) == (204, {"via": "a, b"})


def test_a_body_is_read_up_to_its_limit() -> None:
    answer = Answer()
    answer.feed(HEAD + b"\r\n")
    piece = bytes(MAX_BODY_BYTES // 4)
    read = [len(answer.feed(piece)) for _ in range(8)]
    assert sum(read) <= MAX_BODY_BYTES
    assert "over" in answer.wrong


def test_a_few_bytes_are_not_unpacked_to_more_than_a_body_may_have() -> None:
    answer = Answer()
    answer.feed(HEAD + b"Content-Encoding: gzip\r\n\r\n")
    bomb = gzip.compress(bytes(20 * MAX_BODY_BYTES), 1)
    tracemalloc.start()
    try:
        assert answer.feed(bomb) == b""
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 5 * MAX_BODY_BYTES
    assert "over" in answer.wrong
