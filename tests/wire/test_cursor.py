"""Cursors: what is one, what is none, and what a stream goes on from whatever a client sends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse.wire.cursor import (
    EARLIEST,
    END_ID,
    FROM_NOW,
    MAX_MS,
    NOWHERE,
    Cursor,
    Stamp,
    flaw_of_own_id,
    order,
    positions,
    read_cursor,
)

quick = settings(deadline=None, max_examples=300)

ONE, OTHER = "abcdefgh.1700000000000-0", "hgfedcba.7-12"
CHANNELS = ("a", "b", "c")

epochs = st.text("abcdefghijklmnopqrstuvwxyz", min_size=8, max_size=8)
ids = st.builds("{}-{}".format, st.integers(0, MAX_MS), st.integers(0, 2**63 - 1))
cursors = st.builds(Cursor, epochs, ids)


# -- what is a cursor ------------------------------------------------------------------------------


@quick
@given(cursor=cursors)
def test_what_is_written_is_read_again(cursor: Cursor) -> None:
    assert read_cursor(str(cursor)) == Cursor.of(str(cursor)) == cursor


@pytest.mark.parametrize("event_id", ["0-0", "1-0", "0-1", f"{MAX_MS}-0", f"1-{2**63 - 1}"])
def test_every_id_that_a_broker_gives_is_understood(event_id: str) -> None:
    assert read_cursor(f"abcdefgh.{event_id}") == ("abcdefgh", event_id)


NO_CURSORS = {
    "nothing": "",
    "an epoch alone": "abcdefgh",
    "an epoch and a dot": "abcdefgh.",
    "an id alone": "1-0",
    "no counter": "abcdefgh.1",
    "half a counter": "abcdefgh.1-",
    "no time": "abcdefgh.-1",
    "a negative time": "abcdefgh.-1-0",
    "a negative counter": "abcdefgh.1--1",
    "a plus": "abcdefgh.+1-0",
    "a leading zero": "abcdefgh.01-0",
    "a leading zero of the counter": "abcdefgh.1-00",
    "a time that no date of a page can be": f"abcdefgh.{MAX_MS + 1}-0",
    "a counter that a broker's numbers cannot hold": f"abcdefgh.1-{2**63}",
    "what Redis cannot hold": "abcdefgh.18446744073709551615-18446744073709551615",
    "thousands of digits": f"abcdefgh.{'9' * 5000}-0",
    "digits of other scripts": "abcdefgh.١٢-0",
    "superscript": "abcdefgh.1²-0",
    "wide digits": "abcdefgh.\N{FULLWIDTH DIGIT ONE}-0",
    "underscore in a number": "abcdefgh.1_0-0",
    "exponent": "abcdefgh.1e3-0",
    "fraction": "abcdefgh.1.0-0",
    "hexadecimal": "abcdefgh.0x1-0",
    "a short epoch": "abcdefg.1-0",
    "a long epoch": "abcdefghi.1-0",
    "capitals": "ABCDEFGH.1-0",
    "letters of other alphabets": "абвгдежз.1-0",
    "a line feed behind": "abcdefgh.1-0\n",
    "a space behind": "abcdefgh.1-0 ",
    "a space before": " abcdefgh.1-0",
    "NUL behind": "abcdefgh.1-0\0",
    "two": f"{ONE},{OTHER}",
    "another kind of dash": "abcdefgh.1\u20110",
}


@pytest.mark.parametrize("text", NO_CURSORS.values(), ids=NO_CURSORS.keys())
def test_what_is_no_cursor_is_not_taken_for_one(text: str) -> None:
    assert read_cursor(text) is None


def test_ids_have_the_order_of_their_numbers_not_of_their_letters() -> None:
    ascending = ["0-0", "0-9", "0-10", "9-0", "10-0", "10-2", "10-11", f"{MAX_MS}-{2**63 - 1}"]

    assert sorted({*ascending}, key=order) == ascending


def test_a_stamp_says_the_position_behind_its_event() -> None:
    assert Stamp("abcdefgh", "2-0", "1-0").cursor == Cursor("abcdefgh", "2-0")


# -- what a stream goes on from --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_event_id", "since"),
    [
        ("", (FROM_NOW,)),
        ("earliest", (EARLIEST,)),
        (ONE, (ONE,)),
        ("order-7", ("order-7",)),
        ("ü\N{TEST TUBE}", ("ü\N{TEST TUBE}",)),
        ("Earliest", ("Earliest",)),
        (",", (",",)),
        (f"{ONE},{OTHER}", (f"{ONE},{OTHER}",)),
        ("a\0b", (NOWHERE,)),
        ("a\nb", (NOWHERE,)),
        ("a\rb", (NOWHERE,)),
        ("\ud800", (NOWHERE,)),
        # 13.11: said again to the client, each of these would make its next request the last one.
        ("job\x01seven", (NOWHERE,)),
        ("\x85", (NOWHERE,)),
        (END_ID, (NOWHERE,)),
        ("x" * 256, ("x" * 256,)),
        ("x" * 257, (NOWHERE,)),
        ("ü" * 128, ("ü" * 128,)),
        ("ü" * 129, (NOWHERE,)),
        ("x" * 70_000, (NOWHERE,)),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_the_stream_of_one_channel_goes_on_from_what_its_client_sends(
    last_event_id: str, since: tuple[str, ...]
) -> None:
    assert positions(last_event_id, ["a"]) == since


@pytest.mark.parametrize(
    ("last_event_id", "since"),
    [
        ("", (FROM_NOW, FROM_NOW)),
        (f"{ONE},{OTHER}", (ONE, OTHER)),
        (f"{OTHER},{ONE}", (OTHER, ONE)),
        (f"{ONE},{ONE}", (ONE, ONE)),
        ("earliest", (EARLIEST, EARLIEST)),
        (f"earliest,{ONE}", (EARLIEST, ONE)),
        (f"{ONE},earliest", (ONE, EARLIEST)),
        ("earliest,earliest", (EARLIEST, EARLIEST)),
        # An application's own id is looked for in every channel, and so is a cursor of another stream.
        ("order-7", ("order-7", "order-7")),
        ("order,7", ("order,7", "order,7")),
        (ONE, (ONE, ONE)),
        (f"{ONE},", (f"{ONE},", f"{ONE},")),
        (f"{ONE},7", (f"{ONE},7", f"{ONE},7")),
        (f"{ONE}, {OTHER}", (f"{ONE}, {OTHER}", f"{ONE}, {OTHER}")),
        (f"{ONE},{OTHER},{ONE}", (f"{ONE},{OTHER},{ONE}", f"{ONE},{OTHER},{ONE}")),
        (",", (",", ",")),
        (f"{ONE},\0", (NOWHERE, NOWHERE)),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_the_stream_of_two_channels_goes_on_in_each(last_event_id: str, since: tuple[str, ...]) -> None:
    assert positions(last_event_id, ["a", "b"]) == since


def test_many_channels_have_a_longer_id_than_any_application_may_give() -> None:
    channels = [f"c{number:02}" for number in range(50)]
    cursors = tuple(f"abcdefgh.{number}-0" for number in range(50))

    assert positions(",".join(cursors), channels) == cursors


@pytest.mark.parametrize("last_event_id", ["", "earliest", ONE, "order-7", "\0"])
def test_a_stream_without_history_goes_on_from_nothing(last_event_id: str) -> None:
    assert positions(last_event_id, []) == ()


def test_nowhere_is_no_id_that_an_application_can_give() -> None:
    assert flaw_of_own_id(NOWHERE)


pieces = st.sampled_from(["", EARLIEST, ONE, OTHER, ",", ".", "-", "0", "9" * 20, "\0", "\n", "\ud800", "²"])
hostile = st.text(max_size=300) | st.lists(pieces | st.text(max_size=3), max_size=12).map("".join)


@quick
@given(last_event_id=hostile, count=st.integers(0, 3))
def test_whatever_a_client_sends_there_is_one_text_for_each_channel(last_event_id: str, count: int) -> None:
    since = positions(last_event_id, CHANNELS[:count])

    assert len(since) == count
    for text in since:
        # Nothing but silence goes on from now, for what is not understood must be told.
        assert (text == FROM_NOW) == (last_event_id == "")
        assert text in {EARLIEST, NOWHERE} or read_cursor(text) or not flaw_of_own_id(text)


@quick
@given(some=st.lists(cursors | st.just(EARLIEST), min_size=2, max_size=3))
def test_joined_positions_come_apart_again(some: list[Cursor | str]) -> None:
    texts = tuple(map(str, some))

    assert positions(",".join(texts), CHANNELS[: len(texts)]) == texts
