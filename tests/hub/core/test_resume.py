"""Streams on their way: what they are written, and which id stands behind each piece of it."""

from __future__ import annotations

import json

import pytest
from tests.support.model_broker import ModelBroker

from flask_sse.brokers.base import Entry, Page
from flask_sse.errors import InvalidMessageError
from flask_sse.hub.core import resume as module
from flask_sse.hub.core.resume import NEVER, UNKNOWN, LiveBuffer, Replay, Resume, join_cursors
from flask_sse.hub.core.sequencer import NEW_EPOCH, NOT_KEPT
from flask_sse.wire.cursor import BEFORE_ALL, EARLIEST, NOWHERE, Cursor, read_cursor
from flask_sse.wire.decode import Decoder, Event
from flask_sse.wire.frame import Frame
from flask_sse.wire.message import Message

A, B = "a", "b"
EPOCH = "abcdefgh"
START = Cursor(EPOCH, "1-0")
FRAME = Frame.of_message(Message("x"))


def cursor(number: int) -> Cursor:
    return Cursor(EPOCH, f"{number}-0")


def page(first: int, last: int, *, top: int | None = None, since: str | None = "") -> Page:
    """Return a page with the events of some numbers, each behind the one with the number before."""
    entries = [Entry(f"{n}-0", f"{n - 1}-0", b'{"data": %d}' % n) for n in range(first, last + 1)]
    top = last if top is None else top
    since = f"{first - 1}-0" if since == "" else since
    return Page(EPOCH, f"{top}-0", since, entries, complete=top == last)


def replay(answer: Page, *, channel: str = A, since: str = str(START)) -> Replay:
    frames: list[Frame | None] = []
    for entry in answer.entries:
        try:
            frames.append(Frame.of_envelope(entry.envelope))
        except InvalidMessageError:
            frames.append(None)
    return Replay(channel, since, answer, frames)


def read(data: bytes) -> list[tuple[str, str]]:
    """Return type or data of all events, each with the id that a reader has behind it."""
    decoder = Decoder()
    seen = []
    # A block of its own may move the id behind its event.
    for block in data.split(b"\n\n"):
        events = decoder.feed(block + b"\n\n")
        seen += [[event.data if event.type == "message" else event.type, ""] for event in events]
        if seen:
            seen[-1][1] = decoder.last_event_id
    return [(what, last_event_id) for what, last_event_id in seen]


def reset(data: bytes) -> dict[str, str | None]:
    """Return what a reader is told that misses something."""
    (event,) = Decoder().feed(data)
    assert isinstance(event, Event)
    assert event.type == "stream-reset"
    return {**json.loads(event.data), "id": event.last_event_id}


# -- a page for streams ----------------------------------------------------------------------------


def test_a_page_is_written_with_the_position_behind_each_event() -> None:
    answer = replay(page(2, 4))

    assert read(answer.single_channel_bytes) == [(str(n), f"{EPOCH}.{n}-0") for n in (2, 3, 4)]
    assert (answer.start, answer.end) == (START, cursor(4))


def test_a_page_of_one_channel_is_encoded_once_for_all_streams() -> None:
    answer = replay(page(2, 4))

    assert answer.single_channel_bytes is answer.single_channel_bytes


def test_a_stream_of_several_channels_is_told_all_its_positions() -> None:
    floors = {A: cursor(1), B: Cursor("zyxwvuts", "5-0")}
    data = replay(page(2, 3)).encode_for((A, B), floors)

    assert read(data) == [
        ("2", f"{EPOCH}.2-0,zyxwvuts.5-0"),
        ("3", f"{EPOCH}.3-0,zyxwvuts.5-0"),
    ]
    assert floors == {A: cursor(3), B: Cursor("zyxwvuts", "5-0")}


def test_an_empty_page_that_is_proven_is_no_bytes_and_a_position() -> None:
    answer = replay(Page(EPOCH, "1-0", "1-0", (), complete=True))

    assert answer.single_channel_bytes == b""
    assert answer.gap == ""
    assert answer.end == START


def test_what_is_no_event_is_left_out_and_its_position_is_not() -> None:
    entries = [Entry("2-0", "1-0", b"none"), Entry("3-0", "2-0", b'{"data": 3}'), Entry("4-0", "3-0", b"{}")]
    answer = replay(Page(EPOCH, "4-0", "1-0", entries, complete=True))
    floors: dict[str, Cursor] = {}

    assert read(answer.encode_for((A,), floors)) == [("3", f"{EPOCH}.3-0")]
    assert floors == {A: cursor(4)}


@pytest.mark.parametrize(
    ("since", "answer", "reason"),
    [
        (str(START), page(3, 4, since="1-0"), NOT_KEPT),
        (str(START), Page(EPOCH, "9-0", "1-0", (), complete=True), NOT_KEPT),
        (str(START), page(2, 3, since="1-0")._replace(top="9-0"), NOT_KEPT),
        ("zyxwvuts.1-0", page(2, 3, since=None), NEW_EPOCH),
        ("order-7", Page(EPOCH, "9-0", None, (), complete=True), UNKNOWN),
        (NOWHERE, Page(EPOCH, "9-0", None, (), complete=True), UNKNOWN),
    ],
    ids=["trimmed", "all trimmed", "cut short", "another epoch", "an own id", "nothing"],
)
def test_what_is_not_proven_is_told_and_nothing_else_is(since: str, answer: Page, reason: str) -> None:
    told = replay(answer, since=since)
    top = f"{EPOCH}.{answer.top}"

    assert reset(told.single_channel_bytes) == {
        "channel": A,
        "reason": reason,
        "from": since.strip("\0") or None,
        "to": top,
        "id": top,
    }
    assert told.end == told.start == Cursor.of(top)


def test_an_event_that_somebody_else_put_there_is_a_gap() -> None:
    entries = [Entry("2-0", "1-0", b'{"data": 2}'), Entry("3-0", "", b'{"data": 3}')]
    answer = replay(Page(EPOCH, "3-0", "1-0", entries, complete=True))

    assert answer.gap == NOT_KEPT
    assert b"data:2" not in answer.single_channel_bytes


def test_a_page_that_does_not_end_at_the_top_goes_on_from_its_last_event() -> None:
    answer = replay(page(2, 3, top=9))

    assert answer.gap == ""
    assert answer.end == cursor(3)


# -- the tail --------------------------------------------------------------------------------------


def tail_of(*numbers: int) -> LiveBuffer:
    tail = LiveBuffer(START)
    for number in numbers:
        tail.append(cursor(number), FRAME)
    return tail


def behind(tail: LiveBuffer, floor: Cursor) -> list[Cursor] | None:
    events = tail.after(floor)
    return None if events is None else [at for at, _ in events]


def test_a_live_buffer_has_what_follows_its_start_and_each_of_its_events() -> None:
    tail = tail_of(2, 3, 4)

    assert behind(tail, START) == [cursor(2), cursor(3), cursor(4)]
    assert behind(tail, cursor(3)) == [cursor(4)]
    assert behind(tail, cursor(4)) == []


@pytest.mark.parametrize("floor", [cursor(0), cursor(5), Cursor("zyxwvuts", "2-0")])
def test_what_follows_elsewhere_is_not_known(floor: Cursor) -> None:
    assert behind(tail_of(2, 3, 4), floor) is None


def test_a_live_buffer_that_grew_too_long_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUFFERED_EVENTS", 3)
    tail = tail_of(2, 3, 4, 5)

    assert tail.start == cursor(5)
    assert behind(tail, cursor(4)) is None
    assert behind(tail, cursor(5)) == []
    tail.append(cursor(6), FRAME)
    assert behind(tail, cursor(5)) == [cursor(6)]


def test_a_live_buffer_that_grew_too_large_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUFFERED_BYTES", 3 * len(FRAME))

    assert tail_of(2, 3, 4).start == START
    assert tail_of(2, 3, 4, 5).start == cursor(5)


def test_a_live_buffer_that_was_restarted_knows_nothing_of_before() -> None:
    tail = tail_of(2, 3)
    tail.restart(cursor(9))

    assert behind(tail, cursor(3)) is None
    assert behind(tail, cursor(9)) == []


# -- one stream ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "said"),
    [
        (["", ""], ""),
        ([f"{EPOCH}.1-0", "zyxwvuts.2-0"], f"{EPOCH}.1-0,zyxwvuts.2-0"),
        (["order-7", "order-7"], "order-7"),
        ([EARLIEST, EARLIEST], ""),
        ([f"{EPOCH}.1-0", EARLIEST], ""),
        ([NOWHERE, NOWHERE], ""),
    ],
)
def test_a_client_is_told_again_what_it_came_with_where_that_can_be_said(since: list[str], said: str) -> None:
    assert Resume((A, B), since).last_event_id == said


@pytest.mark.parametrize(
    ("since", "is_fresh"),
    [(["", ""], True), (["", EARLIEST], False), ([EARLIEST, EARLIEST], False), ([NOWHERE, NOWHERE], False)],
)
def test_a_stream_that_goes_on_from_nothing_is_fresh(since: list[str], is_fresh: bool) -> None:
    assert Resume((A, B), since).is_fresh == is_fresh


def test_the_pages_of_all_channels_are_known_before_the_first_is_written() -> None:
    stream = Resume((A, B), [f"{EPOCH}.1-0", f"{EPOCH}.6-0"])
    stream.replays = {A: replay(page(2, 3)), B: replay(page(7, 8), channel=B, since=f"{EPOCH}.6-0")}

    assert read(stream.encode_next_replay()) == [
        ("2", f"{EPOCH}.2-0,{EPOCH}.6-0"),
        ("3", f"{EPOCH}.3-0,{EPOCH}.6-0"),
    ]
    assert read(stream.encode_next_replay()) == [
        ("7", f"{EPOCH}.3-0,{EPOCH}.7-0"),
        ("8", f"{EPOCH}.3-0,{EPOCH}.8-0"),
    ]
    assert stream.replays == {}
    assert stream.positions == {A: cursor(3), B: cursor(8)}


@pytest.mark.parametrize(
    ("since", "told"),
    [("zyxwvuts.6-0", "zyxwvuts.6-0"), ("order-7", str(NEVER)), (NOWHERE, str(NEVER))],
)
def test_a_gap_that_is_not_yet_told_is_told_to_who_comes_back_before(since: str, told: str) -> None:
    stream = Resume((A, B), [f"{EPOCH}.1-0", since])
    unknown = Page(EPOCH, "8-0", None, (), complete=True)
    stream.replays = {A: replay(page(2, 2)), B: replay(unknown, channel=B, since=since)}

    assert read(stream.encode_next_replay()) == [("2", f"{EPOCH}.2-0,{told}")]
    assert reset(stream.encode_next_replay())["id"] == f"{EPOCH}.2-0,{EPOCH}.8-0"


def test_a_position_that_nobody_ever_had_is_a_cursor_that_no_broker_gives() -> None:
    assert read_cursor(str(NEVER)) == NEVER
    broker = ModelBroker()
    broker.publish(A)
    assert replay(broker.read(A, str(NEVER)), since=str(NEVER)).gap == NEW_EPOCH


def test_the_live_buffer_is_written_with_the_positions_of_all_channels() -> None:
    stream = Resume((A, B), [f"{EPOCH}.1-0", f"{EPOCH}.6-0"])
    stream.positions = {A: cursor(1), B: cursor(6)}
    data = stream.encode_buffered(A, [(cursor(2), FRAME), (cursor(3), None), (cursor(4), FRAME)])

    assert read(data) == [("x", f"{EPOCH}.2-0,{EPOCH}.6-0"), ("x", f"{EPOCH}.4-0,{EPOCH}.6-0")]
    assert stream.positions == {A: cursor(4), B: cursor(6)}


@pytest.mark.parametrize(
    ("since", "behind"),
    [
        ([f"{EPOCH}.1-0", f"{EPOCH}.6-0"], f"{EPOCH}.1-0,{EPOCH}.6-0"),
        (["order-6", "order-6"], "order-6"),
        # Nobody knows the event's own id, so who comes back with it is told.
        ([EARLIEST, EARLIEST], "order-7"),
        ([NOWHERE, NOWHERE], "order-7"),
    ],
)
def test_what_has_no_place_moves_nothing(since: list[str], behind: str) -> None:
    stream = Resume((A, B), since)

    frame = Frame.of_message(Message("y", id="order-7"))
    assert read(stream.encode_live(frame)) == [("y", behind)]
    stream.positions = {A: cursor(4), B: cursor(6)}
    assert read(stream.encode_live(frame)) == [("y", f"{EPOCH}.4-0,{EPOCH}.6-0")]
    assert stream.positions == {A: cursor(4), B: cursor(6)}


def test_an_own_id_is_found_in_its_channel_and_the_others_are_told() -> None:
    stream = Resume((A, B), ["order-7", "order-7"])
    stream.awaited = {A: 1, B: 2}
    stream.add_replay(replay(page(2, 3), since="order-7"))
    stream.add_replay(replay(Page(EPOCH, "8-0", None, (), complete=True), channel=B, since="order-7"))

    assert stream.awaited == {}
    tells = [stream.next_is_gap]
    assert [what for what, _ in read(stream.encode_next_replay())] == ["2", "3"]
    tells.append(stream.next_is_gap)
    assert tells == [False, True]
    assert reset(stream.encode_next_replay())["reason"] == UNKNOWN


def test_an_own_id_that_several_channels_have_is_that_of_none() -> None:
    stream = Resume((A, B), ["order-7", "order-7"])
    stream.awaited = {A: 1, B: 2}
    stream.add_replay(replay(page(2, 3), since="order-7"))
    stream.add_replay(replay(page(7, 8), channel=B, since="order-7"))

    assert reset(stream.encode_next_replay())["id"] == f"{EPOCH}.3-0,{NEVER}"
    assert reset(stream.encode_next_replay())["id"] == f"{EPOCH}.3-0,{EPOCH}.8-0"


@pytest.mark.parametrize("since", [[EARLIEST, EARLIEST], [f"{EPOCH}.1-0", f"{EPOCH}.6-0"]])
def test_what_is_no_own_id_is_found_in_all_channels(since: list[str]) -> None:
    stream = Resume((A, B), since)
    stream.awaited = {A: 1, B: 2}
    stream.add_replay(replay(page(2, 3), since=since[0]))
    stream.add_replay(replay(page(7, 8), channel=B, since=since[1]))

    assert not stream.next_is_gap
    both = stream.encode_next_replay() + stream.encode_next_replay()
    assert [what for what, _ in read(both)] == [
        "2",
        "3",
        "7",
        "8",
    ]


def test_positions_are_joined_in_the_order_of_the_names() -> None:
    cursors = {B: cursor(2), A: Cursor("zyxwvuts", BEFORE_ALL)}

    assert join_cursors((A, B), cursors) == f"zyxwvuts.0-0,{EPOCH}.2-0"
    assert join_cursors((), cursors) == ""
