"""Keyed chunks: bytes of several events that keep their keys when they are joined and cut."""

from __future__ import annotations

import pytest

from flask_sse.wire.keyed_chunks import KeyedChunks, join, pieces_of, rest_of

CHUNKS = KeyedChunks([(b"abc", "1"), (b"def", None), (b"ghi", "3"), (b"jkl", "4")])


@pytest.mark.parametrize("cut", range(12))
def test_the_rest_of_several_events_has_their_keys_but_that_of_one_that_was_begun(cut: int) -> None:
    rest = rest_of(CHUNKS, cut)

    assert rest == b"abcdefghijkl"[cut:]
    whole, begun = ["1", None, "3", "4"], [None] if cut % 3 else []
    assert [key for _, key in pieces_of(rest)] == begun + whole[(cut + 2) // 3 :]
    assert rest_of(b"abc", cut) == b"abc"[cut:]


def test_keys_survive_a_join_with_bytes_that_have_none() -> None:
    joined = join([b"a", CHUNKS, b"b"])

    assert joined == b"aabcdefghijklb"
    assert [key for _, key in pieces_of(joined)] == [None, "1", None, "3", "4", None]


def test_bytes_without_keys_stay_bytes() -> None:
    assert type(join([b"a", b"b"])) is bytes
    assert join([CHUNKS]) is CHUNKS
