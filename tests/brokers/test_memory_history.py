"""What the memory of a hub keeps, by the clock that the tests say."""

from __future__ import annotations

import json
import tracemalloc
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse.brokers import keyed_receipts
from flask_sse.brokers.base import (
    KEY_SECONDS,
    LISTENING_SECONDS,
    PAGE_BYTES,
    PAGE_EVENTS,
    REMEMBERED_LIVES,
    UNUSED_SECONDS,
    Page,
    Publication,
    Receipt,
)
from flask_sse.brokers.memory_history import (
    CHANNEL_BYTES,
    EXPIRE_BATCH,
    MAX_UNUSED,
    SLOT_SECONDS,
    MemoryHistory,
)
from flask_sse.channels import CONTROL_CHANNEL
from flask_sse.settings import History as Kept
from flask_sse.wire.cursor import EARLIEST, FROM_NOW, Cursor, Stamp, order

NOW = 1_700_000_000.0
HOUR = 3600.0


def publication(
    data: bytes = b"x",
    channel: str = "a",
    *,
    size: int = 1000,
    seconds: float = HOUR,
    own_id: str | None = None,
    key: str | None = None,
) -> Publication:
    return Publication(channel, data, Kept(size, seconds), own_id, key)


def append(history: MemoryHistory, each: Publication, now: float = NOW) -> Stamp:
    stamp = history.append(each, now)
    assert stamp is not None
    return stamp


def data_of(page: Page) -> list[bytes]:
    assert page.is_proven
    assert page.complete
    return [entry.envelope for entry in page.entries]


def is_empty(history: MemoryHistory) -> bool:
    """Whether nothing is left of anything."""
    return not (len(history) or history._bytes or history._slots or history._receipts)


# -- ids --------------------------------------------------------------------------------------------


def test_an_id_is_the_time_in_milliseconds_and_a_counter() -> None:
    history = MemoryHistory()
    ids = [append(history, publication(), now).id for now in (1.0, 1.0, 1.0004, 1.25, 2.5, 2.5)]

    assert ids == ["1000-0", "1000-1", "1000-2", "1250-0", "2500-0", "2500-1"]


def test_ids_go_on_rising_when_the_clock_steps_back() -> None:
    history = MemoryHistory()
    stamps = [append(history, publication(), now) for now in (2.0, 1.0, 0.0, 1.5, 2.0, 2.001)]

    assert [stamp.id for stamp in stamps] == ["2000-0", "2000-1", "2000-2", "2000-3", "2000-4", "2001-0"]
    assert len({stamp.epoch for stamp in stamps}) == 1


def test_ids_rise_even_when_all_events_are_gone_and_the_clock_has_stepped_back() -> None:
    history = MemoryHistory()
    first = append(history, publication(seconds=1), NOW)
    history.expire(NOW + 60)
    second = append(history, publication(seconds=1), NOW - HOUR)

    assert (second.epoch, second.previous) == (first.epoch, first.id)
    assert order(second.id) > order(first.id)


def test_each_event_names_the_one_before_it() -> None:
    history = MemoryHistory()
    stamps = [append(history, publication()) for _ in range(5)]

    assert stamps[0].previous == "0-0"
    assert all(after.previous == before.id for before, after in pairwise(stamps))


def test_every_channel_has_an_epoch_of_its_own() -> None:
    history = MemoryHistory()
    epochs = {append(history, publication(channel=f"c{number}")).epoch for number in range(100)}

    assert len(epochs) == 100


# -- what is read -----------------------------------------------------------------------------------


def test_what_follows_a_position_is_read() -> None:
    history = MemoryHistory()
    start = history.cursor("a", NOW)
    stamps = [append(history, publication(b"%d" % number)) for number in range(4)]

    assert data_of(history.read("a", str(start), NOW)) == [b"0", b"1", b"2", b"3"]
    assert data_of(history.read("a", EARLIEST, NOW)) == [b"0", b"1", b"2", b"3"]
    assert data_of(history.read("a", str(stamps[1].cursor), NOW)) == [b"2", b"3"]
    assert data_of(history.read("a", str(stamps[3].cursor), NOW)) == []
    assert data_of(history.read("a", FROM_NOW, NOW)) == []
    assert history.read("a", FROM_NOW, NOW).end == stamps[3].cursor == history.cursor("a", NOW)


def test_a_history_begins_where_there_is_none() -> None:
    history = MemoryHistory()
    for since in (FROM_NOW, EARLIEST):
        page = history.read("a", since, NOW)
        assert data_of(page) == []
        assert page.end == Cursor(page.epoch, "0-0") == history.cursor("a", NOW)


@pytest.mark.parametrize("since", ["zzzzzzzz.1-0", "never given", "\0", "zzzzzzzz.0-0"])
def test_what_is_not_known_is_no_place_to_go_on_from(since: str) -> None:
    history = MemoryHistory()
    append(history, publication())
    page = history.read("a", since, NOW)

    assert page.since is None
    assert not page.is_proven
    assert page.end == history.cursor("a", NOW)


@pytest.mark.parametrize("event_id", ["1699999999999-0", "1700000000000-1", "1700000000001-0", "9-9"])
def test_a_position_between_events_proves_nothing(event_id: str) -> None:
    """It is nobody's who was told the truth; a position ahead of the history is one, too."""
    history = MemoryHistory()
    epoch = append(history, publication()).epoch
    append(history, publication(), NOW + 1)

    assert not history.read("a", f"{epoch}.{event_id}", NOW).is_proven


def test_many_events_come_in_pages() -> None:
    history = MemoryHistory()
    start = history.cursor("a", NOW)
    count = 2 * PAGE_EVENTS + 1
    for number in range(count):
        append(history, publication(b"%d" % number))

    pages = pages_from(history, str(start))
    assert [len(page.entries) for page in pages] == [PAGE_EVENTS, PAGE_EVENTS, 1]
    assert [page.complete for page in pages] == [False, False, True]
    assert all(page.is_proven for page in pages)
    envelopes = [entry.envelope for page in pages for entry in page.entries]
    assert envelopes == [b"%d" % number for number in range(count)]


def test_a_page_that_ends_with_the_last_event_is_complete() -> None:
    history = MemoryHistory()
    for _ in range(PAGE_EVENTS):
        append(history, publication())

    assert len(data_of(history.read("a", EARLIEST, NOW))) == PAGE_EVENTS


def test_large_events_come_in_short_pages() -> None:
    history = MemoryHistory()
    for number in range(5):
        append(history, publication(b"%d" % number * PAGE_BYTES))

    pages = pages_from(history, EARLIEST)
    assert [len(page.entries) for page in pages] == [2, 2, 1]
    assert all(page.is_proven for page in pages)


def pages_from(history: MemoryHistory, since: str, now: float = NOW) -> list[Page]:
    pages = [history.read("a", since, now)]
    while not pages[-1].complete:
        pages.append(history.read("a", str(pages[-1].end), now))
    return pages


# -- own ids ----------------------------------------------------------------------------------------


def test_an_id_of_the_application_is_a_place_to_go_on_from() -> None:
    history = MemoryHistory()
    for number, own_id in enumerate(["seven", None, "0", ""]):
        append(history, publication(b"%d" % number, own_id=own_id))

    assert data_of(history.read("a", "seven", NOW)) == [b"1", b"2", b"3"]
    assert data_of(history.read("a", "0", NOW)) == [b"3"]


def test_an_id_of_another_channel_is_none_here() -> None:
    history = MemoryHistory()
    append(history, publication(channel="b", own_id="seven"))
    append(history, publication())

    assert history.read("a", "seven", NOW).since is None


def test_an_id_that_two_kept_events_have_is_none() -> None:
    history = MemoryHistory()
    for own_id in ("same", "other", "same"):
        append(history, publication(own_id=own_id, size=3))
    assert history.read("a", "same", NOW).since is None

    # One of both is left, and who saw the other one may come back as well.
    append(history, publication(size=3))
    assert history.read("a", "same", NOW).since is None

    append(history, publication(own_id="same", size=3))
    assert history.read("a", "same", NOW).since is None

    for _ in range(3):
        append(history, publication(size=3))
    last = append(history, publication(own_id="same", size=3))
    assert history.read("a", "same", NOW).since == last.id


def test_an_id_goes_with_its_event() -> None:
    history = MemoryHistory()
    append(history, publication(own_id="gone", size=2))
    append(history, publication(own_id="kept", size=2))
    append(history, publication(size=2))

    assert history.read("a", "gone", NOW).since is None
    assert len(data_of(history.read("a", "kept", NOW))) == 1


# -- how much is kept -------------------------------------------------------------------------------


def test_no_more_events_than_the_size_are_kept() -> None:
    history = MemoryHistory()
    stamps = [append(history, publication(b"%d" % number, size=3)) for number in range(5)]

    assert data_of(history.read("a", EARLIEST, NOW)) == [b"2", b"3", b"4"]
    assert data_of(history.read("a", str(stamps[1].cursor), NOW)) == [b"2", b"3", b"4"]
    assert not history.read("a", str(stamps[0].cursor), NOW).is_proven


def test_a_smaller_size_holds_from_the_next_event_on() -> None:
    history = MemoryHistory()
    for number in range(10):
        append(history, publication(b"%d" % number))
    append(history, publication(b"last", size=2))

    assert data_of(history.read("a", EARLIEST, NOW)) == [b"9", b"last"]


def test_size_0_keeps_nothing() -> None:
    history = MemoryHistory()

    assert history.append(publication(size=0), NOW) is None
    assert is_empty(history)


def test_events_are_kept_as_long_as_promised_and_hardly_longer() -> None:
    history = MemoryHistory()
    first = append(history, publication(seconds=60), NOW)
    append(history, publication(b"y", seconds=60), NOW + 30)

    history.expire(NOW + 59.9)
    assert len(history.read("a", EARLIEST, NOW + 59.9).entries) == 2
    history.expire(NOW + 60 + 2 * SLOT_SECONDS)
    assert data_of(history.read("a", str(first.cursor), NOW + 70)) == [b"y"]
    assert not history.read("a", f"{first.epoch}.0-0", NOW + 70).is_proven
    history.expire(NOW + 90 + 2 * SLOT_SECONDS)
    assert data_of(history.read("a", EARLIEST, NOW + 100)) == []


def test_it_is_known_of_an_idle_channel_that_nothing_was_missed() -> None:
    history = MemoryHistory()
    first = append(history, publication(seconds=60))
    last = append(history, publication(seconds=60))
    later = NOW + 60 * (REMEMBERED_LIVES - 1)
    history.expire(later)

    assert data_of(history.read("a", str(last.cursor), later)) == []
    assert not history.read("a", str(first.cursor), later).is_proven


def test_a_channel_that_was_idle_for_very_long_begins_anew() -> None:
    history = MemoryHistory()
    last = append(history, publication(seconds=60))
    later = NOW + 60 * REMEMBERED_LIVES + 2 * SLOT_SECONDS
    history.expire(later)

    assert is_empty(history)
    assert history.read("a", str(last.cursor), later).since is None


def test_a_channel_that_somebody_listens_to_is_known_for_longer() -> None:
    history = MemoryHistory()
    last = append(history, publication(seconds=0.001))
    history.read("a", FROM_NOW, NOW + 1)
    history.expire(NOW + LISTENING_SECONDS)
    assert data_of(history.read("a", str(last.cursor), NOW + LISTENING_SECONDS)) == []

    history.expire(NOW + 2 * LISTENING_SECONDS + 3 * SLOT_SECONDS)
    assert is_empty(history)


def test_events_that_are_kept_for_longer_hold_up_nothing_but_themselves() -> None:
    history = MemoryHistory()
    append(history, publication(b"long", seconds=HOUR))
    append(history, publication(b"short", seconds=1))
    append(history, publication(b"other channel", channel="b", seconds=1))
    history.expire(NOW + 60)

    # At least so long is promised, and a history has no holes.
    assert data_of(history.read("a", EARLIEST, NOW + 60)) == [b"long", b"short"]
    assert data_of(history.read("b", EARLIEST, NOW + 60)) == []


def test_a_clock_that_stepped_back_forgets_nothing_and_one_that_went_on_forgets_all() -> None:
    history = MemoryHistory()
    append(history, publication(seconds=60), NOW)
    append(history, publication(seconds=60), NOW - HOUR)
    history.expire(NOW - HOUR + 30)
    assert len(data_of(history.read("a", EARLIEST, NOW - HOUR + 30))) == 2

    history.expire(NOW + LISTENING_SECONDS + 60 * REMEMBERED_LIVES)
    assert is_empty(history)


@pytest.mark.long
def test_100_000_channels_that_were_published_to_once_leave_nothing() -> None:
    history = MemoryHistory(max_bytes=1_000_000_000)
    for number in range(100_000):
        append(history, publication(channel=f"job-{number}", seconds=60, own_id="done"), NOW + number / 1000)
    expire_all(history, NOW + 200)
    assert len(history) == 100_000  # their last events are known, nothing else
    assert history._bytes == 100_000 * CHANNEL_BYTES

    expire_all(history, NOW + 100 + 60 * REMEMBERED_LIVES + 2 * SLOT_SECONDS)
    assert is_empty(history)


# -- how many bytes are kept ------------------------------------------------------------------------


def test_all_channels_together_keep_no_more_than_so_many_bytes() -> None:
    history = MemoryHistory(max_bytes=100_000)
    for number in range(1000):
        append(history, publication(b"x" * 1000, channel=f"c{number % 7}"))
        assert history._bytes <= 100_000


def test_the_channel_that_was_published_to_longest_ago_loses_its_events_first() -> None:
    history = MemoryHistory(max_bytes=22_000)
    first = history.cursor("quiet", NOW)
    append(history, publication(b"q" * 5000, channel="quiet"))
    append(history, publication(b"m" * 5000, channel="middle"))
    append(history, publication(b"q" * 5000, channel="quiet"))
    append(history, publication(b"b" * 5000, channel="busy"))

    assert data_of(history.read("middle", EARLIEST, NOW)) == []
    assert len(data_of(history.read("quiet", EARLIEST, NOW))) == 2
    assert len(data_of(history.read("busy", EARLIEST, NOW))) == 1
    append(history, publication(b"b" * 5000, channel="busy"))
    assert not history.read("quiet", str(first), NOW).is_proven


def test_an_event_larger_than_all_is_not_kept_and_that_is_told() -> None:
    history = MemoryHistory(max_bytes=2000)
    start = history.cursor("a", NOW)
    stamp = append(history, publication(b"x" * 3000))

    assert stamp.previous == start.id
    assert not history.read("a", str(start), NOW).is_proven
    assert data_of(history.read("a", str(stamp.cursor), NOW)) == []
    assert len(data_of(history.read("a", EARLIEST, NOW))) == 0


def test_names_that_visitors_make_up_throw_no_history_out() -> None:
    """13.15: 57 000 of them were enough to lose the events of everybody else."""
    history = MemoryHistory(max_bytes=20 * (CHANNEL_BYTES + 600))
    stamps = [append(history, publication(channel=f"c{number}")) for number in range(20)]
    used = history._bytes
    for number in range(3 * MAX_UNUSED):
        history.pin(f"made up {number}")
        history.read(f"made up {number}", EARLIEST, NOW)
        history.unpin(f"made up {number}", NOW)

    assert [data_of(history.read(f"c{number}", EARLIEST, NOW)) for number in range(20)] == [[b"x"]] * 20
    assert [history.cursor(f"c{number}", NOW) for number in range(20)] == [each.cursor for each in stamps]
    assert history._bytes == used
    assert len(history) == 20 + MAX_UNUSED
    expire_all(history, NOW + UNUSED_SECONDS + 2 * SLOT_SECONDS)
    assert len(history) == 20


def test_channels_whose_events_are_over_go_before_the_events_of_others() -> None:
    history = MemoryHistory(max_bytes=10 * CHANNEL_BYTES)
    for number in range(6):
        append(history, publication(channel=f"over {number}", seconds=1))
    kept = append(history, publication(channel="kept"))
    expire_all(history, NOW + 10)
    append(history, publication(b"x" * 3 * CHANNEL_BYTES, channel="large"), NOW + 10)

    assert data_of(history.read("kept", str(Cursor(kept.epoch, "0-0")), NOW)) == [b"x"]
    assert 3 < len(history) < 8
    assert history._bytes <= 10 * CHANNEL_BYTES


def test_a_channel_that_the_hub_listens_to_stays_whatever_others_do() -> None:
    """13.15: a page that waits for the first event for days must not be told of a gap."""
    history = MemoryHistory(max_bytes=10 * CHANNEL_BYTES)
    for name in ("unused", "spent"):
        history.pin(name)
    starts = [history.cursor("unused", NOW), append(history, publication(channel="spent", seconds=1)).cursor]
    for number in range(2 * MAX_UNUSED):
        history.cursor(f"c{number}", NOW)
        append(history, publication(channel=f"d{number}"))
    later = NOW + 10 * LISTENING_SECONDS
    expire_all(history, later)

    assert len(history) == 2
    assert (history._bytes, history._slots) == (0, {})
    for name, start in zip(("unused", "spent"), starts, strict=True):
        append(history, publication(channel=name), later)
        assert data_of(history.read(name, str(start), later)) == [b"x"]
        history.unpin(name, later)
    expire_all(history, later + HOUR * REMEMBERED_LIVES + 2 * SLOT_SECONDS)
    assert is_empty(history)


def test_a_run_leaves_nothing_when_its_history_is_over() -> None:
    """13.15: it was remembered for a week, and the channel that cancels it for a day."""
    history = MemoryHistory()
    for name in ("run:1", "run:1:cancel", "run:2:cancel"):
        history.pin(name)
        history.cursor(name, NOW)
    append(history, publication(channel="run:1"))
    append(history, publication(channel="run:1:cancel"))
    for name in ("run:1", "run:1:cancel", "run:2:cancel"):
        history.unpin(name, NOW)
    expire_all(history, NOW + HOUR - 1)
    assert len(data_of(history.read("run:1", EARLIEST, NOW))) == 1
    assert len(history) == 2

    expire_all(history, NOW + HOUR + 2 * SLOT_SECONDS)
    assert is_empty(history)


def test_events_of_a_channel_that_was_asked_for_first_are_kept_hardly_longer_either() -> None:
    history = MemoryHistory()
    history.cursor("a", NOW)
    history.expire(NOW + SLOT_SECONDS)
    append(history, publication(seconds=60))
    history.expire(NOW + 60 + 2 * SLOT_SECONDS)

    assert data_of(history.read("a", EARLIEST, NOW + 70)) == []


def test_much_that_is_over_at_once_goes_piece_by_piece() -> None:
    """13.13: no turn of the hub's loop is as long as what others have published."""
    history = MemoryHistory(max_bytes=1_000_000_000)
    for number in range(3 * EXPIRE_BATCH):
        append(history, publication(channel="many" if number % 2 else f"c{number}", seconds=1, size=10_000))
    later = NOW + 60 * REMEMBERED_LIVES
    before = history._bytes
    assert not history.expire(later)
    assert before - history._bytes <= EXPIRE_BATCH * 2000
    assert expire_all(history, later) > 2
    assert is_empty(history)


def test_what_another_hub_kept_is_all_there_before_this_one_listens() -> None:
    """13.15: a name that a page waits on is not thrown out by names that other visitors made up."""
    old = MemoryHistory()
    waited_on = old.cursor("waited on", NOW)
    old.pin("waited on")
    for number in range(MAX_UNUSED):
        old.cursor(f"c{number}", NOW)
    newest = append(old, publication(channel="b")), append(old, publication(channel="a"))
    history = MemoryHistory()
    for fields, body in old.dump():
        history.load(fields, body)
    history.pin("waited on")
    history.cursor("one more", NOW)

    assert history.cursor("waited on", NOW) == waited_on
    assert [history.cursor(name, NOW) for name in "ba"] == [stamp.cursor for stamp in newest]
    assert list(history._with_events) == ["b", "a"]
    assert len(history) == MAX_UNUSED + 3
    history.unpin("waited on", NOW)
    expire_all(history, NOW + HOUR * REMEMBERED_LIVES + 2 * SLOT_SECONDS)
    assert is_empty(history)


def expire_all(history: MemoryHistory, now: float) -> int:
    """Let go of all that is over; return in how many pieces."""
    return next(number for number in count(1) if history.expire(now))


def test_channels_that_made_room_take_none() -> None:
    history = MemoryHistory(max_bytes=1_000_000)
    tracemalloc.start()
    try:
        for number in range(20_000):
            append(history, publication(channel=f"job-{number}"), NOW + number / 100)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert used < 3_000_000


# -- keys -------------------------------------------------------------------------------------------


RECEIPT = Receipt(3, Cursor("abcdefgh", "1-0"))


def test_what_became_of_a_key_is_remembered_for_its_channel() -> None:
    history = MemoryHistory()
    assert history.receipt(publication(key="k"), NOW) is None
    history.remember(publication(key="k"), RECEIPT, NOW)

    assert history.receipt(publication(b"other", key="k"), NOW) == RECEIPT
    assert history.receipt(publication(key="k"), NOW + KEY_SECONDS - 1) == RECEIPT
    assert history.receipt(publication(key="k"), NOW + KEY_SECONDS) is None
    assert history.receipt(publication(key="K"), NOW) is None
    assert history.receipt(publication(channel="b", key="k"), NOW) is None


@pytest.mark.parametrize("own_id", [None, "", "seven"])
def test_what_became_of_a_key_goes_to_another_process_own_id_included(own_id: str | None) -> None:
    """15.12."""
    receipt = RECEIPT._replace(own_id=own_id)
    history, other = MemoryHistory(), MemoryHistory()
    history.remember(publication(key="k"), receipt, NOW)
    for fields, body in history.dump():
        other.load(json.loads(json.dumps(fields)), body)

    assert other.receipt(publication(key="k"), NOW) == receipt


def test_without_a_key_nothing_is_remembered() -> None:
    history = MemoryHistory()
    history.remember(publication(), RECEIPT, NOW)

    assert history.receipt(publication(), NOW) is None
    assert is_empty(history)


def test_keys_are_let_go_in_time() -> None:
    history = MemoryHistory()
    for number in range(1000):
        history.remember(publication(key=f"k{number}"), RECEIPT, NOW + number)
    history.expire(NOW + KEY_SECONDS + 500)
    assert history.receipt(publication(key="k999"), NOW + KEY_SECONDS + 500) == RECEIPT

    history.expire(NOW + KEY_SECONDS + 1000)
    assert is_empty(history)


def test_the_oldest_keys_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_receipts, "MAX_KEYS", 10)
    history = MemoryHistory()
    for number in range(15):
        history.remember(publication(key=f"k{number}"), RECEIPT, NOW)

    known = [number for number in range(15) if history.receipt(publication(key=f"k{number}"), NOW)]
    assert known == [*range(5, 15)]


# -- against a plain list ---------------------------------------------------------------------------


steps = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "expire"]), st.sampled_from([0, 0.0004, 0.001, 1, 30, -5])
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=200)
@given(steps=steps, size=st.integers(1, 8), max_bytes=st.sampled_from([3000, 10_000_000]))
def test_what_is_proven_is_exactly_what_was_published(
    steps: list[tuple[str, float]], size: int, max_bytes: int
) -> None:
    history, now = MemoryHistory(max_bytes), NOW
    positions, published = [history.cursor("a", now)], list[bytes]()
    for step, seconds in steps:
        now += seconds
        if step == "expire":
            history.expire(now)
            continue
        published.append(b"%d" % len(published))
        positions.append(append(history, publication(published[-1], size=size, seconds=60), now).cursor)

    assert all(order(after.id) > order(before.id) for before, after in pairwise(positions))
    for number, position in enumerate(positions):
        pages = pages_from(history, str(position), now)
        entries = [entry.envelope for page in pages for entry in page.entries]
        if all(page.is_proven for page in pages):
            assert entries == published[number:]
        else:
            assert number < len(published), "nothing is missing behind the last one"


def test_no_number_of_other_channels_throws_a_revocation_out() -> None:
    # 13.2
    history = MemoryHistory(max_bytes=100_000)
    revocation = publication(b"revoked", CONTROL_CHANNEL, seconds=24 * HOUR)
    stamp = append(history, revocation)
    for number in range(3000):
        history.cursor(f"named-{number}", NOW)
        append(history, publication(b"x" * 100, f"published-{number}"))
    assert history.read(CONTROL_CHANNEL, EARLIEST, NOW).epoch == stamp.epoch
    assert data_of(history.read(CONTROL_CHANNEL, EARLIEST, NOW)) == [b"revoked"]
    append(history, revocation)
    assert len(data_of(history.read(CONTROL_CHANNEL, EARLIEST, NOW))) == 2
