"""Events out of bytes: each vector in every split, and any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.vectors import LINE_BREAK, PARSE, ParseVector, pieces, read

from flask_sse.wire.decode import Decoder, Event

quick = settings(deadline=None, max_examples=200)

# Streams that are made of the words of the format, so that most of what is tried means something.
words = st.sampled_from(
    [
        *(b"data", b"data:", b"data: ", b"id:", b"id", b"event:", b"event", b"retry:", b"retry: ", b":"),
        *(b" ", b"\r", b"\n", b"\r\n", b"\n\n", b"\0", b"7", b"-", b"x", b"\t"),
        *("€".encode(), "\U0001f9ea".encode(), "\ufeff".encode(), "\u2028".encode(), "\x85".encode()),
        *(b"\xe2", b"\x82", b"\xff", b"\xef\xbb"),
    ]
)
streams = st.lists(words, max_size=40).map(b"".join)
cut_places = st.lists(st.integers(0, 200), max_size=12)


def expect(vector: ParseVector, stream: list[bytes]) -> None:
    events, decoder = read(stream)
    assert events == vector.events
    assert decoder.last_event_id == vector.last_event_id


@pytest.mark.parametrize("vector", PARSE, ids=lambda vector: vector.name)
def test_each_vector_is_read_whole(vector: ParseVector) -> None:
    expect(vector, [vector.stream])


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("vector", PARSE, ids=lambda vector: vector.name)
def test_each_vector_is_read_in_small_pieces(vector: ParseVector, size: int) -> None:
    expect(vector, pieces(vector.stream, list(range(0, len(vector.stream), size))))


@pytest.mark.parametrize("vector", PARSE, ids=lambda vector: vector.name)
@settings(deadline=None, max_examples=25)
@given(cuts=cut_places)
def test_each_vector_is_read_in_any_split(vector: ParseVector, cuts: list[int]) -> None:
    expect(vector, pieces(vector.stream, cuts))


def test_a_crlf_that_is_cut_in_two_ends_one_line() -> None:
    decoder = Decoder()

    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"\ndata: b\r") == []
    assert decoder.feed(b"\n\r") == [Event("message", "a\nb", "")]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: c\n\n") == [Event("message", "c", "")]


def test_a_cr_that_ends_the_block_does_not_wait_for_a_line_feed() -> None:
    assert Decoder().feed(b"data: a\r\r") == [Event("message", "a", "")]


def test_an_empty_piece_does_not_part_a_cr_from_its_lf() -> None:
    assert read([b"data: a\r", b"", b"\n", b"\n"])[0] == [Event("message", "a", "")]


@pytest.mark.parametrize("cut", range(len("data: €豆腐\U0001f9ea\n\n".encode()) + 1))
def test_a_character_may_be_cut_anywhere(cut: int) -> None:
    stream = "data: €豆腐\U0001f9ea\n\n".encode()

    assert read([stream[:cut], stream[cut:]])[0] == [Event("message", "€豆腐\U0001f9ea", "")]


@pytest.mark.parametrize("cut", range(4))
def test_only_the_first_byte_order_mark_goes_even_if_it_is_cut(cut: int) -> None:
    stream = b"\xef\xbb\xbfdata: a\n\ndata: \xef\xbb\xbfb\n\n"

    assert read([stream[:cut], stream[cut:]])[0] == [
        Event("message", "a", ""),
        Event("message", "\ufeffb", ""),
    ]


def test_a_second_byte_order_mark_spoils_the_name_of_the_field() -> None:
    assert Decoder().feed(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n") == [Event("message", "b", "")]


@pytest.mark.parametrize("value", ["10x", "-1", "1.5", "+1", " ", "", "1_000", "٣", "²", "0x10"])
def test_a_retry_that_is_no_row_of_ascii_digits_is_ignored(value: str) -> None:
    _, decoder = read([b"retry: 5\n", f"retry: {value}\n\n".encode()])

    assert decoder.retry_ms == 5


def test_a_retry_holds_as_soon_as_its_line_is_read() -> None:
    decoder = Decoder()
    decoder.feed(b"retry: 0042\n")

    assert decoder.retry_ms == 42


def test_a_retry_of_thousands_of_digits_does_no_harm() -> None:
    stream = b"retry: " + b"9" * 5000 + b"\ndata: a\n\n"

    assert Decoder().feed(stream) == [Event("message", "a", "")]


def test_the_id_holds_only_when_its_block_is_complete() -> None:
    decoder = Decoder()
    decoder.feed(b"id: 1\n\nid: 2\ndata: cut")

    assert decoder.last_event_id == "1"


def test_the_id_stays_for_the_events_that_have_none() -> None:
    events, _ = read([b"id: 1\ndata: a\n\ndata: b\n\n"])

    assert [event.last_event_id for event in events] == ["1", "1"]


def plainly_read(stream: bytes) -> tuple[list[Event], str, int | None]:
    """Read a whole stream by the standard's steps, one after the other, with no thought of pieces."""
    text = stream.decode(errors="replace").removeprefix("\ufeff")
    lines = LINE_BREAK.split(text)[:-1]
    events: list[Event] = []
    kind = data = event_id = last_id = ""
    retry: int | None = None
    for line in lines:
        if line == "":
            last_id = event_id
            if data:
                events.append(Event(kind or "message", data.removesuffix("\n"), last_id))
            kind = data = ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        if field == "data":
            data += value + "\n"
        if field == "id" and "\0" not in value:
            event_id = value
        if field == "retry" and value.isascii() and value.isdigit():
            retry = int(value)
    return events, last_id, retry


@settings(deadline=None, max_examples=400)
@given(stream=streams, cuts=cut_places)
def test_any_stream_in_any_split_is_read_as_the_standard_says(stream: bytes, cuts: list[int]) -> None:
    events, decoder = read(pieces(stream, cuts))

    assert (events, decoder.last_event_id, decoder.retry_ms) == plainly_read(stream)


@quick
@given(stream=st.binary(max_size=200), cuts=cut_places)
def test_no_bytes_whatever_break_the_reader(stream: bytes, cuts: list[int]) -> None:
    assert read(pieces(stream, cuts))[0] == read([stream])[0]
