"""What Redis keeps, through the publisher and the scripts: how it goes, and what others may do to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError
from tests.support.brokers import Broker, start_valkey
from tests.support.processes import wait_until

from flask_sse import BrokerUnavailableError
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
from flask_sse.brokers.redis import history
from flask_sse.brokers.redis import publisher as publisher_module
from flask_sse.brokers.redis.publisher import MAX_IDLE, RedisPublisher
from flask_sse.settings import History as Kept
from flask_sse.wire.cursor import EARLIEST, FROM_NOW, MAX_MS, Cursor, order
from flask_sse.wire.run import lease_channel, state_channel

DATABASE = 7  # of these tests alone
SHORT_SECONDS = 0.005
SHORT_LIFE_SECONDS = SHORT_SECONDS * REMEMBERED_LIVES
FAR_IN_THE_FUTURE_MS = 4_000_000_000_000


class Store:
    """A database of a server, with the publisher and the scripts on one side and anybody on the other.

    Attributes:
        url: Where it is.
        admin: Does what others do.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.admin: Any = redis.Redis.from_url(url)
        self.publisher = RedisPublisher(url)
        self._read: Any = self.admin.register_script(history.script("read"))

    def submit(self, *publications: Publication) -> list[Receipt]:
        return self.publisher.submit(publications)

    def append(self, channel: str, data: str = "x", **options: Any) -> Cursor:
        """Publish one event; return its position."""
        [receipt] = self.submit(publication(channel, data, **options))
        assert receipt.cursor
        return receipt.cursor

    def read(self, channel: str, since: object) -> Page:
        keys, args = history.read_args(channel, str(since))
        return history.page(self._read(keys, args))

    def cursor(self, channel: str) -> Cursor:
        return self.publisher.cursors([channel])[0]

    def milliseconds(self) -> int:
        """Return the server's time."""
        seconds, microseconds = self.admin.time()
        return int(seconds * 1000 + microseconds // 1000)

    def close(self) -> None:
        self.publisher.close()
        self.admin.close()


@pytest.fixture
def store(valkey: Broker) -> Iterator[Store]:
    with contextlib.closing(Store(valkey.url.replace("/0", f"/{DATABASE}"))) as store:
        store.admin.flushdb()
        yield store


def publication(
    channel: str,
    data: str = "x",
    *,
    size: int = 1000,
    seconds: float = 3600,
    own_id: str | None = None,
    key: str | None = None,
) -> Publication:
    return Publication(channel, envelope(data), Kept(size, seconds), own_id, key)


def envelope(data: str) -> bytes:
    return b'{"data": "%b"}' % data.encode()


def data_of(page: Page) -> list[bytes]:
    assert page.is_proven
    assert page.complete
    return [entry.envelope for entry in page.entries]


def envelopes(*data: str) -> list[bytes]:
    return [envelope(each) for each in data]


# -- how it goes ------------------------------------------------------------------------------------


def test_ids_rise_and_each_event_names_the_one_before_it(store: Store, channel: str) -> None:
    start = store.cursor(channel)
    cursors = [store.append(channel, str(number)) for number in range(50)]
    page = store.read(channel, start)

    assert data_of(page) == envelopes(*map(str, range(50)))
    assert [entry.id for entry in page.entries] == [cursor.id for cursor in cursors]
    assert page.entries[0].previous == start.id
    assert all(after.previous == before.id for before, after in pairwise(page.entries))
    assert all(order(after.id) > order(before.id) for before, after in pairwise(cursors))
    assert {cursor.epoch for cursor in cursors} == {start.epoch}


def test_what_follows_a_position_is_read(store: Store, channel: str) -> None:
    cursors = [store.append(channel, str(number)) for number in range(3)]

    assert data_of(store.read(channel, EARLIEST)) == envelopes("0", "1", "2")
    assert data_of(store.read(channel, cursors[0])) == envelopes("1", "2")
    assert data_of(store.read(channel, cursors[2])) == []
    assert data_of(store.read(channel, FROM_NOW)) == []
    assert store.read(channel, FROM_NOW).end == cursors[2] == store.cursor(channel)


@pytest.mark.parametrize("since", ["zzzzzzzz.1-0", "never given", "\0", "zzzzzzzz.0-0"])
def test_what_is_not_known_is_no_place_to_go_on_from(store: Store, channel: str, since: str) -> None:
    last = store.append(channel)
    page = store.read(channel, since)

    assert page.since is None
    assert not page.is_proven
    assert page.end == last


def test_a_position_ahead_of_the_history_proves_nothing(store: Store, channel: str) -> None:
    """As after a failover to a replica that is some events short."""
    last = store.append(channel)
    milliseconds, _ = order(last.id)

    assert not store.read(channel, f"{last.epoch}.{milliseconds + 1}-0").is_proven
    assert not store.read(channel, f"{last.epoch}.{MAX_MS}-{2**63 - 1}").is_proven
    assert not store.read(channel, f"{last.epoch}.{milliseconds - 1}-7").is_proven


def test_many_events_come_in_pages(store: Store, channel: str) -> None:
    count = 2 * PAGE_EVENTS + 1
    store.submit(*(publication(channel, str(number)) for number in range(count)))

    pages = pages_from(store, channel, EARLIEST)
    assert [len(page.entries) for page in pages] == [PAGE_EVENTS, PAGE_EVENTS, 1]
    assert [page.complete for page in pages] == [False, False, True]
    assert all(page.is_proven for page in pages)
    read = [entry.envelope for page in pages for entry in page.entries]
    assert read == envelopes(*map(str, range(count)))


def test_large_events_come_in_short_pages(store: Store, channel: str) -> None:
    for number in range(5):
        store.append(channel, str(number) * (PAGE_BYTES - len(envelope(""))))

    pages = pages_from(store, channel, EARLIEST)
    assert [len(page.entries) for page in pages] == [2, 2, 1]
    assert all(page.is_proven for page in pages)


def pages_from(store: Store, channel: str, since: str) -> list[Page]:
    pages = [store.read(channel, since)]
    while not pages[-1].complete:
        pages.append(store.read(channel, pages[-1].end))
    return pages


def test_no_more_events_than_the_size_are_kept(store: Store, channel: str) -> None:
    cursors = [store.append(channel, str(number), size=3) for number in range(5)]

    assert store.admin.xlen(history.keys_of(channel)[0]) == 3
    assert data_of(store.read(channel, cursors[1])) == envelopes("2", "3", "4")
    assert not store.read(channel, cursors[0]).is_proven


def test_the_oldest_of_the_own_ids_of_one_moment_is_forgotten(store: Store, channel: str) -> None:
    """15.12: equal times were ordered by the text of the ids, so "1059" went before "999"."""
    numbers = range(960, 1060)
    store.submit(*(publication(channel, str(number), size=50, own_id=str(number)) for number in numbers))

    assert store.read(channel, "1009").since is None
    assert len(data_of(store.read(channel, "1010"))) == 49
    assert data_of(store.read(channel, "1059")) == []


def test_own_ids_are_found_while_the_clock_is_behind(channel: str) -> None:
    """15.12: Redis's clock was ahead and came back."""
    with start_valkey(clock_offset_seconds=3600) as broker, contextlib.closing(Store(broker.url)) as store:
        store.append(channel, "ahead", size=100)
        broker.set_clock(0)
        for number in range(900, 1060):
            store.append(channel, str(number), size=100, own_id=str(number))
        assert store.read(channel, "959").since is None
        assert data_of(store.read(channel, "1058")) == envelopes("1059")
        assert len(data_of(store.read(channel, "960"))) == 99


def test_events_with_own_ids_that_outrun_the_clock_live_as_long_as_promised(
    store: Store, channel: str
) -> None:
    """Each has a millisecond of its own, so the last one is seconds ahead."""
    first = store.append(channel, "first", seconds=2, size=5000)
    for _ in range(30):
        store.submit(*(publication(channel, own_id="x", seconds=2, size=5000) for _ in range(100)))
    store.append(channel, "last", seconds=2, size=5000)
    if store.milliseconds() - order(first.id)[0] < 2000:
        assert store.read(channel, first).is_proven


def test_own_ids_need_no_right_to_ask_for_the_time(valkey: Broker, channel: str) -> None:
    with contextlib.closing(Store(valkey.url)) as store:
        store.admin.execute_command("ACL", "SETUSER", "timeless", "on", ">x", "&*", "~*", "+@all", "-time")
        with contextlib.closing(RedisPublisher(valkey.url.replace("//", "//timeless:x@"))) as publisher:
            publisher.submit([publication(channel, "seen", own_id="7"), publication(channel, "missed")])
        assert data_of(store.read(channel, "7")) == envelopes("missed")
        store.admin.execute_command("ACL", "DELUSER", "timeless")


def test_own_ids_get_along_with_what_others_append(store: Store, channel: str) -> None:
    stream, _, _ = history.keys_of(channel)
    store.append(channel, "ours")
    store.admin.xadd(stream, {"d": "theirs"}, id=f"{FAR_IN_THE_FUTURE_MS}-0")
    store.append(channel, "seen", own_id="7")
    store.append(channel, "missed")
    assert data_of(store.read(channel, "7")) == envelopes("missed")


@pytest.mark.parametrize("own_id", ["", "0", "earliest", "+inf", "(1", "a b", "ü" * 128, "\r"])
def test_any_id_of_the_application_is_a_place_to_go_on_from(store: Store, channel: str, own_id: str) -> None:
    store.submit(publication(channel, "seen", own_id=own_id), publication(channel, "missed"))

    stream, _, own_ids = history.keys_of(channel)
    assert store.admin.xrange(stream)[0][1][b"i"] == own_id.encode()
    assert store.admin.zcard(own_ids) == 1
    if own_id not in (FROM_NOW, EARLIEST):
        assert data_of(store.read(channel, own_id)) == envelopes("missed")


def test_no_more_own_ids_than_the_size_are_kept(store: Store, channel: str) -> None:
    for number in range(20):
        store.append(channel, str(number), size=3, own_id=f"id-{number}")

    assert store.admin.zcard(history.keys_of(channel)[2]) <= 3
    assert data_of(store.read(channel, "id-17")) == envelopes("18", "19")
    assert store.read(channel, "id-16").since is None


def test_several_channels_are_published_to_and_asked_for_at_once(store: Store, channel: str) -> None:
    names = [f"{channel}-{number}" for number in range(250)]
    receipts = store.submit(*(publication(name) for name in names))

    assert store.publisher.cursors(names) == [receipt.cursor for receipt in receipts]
    assert len({cursor.epoch for cursor in store.publisher.cursors(names)}) == 250


def test_connections_that_many_threads_needed_at_once_are_closed_again(
    store: Store, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13.15: the runs of one client were over, and left a connection each for the life of the process."""

    def open_now() -> int:
        return sum(each["db"] == str(DATABASE) for each in store.admin.client_list())

    monkeypatch.setattr(publisher_module, "TRIM_SECONDS", 0.0)
    store.append(channel)
    few = open_now()
    store.admin.client_pause(200, all=False)  # so that all of them wait at the same time
    with ThreadPoolExecutor(3 * MAX_IDLE) as threads:
        list(threads.map(store.append, [channel] * 3 * MAX_IDLE))
    store.append(channel)

    wait_until(lambda: open_now() <= few + MAX_IDLE, what="the connections to be closed")
    assert len(store.read(channel, EARLIEST).entries) == 3 * MAX_IDLE + 2


def test_what_is_not_kept_leaves_nothing(store: Store, channel: str) -> None:
    assert store.submit(publication(channel, size=0)) == [Receipt(0, None)]
    kept = publication(f"{channel}-kept", seconds=SHORT_SECONDS)
    store.submit(publication(channel, size=0), kept)

    assert not store.admin.exists(*history.keys_of(channel))


def test_a_user_who_may_do_nothing_but_publish_can_publish_what_is_not_kept(
    store: Store, channel: str
) -> None:
    store.admin.execute_command("ACL", "SETUSER", "teller", "on", ">teller", "&*", "+publish", "+select")
    try:
        publisher = RedisPublisher(store.url.replace("://", "://teller:teller@"))
        with contextlib.closing(publisher):
            assert publisher.submit([publication(channel, size=0)] * 2) == [Receipt(0, None)] * 2
            with pytest.raises(BrokerUnavailableError, match=r"[Nn]o permissions|NOPERM"):
                publisher.submit([publication(channel)])
    finally:
        store.admin.execute_command("ACL", "DELUSER", "teller")


# -- how long it goes -------------------------------------------------------------------------------


def test_every_key_has_a_time_to_live(store: Store, channel: str) -> None:
    with_keys = [publication(channel, own_id="seven", key="once"), publication(channel, size=0, key="k")]
    store.submit(*with_keys)
    store.cursor(f"{channel}-asked")
    store.read(f"{channel}-read", FROM_NOW)
    store.read(f"{channel}-read", "never given")

    seconds = {key.decode(): store.admin.pttl(key) / 1000 for key in store.admin.scan_iter()}
    stream, meta, own_ids = history.keys_of(channel)
    lives = {
        stream: 3600,
        own_ids: 3600,
        meta: 3600 * REMEMBERED_LIVES,
        **{history.append_args([each])[0][3]: KEY_SECONDS for each in with_keys},
        history.keys_of(f"{channel}-asked")[1]: UNUSED_SECONDS,
        history.keys_of(f"{channel}-read")[1]: UNUSED_SECONDS,
    }
    assert seconds == pytest.approx(lives, abs=30)


def test_a_channel_that_nothing_was_published_to_is_known_for_minutes(store: Store, channel: str) -> None:
    """13.15: visitors name channels, and each name was kept for a day."""
    _, meta, _ = history.keys_of(channel)
    for _ in range(3):
        start = store.cursor(channel)
        store.read(channel, start)
        store.read(channel, EARLIEST)
    assert 0 < store.admin.ttl(meta) <= UNUSED_SECONDS

    # From the first event on it is an ordinary one, which an early position belongs to.
    store.append(channel, "first")
    assert data_of(store.read(channel, start)) == envelopes("first")
    assert store.admin.ttl(meta) > LISTENING_SECONDS - 30


def test_a_run_leaves_nothing_when_its_history_is_over(store: Store, channel: str) -> None:
    """13.15: 595 runs left 1391 keys, for up to a week."""
    run = f"run:{channel}"
    for name in (run, state_channel(run), lease_channel(run)):
        start = store.cursor(name)
        store.append(name, own_id="seven")
        store.read(name, start)
        store.cursor(name)
    assert max(store.admin.ttl(key) for key in store.admin.scan_iter()) <= 3600

    # A page that listens holds up the position of a silent run no longer than it stays.
    short = f"{run}-short"
    last = store.append(short, seconds=SHORT_SECONDS)
    assert data_of(store.read(short, last)) == []
    assert UNUSED_SECONDS - 30 < store.admin.ttl(history.keys_of(short)[1]) <= UNUSED_SECONDS
    unread = f"{run}-unread"
    store.append(unread, own_id="seven", seconds=SHORT_SECONDS)
    wait_until(lambda: not store.admin.exists(*history.keys_of(unread)), what="the run to be gone")


def test_a_time_to_live_is_made_longer_and_not_shorter(store: Store, channel: str) -> None:
    _, meta, _ = history.keys_of(channel)
    store.append(channel, seconds=SHORT_SECONDS)
    store.cursor(channel)
    assert store.admin.ttl(meta) > LISTENING_SECONDS - 30
    store.append(channel, seconds=SHORT_SECONDS)
    assert store.admin.ttl(meta) > LISTENING_SECONDS - 30
    store.append(channel)
    assert store.admin.ttl(meta) > 3600 * REMEMBERED_LIVES - 30
    store.read(channel, FROM_NOW)
    assert store.admin.ttl(meta) > 3600 * REMEMBERED_LIVES - 30


@pytest.mark.parametrize("channels", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_channels_that_were_published_to_once_leave_nothing(
    store: Store, channel: str, channels: int
) -> None:
    short = Kept(1000, SHORT_SECONDS)
    for start in range(0, channels, 1000):
        names = [f"{channel}-{number}" for number in range(start, start + 1000)]
        store.submit(*(Publication(name, b'{"data": 1}', short, "done") for name in names))

    wait_until(lambda: store.admin.dbsize() == 0, 20, what="all keys to be gone")


def test_events_that_are_gone_are_told_and_an_idle_channel_is_not(store: Store, channel: str) -> None:
    start = store.cursor(channel)
    last = store.append(channel, seconds=SHORT_SECONDS)
    wait_until(lambda: not store.admin.exists(history.keys_of(channel)[0]), what="the event to be gone")

    assert not store.read(channel, start).is_proven
    assert data_of(store.read(channel, last)) == []
    assert data_of(store.read(channel, EARLIEST)) == []

    then = store.append(channel, "then")
    assert then.epoch == last.epoch
    assert data_of(store.read(channel, last)) == envelopes("then")
    assert not store.read(channel, start).is_proven


def test_a_channel_that_was_idle_for_very_long_begins_anew(store: Store, channel: str) -> None:
    last = store.append(channel, seconds=SHORT_SECONDS)
    wait_until(lambda: not store.admin.exists(history.keys_of(channel)[1]), what="the channel to be gone")

    assert store.append(channel).epoch != last.epoch
    assert store.read(channel, last).since is None


# -- what others do to it ---------------------------------------------------------------------------


def test_a_stream_that_was_deleted_is_missed_by_who_needed_it(store: Store, channel: str) -> None:
    seen, top = store.append(channel, "seen"), store.append(channel, "gone")
    store.admin.delete(history.keys_of(channel)[0])

    assert not store.read(channel, seen).is_proven
    assert store.read(channel, seen).end == top
    assert data_of(store.read(channel, top)) == []
    wait_until(lambda: store.milliseconds() > order(top.id)[0], what="the clock to go on")
    then = store.append(channel, "then")
    assert then.epoch == top.epoch
    assert not store.read(channel, seen).is_proven
    assert data_of(store.read(channel, top)) == envelopes("then")


def test_a_meta_that_was_deleted_is_the_end_of_its_epoch(store: Store, channel: str) -> None:
    store.append(channel, own_id="seven")
    last = store.append(channel)
    store.admin.delete(history.keys_of(channel)[1])

    page = store.read(channel, last)
    assert page.since is None
    assert page.epoch != last.epoch
    assert page.top == "0-0"
    assert store.read(channel, "seven").since is None
    then = store.append(channel, "then")
    assert then.epoch == page.epoch
    assert data_of(store.read(channel, EARLIEST)) == envelopes("then")


def test_a_meta_that_was_deleted_is_noticed_by_publish_as_well(store: Store, channel: str) -> None:
    last = store.append(channel, "of the old epoch", own_id="seven")
    store.admin.delete(history.keys_of(channel)[1])

    then = store.append(channel, "then")
    assert then.epoch != last.epoch
    assert data_of(store.read(channel, EARLIEST)) == envelopes("then")
    assert store.read(channel, last).since is None
    assert store.read(channel, "seven").since is None


@pytest.mark.parametrize("field", ["e", "t"])
def test_half_a_meta_is_none(store: Store, channel: str, field: str) -> None:
    last = store.append(channel)
    store.admin.hdel(history.keys_of(channel)[1], field)

    assert store.cursor(channel).epoch != last.epoch
    assert store.read(channel, last).since is None
    assert store.append(channel).epoch == store.cursor(channel).epoch


def test_everything_flushed_is_the_end_of_the_epoch(store: Store, channel: str) -> None:
    last = store.append(channel)
    store.admin.flushdb()

    assert store.read(channel, last).since is None
    assert store.append(channel).epoch != last.epoch
    assert all(store.admin.ttl(key) > 0 for key in store.admin.scan_iter())


@pytest.mark.parametrize("kind", [0, 1], ids=["stream", "meta"])
def test_a_key_of_another_type_is_told_for_its_channel_only(store: Store, channel: str, kind: int) -> None:
    wrong, right = f"{channel}-wrong", f"{channel}-right"
    before = store.append(wrong)
    store.admin.set(history.keys_of(wrong)[kind], "of somebody else")

    with pytest.raises(BrokerUnavailableError, match="WRONGTYPE") as refused:
        store.submit(publication(right, "one"), publication(wrong), publication(right, "two"))
    # In order, so what stands behind the refused one is not published either.
    assert [receipt.cursor for receipt in refused.value.published] == [store.cursor(right)]
    assert data_of(store.read(right, EARLIEST)) == envelopes("one")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        store.read(wrong, EARLIEST)

    store.admin.delete(*history.keys_of(wrong))
    assert store.append(wrong).epoch != before.epoch


def test_own_ids_of_another_type_are_told_and_what_follows_is_no_silent_gap(
    store: Store, channel: str
) -> None:
    start = store.append(channel)
    own_ids = history.keys_of(channel)[2]
    store.admin.set(own_ids, "of somebody else")

    with pytest.raises(BrokerUnavailableError, match="WRONGTYPE"):
        store.append(channel, "refused", own_id="seven")
    store.append(channel, "taken")
    page = store.read(channel, start)
    # Whether or not the refused one is kept, its place is.
    assert page.is_proven
    assert page.entries[-1].envelope == envelope("taken")
    assert store.read(channel, start).end == store.cursor(channel)


def test_a_foreign_entry_is_a_gap_and_no_event(store: Store, channel: str) -> None:
    stream, _, _ = history.keys_of(channel)
    seen = store.append(channel, "seen")
    store.admin.xadd(stream, {"d": envelope("forged")})
    assert data_of(store.read(channel, seen)) == []

    then = store.append(channel, "then")
    assert not store.read(channel, seen).is_proven
    store.append(channel, "and then")
    assert data_of(store.read(channel, then)) == envelopes("and then")


@pytest.mark.parametrize(
    "fields",
    [
        {"x": "y"},
        {"d": b"\xff\xfe", "p": b"\xff"},
        {"p": "nonsense", "d": "x"},
        {"p": "", "d": ""},
        {"d": "x", "p": "1-0", "i": "seven"},
        {str(number): "x" for number in range(2000)},
    ],
    ids=range(6),
)
def test_a_foreign_entry_of_any_form_is_read_without_an_error(
    store: Store, channel: str, fields: dict[Any, Any]
) -> None:
    seen = store.append(channel, "seen")
    store.admin.xadd(history.keys_of(channel)[0], fields)
    store.append(channel, "then")

    for since in (seen, f"{seen.epoch}.0-0", "seven"):
        assert not store.read(channel, since).is_proven


def test_a_foreign_entry_in_front_is_no_beginning(store: Store, channel: str) -> None:
    epoch = store.cursor(channel).epoch
    store.admin.xadd(history.keys_of(channel)[0], {"d": "x"})
    store.append(channel, "then")

    assert not store.read(channel, EARLIEST).is_proven
    assert not store.read(channel, f"{epoch}.0-0").is_proven


def test_the_server_s_clock_may_step_back(store: Store, channel: str) -> None:
    """The last id is ahead of the clock."""
    stream, meta, _ = history.keys_of(channel)
    seen = store.append(channel, "seen")
    ahead = f"{FAR_IN_THE_FUTURE_MS}-0"
    store.admin.xadd(stream, {"d": envelope("ahead"), "p": seen.id}, id=ahead)
    store.admin.hset(meta, "t", ahead)

    then = store.append(channel, "then")
    assert (then.epoch, then.id) == (seen.epoch, f"{FAR_IN_THE_FUTURE_MS}-1")
    assert data_of(store.read(channel, seen)) == envelopes("ahead", "then")


def test_the_server_s_clock_may_step_back_while_nothing_is_kept(store: Store, channel: str) -> None:
    """No id comes twice: an epoch ends."""
    stream, meta, own_ids = history.keys_of(channel)
    old = store.append(channel, own_id="seven")
    ahead = f"{FAR_IN_THE_FUTURE_MS}-5"
    store.admin.delete(stream)
    store.admin.hset(meta, "t", ahead)
    at_top = Cursor(old.epoch, ahead)
    assert data_of(store.read(channel, at_top)) == []
    assert not store.read(channel, old).is_proven

    then = store.append(channel, "then")
    assert then.epoch != old.epoch
    assert store.read(channel, at_top).since is None
    assert store.read(channel, old).since is None
    assert data_of(store.read(channel, EARLIEST)) == envelopes("then")
    assert store.admin.zcard(own_ids) == 0
    assert store.append(channel, "and then").epoch == then.epoch
    assert data_of(store.read(channel, then)) == envelopes("and then")
    assert all(store.admin.ttl(key) > 0 for key in store.admin.scan_iter())


def test_a_top_that_is_no_id_is_an_error_of_its_channel_or_a_new_beginning(
    store: Store, channel: str
) -> None:
    """Nobody of ours writes it; all that counts is that no event is lost in silence."""
    old = store.append(channel)
    store.admin.hset(history.keys_of(channel)[1], "t", "nonsense")
    try:
        new = store.append(channel)
    except BrokerUnavailableError:
        return
    assert new.epoch != old.epoch


# -- sizes that are hardly meant --------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 10**9, 10**15, 10**18])
@pytest.mark.parametrize("seconds", [1e-9, 1e9])
def test_any_size_and_time_of_the_settings_can_be_kept(
    store: Store, channel: str, size: int, seconds: float
) -> None:
    start = store.cursor(channel)
    last = store.append(channel, size=size, seconds=seconds, own_id="seven")

    assert last.epoch == start.epoch
    assert data_of(store.read(channel, last)) == []
