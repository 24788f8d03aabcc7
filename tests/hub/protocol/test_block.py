"""Blocks survive every cut; heartbeats are left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.support.packets import (
    cut,
    cut_places,
    quick,
)

from flask_sse.hub.protocol.block import BlockDecoder, encode_block


def test_a_block_is_a_length_and_an_envelope() -> None:
    assert encode_block(b"abc") == b"\0\0\0\x03abc"
    assert encode_block(b"") == b"\0\0\0\0"


@quick
@given(envelopes=st.lists(st.binary(max_size=40), max_size=6), cuts=cut_places)
def test_blocks_are_read_in_any_split_and_heartbeats_left_out(
    envelopes: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(encode_block(envelope) for envelope in envelopes)
    decoder = BlockDecoder()

    read = [envelope for piece in cut(stream, cuts) for envelope in decoder.feed(piece)]

    assert read == [envelope for envelope in envelopes if envelope]


def test_a_block_that_is_cut_off_is_not_read() -> None:
    assert list(BlockDecoder().feed(encode_block(b"abc")[:-1])) == []
