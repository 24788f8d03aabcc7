"""What every broker keeps for those who were away, each through publisher, feed, hub process and streams."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from tests.support.brokers import Broker, start_redis, start_valkey
from tests.support.client import StreamClient, StreamReader, connect, request_bytes
from tests.support.local import LocalServer, serve
from tests.support.patience import PATIENT_SECONDS

from flask_sse import (
    InvalidChannelError,
    InvalidMessageError,
    Message,
    MessageTooLargeError,
    Published,
    UsageError,
    sse,
)
from flask_sse.brokers.base import KEY_SECONDS, PAGE_EVENTS
from flask_sse.brokers.redis.publisher import BATCH
from flask_sse.wire.cursor import read_cursor
from flask_sse.wire.decode import Event
from flask_sse.wire.envelope import MAX_DEPTH

BROKERS: dict[str, Callable[[], Broker] | None] = {
    "memory": None,
    "valkey": start_valkey,
    "redis": start_redis,
}
# By the end of a channel's name.
RULES: dict[str, dict[str, float]] = {"*-small": {"size": 5}, "*-off": {"size": 0}}


class Line(NamedTuple):
    """An application and its broker.

    Attributes:
        url: Of the broker.
        server: Serves the application.
        broker: The server of the broker; ``None`` for the memory of the hub.
    """

    url: str
    server: LocalServer
    broker: Broker | None

    def publish(self, data: object, channel: str, **fields: Any) -> Published:
        return self.server.publish(data, channel=channel, **fields)

    def publish_many(self, *events: Mapping[str, Any]) -> list[Published]:
        with self.server.app.app_context():
            return sse.publish_many(events)

    def cursor(self, *channels: str) -> str:
        with self.server.app.app_context():
            return sse.cursor(*channels)

    def listen(self, *channels: str, back_with: str | None = None, query: str | None = None) -> StreamClient:
        """Open a stream, of a client that comes back with what it says in the header or in the URL."""
        words = [f"channel={quote(name)}" for name in channels]
        if query is not None:
            words.append(f"last_event_id={quote(query)}")
        headers = {} if back_with is None else {"Last-Event-ID": back_with}
        return self.server.stream("/stream?" + "&".join(words), headers)

    def position(self, *channels: str) -> str:
        """Return the position of a client that comes now and leaves at once."""
        with self.listen(*channels) as stream:
            return stream.wait_opened().last_event_id


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.server if start else ()) for name, start in BROKERS.items()],
)
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    start = BROKERS[request.param]
    with ExitStack() as stack:
        broker = stack.enter_context(start()) if start else None
        url = broker.url if broker else f"memory://history-{uuid.uuid4().hex}"
        server = stack.enter_context(
            serve(SSE_BROKER_URL=url, SSE_HISTORY_RULES=RULES, SSE_MAX_CHANNELS_PER_STREAM=10)
        )
        yield Line(url, server, broker)


@pytest.fixture
def redis_line(line: Line) -> Line:
    if line.broker is None:
        pytest.skip("the memory of a hub has no other door")
    return line


def data_of(stream: StreamReader, count: int) -> list[str]:
    """Return the data of the next events, which are those of the application."""
    events = stream.events(count)
    assert {event.type for event in events} <= {"message"}, events
    return [event.data for event in events]


def last_event_id(stream: StreamReader) -> str:
    return stream.reading.decoder.last_event_id


def reset_of(stream: StreamReader) -> dict[str, Any]:
    """Return what the next event says, which is that of a gap."""
    event = stream.next_event()
    assert event.type == "stream-reset", event
    told: dict[str, Any] = json.loads(event.data)
    assert told.keys() == {"channel", "reason", "from", "to"}
    assert told["to"] in event.last_event_id.split(",")
    return told


# -- what a fresh client sees -----------------------------------------------------------------------


def test_a_fresh_stream_begins_with_its_position_and_every_event_has_one(line: Line, channel: str) -> None:
    line.publish("before", channel)
    with line.listen(channel) as stream:
        opened = stream.wait_opened()
        assert json.loads(opened.data) == {"channels": [channel]}
        assert read_cursor(opened.last_event_id)
        published = [line.publish(str(number), channel) for number in range(3)]
        events = stream.events(3)
    assert events == [Event("message", str(n), str(published[n].id)) for n in range(3)]
    assert len({opened.last_event_id, *(event.last_event_id for event in events)}) == 4


def test_publish_returns_the_id_that_the_page_sees(line: Line, channel: str) -> None:
    with line.listen(channel) as stream:
        stream.wait_opened()
        for given, seen in (("order-7", "order-7"), (7, "7"), ("", "")):
            published = line.publish("x", channel, id=given)
            assert (published, published.id) == (1, seen)
            assert stream.next_event().last_event_id == seen
        assert read_cursor(last_event_id(stream))


# -- what a client that comes back sees -------------------------------------------------------------


@pytest.mark.parametrize("way", ["back_with", "query"])
def test_who_comes_back_gets_what_was_missed_in_order_and_then_what_comes(
    line: Line, channel: str, way: str
) -> None:
    with line.listen(channel) as stream:
        stream.wait_opened()
        line.publish("seen", channel)
        assert data_of(stream, 1) == ["seen"]
    missed = [line.publish(f"missed {number}", channel) for number in range(3)]
    with line.listen(channel, **{way: last_event_id(stream)}) as again:
        assert again.events(3) == [Event("message", f"missed {n}", str(missed[n].id)) for n in range(3)]
        assert line.publish("live", channel) == 1
        assert data_of(again, 1) == ["live"]
        assert b"stream-" not in again.raw


def test_the_header_wins_over_the_url(line: Line, channel: str) -> None:
    """The URL of a page stays as it was rendered; the browser adds the header when it comes back."""
    rendered = line.cursor(channel)
    one, _ = line.publish("one", channel), line.publish("two", channel)
    with line.listen(channel, back_with=one.id, query=rendered) as stream:
        assert data_of(stream, 1) == ["two"]
    with line.listen(channel, back_with="", query=rendered) as stream:
        assert data_of(stream, 2) == ["one", "two"]


def test_who_missed_nothing_gets_nothing(line: Line, channel: str) -> None:
    published = line.publish("seen", channel)
    resumed = line.server.status()["resumed"]
    with line.listen(channel, back_with=published.id) as stream:
        stream.wait_for_bytes(b"retry:")
        assert line.publish("live", channel, id="live") == 1
        assert data_of(stream, 1) == ["live"]
        begin = f"id:{published.id}\nretry:[0-9]+\n\ndata:live\nid:live\n\n"
        assert re.match(begin.encode(), stream.reading.body)
    assert line.server.status()["resumed"] == resumed + 1


def test_who_comes_back_before_anything_was_published_gets_all_of_it(line: Line, channel: str) -> None:
    position = line.position(channel)
    line.publish("first", channel)
    with line.listen(channel, back_with=position) as stream:
        assert data_of(stream, 1) == ["first"]


def test_more_than_a_page_is_missed_and_comes_whole(line: Line, channel: str) -> None:
    count = 2 * PAGE_EVENTS + 7
    position = line.position(channel)
    line.publish_many(*({"data": str(number), "channel": channel} for number in range(count)))
    with line.listen(channel, back_with=position) as stream:
        assert data_of(stream, count) == [str(number) for number in range(count)]
        line.publish("live", channel)
        assert data_of(stream, 1) == ["live"]


def test_large_events_are_missed_and_come_whole(line: Line, channel: str) -> None:
    large = ["äöü\n" * 10_000 + str(number) for number in range(20)]
    position = line.position(channel)
    for data in large:
        line.publish(data, channel)
    with line.listen(channel, back_with=position) as stream:
        assert data_of(stream, len(large)) == large


def test_types_retries_and_texts_come_back_as_they_were_published(line: Line, channel: str) -> None:
    position = line.position(channel)
    texts = ["", "\n", " a", "id: 1\n:comment", "grüße \N{TEST TUBE} \u2028\x85 \N{BYTE ORDER MARK}\0"]
    for text in texts:
        line.publish(text, channel)
    line.publish({"a": [1, None, "ü"]}, channel, type="kind", retry=1234)
    with line.listen(channel, back_with=position) as stream:
        assert data_of(stream, len(texts)) == texts
        last = stream.next_event()
        assert (last.type, json.loads(last.data)) == ("kind", {"a": [1, None, "ü"]})
        assert stream.reading.decoder.retry_ms == 1234


def publish_numbers(line: Line, channel: str, count: int) -> None:
    for number in range(count):
        line.publish(f"{channel} {number}", channel)


def test_every_event_comes_once_to_who_comes_and_goes_while_it_is_published(line: Line, channel: str) -> None:
    count, position = 400, line.position(channel)
    seen: list[Event] = []
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish_numbers, line, channel, count)
        while len(seen) < count:
            with line.listen(channel, back_with=position) as stream:
                seen += stream.events(min(13, count - len(seen)))
                position = seen[-1].last_event_id
        publishing.result()
    assert [event.data for event in seen] == [f"{channel} {number}" for number in range(count)]


def test_the_same_over_two_channels(line: Line, channel: str) -> None:
    names = [f"{channel}-a", f"{channel}-b"]
    count, position = 100, line.position(*names)
    seen: list[Event] = []
    with ThreadPoolExecutor(2) as pool:
        publishing = [pool.submit(publish_numbers, line, name, count) for name in names]
        while len(seen) < 2 * count:
            with line.listen(*names, back_with=position) as stream:
                seen += stream.events(min(9, 2 * count - len(seen)))
                position = seen[-1].last_event_id
        for each in publishing:
            each.result()
    for name in names:
        mine = [event.data for event in seen if event.data.startswith(name)]
        assert mine == [f"{name} {number}" for number in range(count)]


def test_many_clients_that_come_back_at_once_all_get_what_they_missed(line: Line, channel: str) -> None:
    positions = [line.cursor(channel), *(line.publish(str(n), channel).id for n in range(20))]
    with ExitStack() as stack:
        streams = [stack.enter_context(line.listen(channel, back_with=position)) for position in positions]
        line.publish("live", channel)
        for missed_from, stream in enumerate(streams):
            expected = [*(str(number) for number in range(missed_from, 20)), "live"]
            assert data_of(stream, len(expected)) == expected


# -- several channels -------------------------------------------------------------------------------


def test_a_stream_over_several_channels_goes_on_in_each(line: Line, channel: str) -> None:
    names = [f"{channel}-{letter}" for letter in "cab"]
    with line.listen(*names) as stream:
        opened = stream.wait_opened()
        assert json.loads(opened.data) == {"channels": sorted(names)}
        for name in names:
            line.publish(f"seen {name}", name)
        assert data_of(stream, 3) == [f"seen {name}" for name in names]
    position = last_event_id(stream)
    assert all(map(read_cursor, position.split(",")))
    for number in range(2):
        for name in names[:2]:
            line.publish(f"missed {number} {name}", name)
    # The order in the URL is of no importance.
    with line.listen(*reversed(names), back_with=position) as again:
        missed = data_of(again, 4)
        for name in names[:2]:
            assert [data for data in missed if data.endswith(name)] == [
                f"missed 0 {name}",
                f"missed 1 {name}",
            ]
        for name in names:
            line.publish(f"live {name}", name)
        assert data_of(again, 3) == [f"live {name}" for name in names]
        assert b"stream-" not in again.raw


def test_a_channel_of_several_that_cannot_go_on_is_told_and_the_others_go_on(
    line: Line, channel: str
) -> None:
    kept, small = f"{channel}-kept", f"{channel}-small"
    position = line.position(kept, small)
    line.publish("missed", kept)
    for number in range(6):
        line.publish(f"gone {number}", small)
    with line.listen(kept, small, back_with=position) as stream:
        events = stream.events(2)
        assert sorted(event.type for event in events) == ["message", "stream-reset"]
        told = json.loads(next(event.data for event in events if event.type == "stream-reset"))
        assert told["channel"] == small
        line.publish("live", small)
        assert data_of(stream, 1) == ["live"]


def test_a_position_of_other_channels_is_told(line: Line, channel: str) -> None:
    position = line.position(f"{channel}-other")
    line.publish("x", channel)
    with line.listen(channel, back_with=position) as stream:
        assert reset_of(stream)["from"] == position


# -- earliest and own ids ---------------------------------------------------------------------------


def test_earliest_is_all_that_is_kept(line: Line, channel: str) -> None:
    for number in range(3):
        line.publish(str(number), channel)
    with line.listen(channel, query="earliest") as stream:
        assert data_of(stream, 3) == ["0", "1", "2"]
        line.publish("live", channel)
        assert data_of(stream, 1) == ["live"]
        assert b"stream-" not in stream.raw


def test_earliest_is_no_more_than_is_kept_and_no_gap(line: Line, channel: str) -> None:
    small = f"{channel}-small"
    for number in range(20):
        line.publish(str(number), small)
    with line.listen(small, query="earliest") as stream:
        assert data_of(stream, 5) == ["15", "16", "17", "18", "19"]


def test_earliest_of_nothing_is_what_comes(line: Line, channel: str) -> None:
    with line.listen(channel, query="earliest") as stream:
        stream.wait_for_bytes(b"retry:")
        assert line.publish("first", channel) == 1
        assert data_of(stream, 1) == ["first"]


def test_earliest_over_several_channels_is_all_of_each(line: Line, channel: str) -> None:
    names = [f"{channel}-a", f"{channel}-b"]
    for name in names:
        line.publish(name, name)
    with line.listen(*names, query="earliest") as stream:
        assert sorted(data_of(stream, 2)) == names


OWN_IDS = ["order-7", 7, "ü\N{TEST TUBE}", "a,b", " spaced", "x" * 256, "earliest-1", "now", "0-0"]


@pytest.mark.parametrize("own_id", OWN_IDS, ids=lambda own_id: ascii(own_id)[:12])
def test_an_id_of_the_application_is_looked_up(line: Line, channel: str, own_id: str | int) -> None:
    """A client that comes back with what the page saw, as some that are no browsers do."""
    for name, given in (("before", "other"), ("seen", own_id), ("missed", None), ("missed too", "last")):
        line.publish(name, channel, id=given)
    with line.listen(channel, query=str(own_id)) as stream:
        assert data_of(stream, 2) == ["missed", "missed too"]


def test_an_id_that_was_given_twice_says_nothing_so_that_is_told(line: Line, channel: str) -> None:
    """Who saw the first of both and went would miss what is between them."""
    for name, given in (("first", "same"), ("between", "other"), ("second", "same"), ("after", None)):
        line.publish(name, channel, id=given)
    with line.listen(channel, back_with="same") as stream:
        assert reset_of(stream)["from"] == "same"
    with line.listen(channel, back_with="other") as stream:
        assert data_of(stream, 2) == ["second", "after"]


def test_an_id_that_was_given_thrice_says_nothing_while_two_of_them_are_kept(
    line: Line, channel: str
) -> None:
    small = f"{channel}-small"
    ids = ["a", "b", "c", "d", None, None, None, None, None, "same", "same", "e", "same"]
    for number, given in enumerate(ids):
        line.publish(str(number), small, id=given)
    with line.listen(small, back_with="same") as stream:
        assert reset_of(stream)["from"] == "same"


def test_ids_of_events_at_the_same_moment_are_told_apart(line: Line, channel: str) -> None:
    line.publish_many(*({"data": str(n), "id": f"id-{n}", "channel": channel} for n in range(50)))
    for number in (0, 20, 48):
        with line.listen(channel, back_with=f"id-{number}") as stream:
            assert data_of(stream, 49 - number) == [str(n) for n in range(number + 1, 50)]


def test_an_id_that_nobody_gave_is_told(line: Line, channel: str) -> None:
    line.publish("x", channel, id="given")
    resets = line.server.status()["resets"]
    with line.listen(channel, back_with="never given") as stream:
        told = reset_of(stream)
        assert (told["channel"], told["from"]) == (channel, "never given")
        assert told["reason"] == "the last event id is not known"
        assert line.publish("live", channel) == 1
        assert data_of(stream, 1) == ["live"]
    assert line.server.status()["resets"] == resets + 1


def test_an_id_goes_with_its_event(line: Line, channel: str) -> None:
    small = f"{channel}-small"
    line.publish("gone", small, id="gone")
    for number in range(5):
        line.publish(str(number), small, id=f"kept-{number}")
    with line.listen(small, back_with="kept-0") as stream:
        assert data_of(stream, 4) == ["1", "2", "3", "4"]
    with line.listen(small, back_with="gone") as stream:
        assert reset_of(stream)["from"] == "gone"


# -- how much is kept -------------------------------------------------------------------------------


def test_what_is_kept_no_more_is_told(line: Line, channel: str) -> None:
    small = f"{channel}-small"
    position = line.position(small)
    for number in range(5):
        line.publish(str(number), small)
    with line.listen(small, back_with="earliest") as stream:
        assert data_of(stream, 5) == ["0", "1", "2", "3", "4"]
    last = line.publish("one too many", small)
    with line.listen(small, back_with=position) as stream:
        told = reset_of(stream)
        assert told == {
            "channel": small,
            "reason": "the history does not reach back so far",
            "from": position,
            "to": last.id,
        }
        line.publish("live", small)
        assert data_of(stream, 1) == ["live"]
    with line.listen(small, back_with=told["to"]) as stream:
        assert data_of(stream, 1) == ["live"]


def test_a_channel_without_history_is_as_in_1_0(line: Line, channel: str) -> None:
    off = f"{channel}-off"
    with line.listen(off, back_with="earliest") as stream:
        stream.wait_for_bytes(b"retry:")
        published = line.publish("x", off)
        assert (published, published.id) == (1, None)
        assert line.publish("y", off, id=7).id == "7"
        assert data_of(stream, 2) == ["x", "y"]
        body = stream.reading.body.partition(b"\n\n")[2]
        assert bytes(body) == b"data:x\n\ndata:y\nid:7\n\n"
    assert line.cursor(off) == ""


def test_only_the_kept_ones_of_several_channels_have_positions(line: Line, channel: str) -> None:
    kept, off = f"{channel}-kept", f"{channel}-off"
    with line.listen(off, kept) as stream:
        opened = stream.wait_opened()
        assert json.loads(opened.data) == {"channels": [kept]}
        line.publish("without", off)
        published = line.publish("with", kept)
        assert stream.events(2) == [
            Event("message", "without", opened.last_event_id),
            Event("message", "with", str(published.id)),
        ]
    line.publish("missed without", off)
    line.publish("missed with", kept)
    with line.listen(off, kept, back_with=published.id) as stream:
        assert data_of(stream, 1) == ["missed with"]


# -- sse.cursor -------------------------------------------------------------------------------------


def test_nothing_falls_between_the_rendering_of_a_page_and_its_stream(line: Line, channel: str) -> None:
    line.publish("part of the state", channel)
    rendered = line.cursor(channel)
    line.publish("while it is rendered", channel)
    with line.listen(channel, query=rendered) as stream:
        line.publish("live", channel)
        assert data_of(stream, 2) == ["while it is rendered", "live"]
        assert b"stream-" not in stream.raw


def test_the_position_of_several_channels_is_in_no_order_of_theirs(line: Line, channel: str) -> None:
    names = [f"{channel}-{letter}" for letter in "abc"]
    line.publish("before", names[1])
    rendered = line.cursor(names[2], names[0], f"{channel}-off", names[1])
    assert rendered == line.cursor(*names)
    for name in names:
        line.publish(name, name)
    with line.listen(names[1], names[2], names[0], query=rendered) as stream:
        assert sorted(data_of(stream, 3)) == names
        assert b"stream-" not in stream.raw


def test_the_position_is_the_one_behind_the_last_event(line: Line, channel: str) -> None:
    assert line.cursor(channel) == line.cursor(channel) == line.position(channel)
    published = line.publish("x", channel)
    assert line.cursor(channel) == published.id == line.position(channel)


def test_the_channel_of_a_position_is_checked(line: Line) -> None:
    with pytest.raises(InvalidChannelError):
        line.cursor("a\nb")


# -- key= -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["kept", "off"])
def test_the_same_key_publishes_once_and_returns_the_same(line: Line, channel: str, kind: str) -> None:
    name = f"{channel}-{kind}"
    with line.listen(name) as stream:
        stream.wait_for_bytes(b"retry:")
        first = line.publish("once", name, key="order-7")
        again = line.publish("twice", name, key="order-7")
        assert (again, again.id) == (first, first.id) == (1, first.id)
        line.publish("the end", name, type="end")
        events = [event for event in stream.events(3 if kind == "kept" else 2) if event.type != "stream-open"]
        assert [event.data for event in events] == ["once", "the end"]


def test_other_keys_and_other_channels_are_other_publications(line: Line, channel: str) -> None:
    names = [channel, f"{channel}-other"]
    keys = ["k", "K", "k ", "ü", "k" * 200, "}:k:{"]
    with line.listen(*names) as stream:
        stream.wait_opened()
        for _ in range(2):
            for name in names:
                for key in keys:
                    line.publish(f"{name} {key}", name, key=key)
                line.publish(f"{name} without", name)
        expected = [f"{name} {key}" for name in names for key in [*keys, "without"]]
        expected += [f"{name} without" for name in names]
        assert data_of(stream, len(expected)) == expected


@pytest.mark.parametrize(
    ("key", "other_name", "other_key"),
    [("b}:k:c", "}:k:b", "c"), ("x}:s", "}:k:x", None), ("x}:m", "}:k:x", None)],
)
def test_a_channel_and_a_key_are_told_apart_from_another_two_whatever_they_are(
    line: Line, channel: str, key: str, other_name: str, other_key: str | None
) -> None:
    with line.listen(channel + other_name) as stream:
        stream.wait_opened()
        one = line.publish("x", channel, key=key)
        other = line.publish("y", channel + other_name, key=other_key)
        assert (one, other) == (0, 1)
        assert data_of(stream, 1) == ["y"]
        assert line.publish("again", channel, key=key).id == one.id


def test_a_key_with_an_own_id_returns_the_own_id_again(line: Line, channel: str) -> None:
    for _ in range(2):
        assert line.publish("x", channel, id="own", key="k").id == "own"


@pytest.mark.parametrize("size", [1000, 0])
@pytest.mark.parametrize("first", ["a b", "", None, "0", 7])
@pytest.mark.parametrize("second", ["other", None])
def test_a_key_returns_the_id_of_the_first_publication_whatever_the_second_one_has(
    line: Line, channel: str, size: int, first: str | int | None, second: str | None
) -> None:
    """15.12: it returned the second id, which no page ever sees."""
    channel = f"{channel}-off" if not size else channel
    published = line.publish("x", channel, id=first, key="k")
    assert line.publish("x", channel, id=second, key="k").id == published.id
    if first is not None:
        assert published.id == str(first)


def test_data_that_no_hub_can_read_is_refused(line: Line, channel: str) -> None:
    """15.12: it was published, and every hub dropped it."""
    with line.listen(channel) as stream:
        stream.wait_opened()
        with pytest.raises(InvalidMessageError, match="nested"):
            line.publish(nested(MAX_DEPTH + 1), channel)
        line.publish(nested(MAX_DEPTH), channel)
        line.publish({"a": [[]] * MAX_DEPTH, "[": '\\"[' * MAX_DEPTH}, channel)
        line.publish("[" * 2 * MAX_DEPTH, channel)
        assert [event.data[:1] for event in stream.events(3)] == ["[", "{", "["]


def nested(depth: int) -> list[object]:
    data: list[object] = []
    for _ in range(depth - 1):
        data = [data]
    return data


@pytest.mark.parametrize("key", ["", 7, b"k", "k" * 201, "ü" * 101, "\ud800"])
def test_a_key_that_cannot_be_is_refused(line: Line, channel: str, key: Any) -> None:
    with pytest.raises(InvalidMessageError, match="key"):
        line.publish("x", channel, key=key)


def test_how_long_a_key_is_remembered_is_documented() -> None:
    assert f"within {KEY_SECONDS // 60} minutes" in (sse.publish.__doc__ or "")


# -- publish_many -----------------------------------------------------------------------------------


def test_several_events_are_published_in_their_order(line: Line, channel: str) -> None:
    names = [f"{channel}-a", f"{channel}-b", f"{channel}-off"]
    count = 2 * BATCH + 50
    with line.listen(*names) as stream:
        stream.wait_opened()
        events = [{"data": {"n": n}, "channel": names[n % 3], "type": f"t{n % 2}"} for n in range(count)]
        published = line.publish_many(*events)
        assert published == [1] * count
        seen = stream.events(count)
    assert [(event.type, event.data) for event in seen] == [
        (f"t{n % 2}", json.dumps({"n": n})) for n in range(count)
    ]
    assert all((each.id is None) == (n % 3 == 2) for n, each in enumerate(published))
    ids = [each.id for each in published if each.id]
    assert len(set(ids)) == len(ids)


def test_no_events_are_published_as_well(line: Line) -> None:
    assert line.publish_many() == []


def test_keys_hold_among_several_events_too(line: Line, channel: str) -> None:
    with line.listen(channel) as stream:
        stream.wait_opened()
        event = {"data": "once", "channel": channel, "key": "k"}
        published = line.publish_many(event, event, {**event, "key": "other"})
        assert published[0].id == published[1].id != published[2].id
        line.publish("the end", channel)
        assert data_of(stream, 3) == ["once", "once", "the end"]


BAD: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"data": "x", "type": "a\nb"}, InvalidMessageError),
    ({"data": float("nan")}, InvalidMessageError),
    ({"data": "x", "channel": ""}, InvalidChannelError),
    ({"data": "x" * 300_000}, MessageTooLargeError),
    ({"data": "x", "key": ""}, InvalidMessageError),
    ({"type": "no data"}, UsageError),
    ({"data": "x", "chanel": "misspelt"}, UsageError),
]


@pytest.mark.parametrize(("bad", "error"), BAD, ids=[ascii(bad)[:30] for bad, _ in BAD])
def test_nothing_is_published_if_one_of_several_events_cannot_be(
    line: Line, channel: str, bad: dict[str, Any], error: type[Exception]
) -> None:
    position = line.cursor(channel)
    good = [{"data": str(number), "channel": channel} for number in range(3)]
    with pytest.raises(error):
        line.publish_many(*good, bad, *good)
    assert line.cursor(channel) == position


# -- hubs -------------------------------------------------------------------------------------------


def test_another_hub_goes_on_where_one_left_off(redis_line: Line, channel: str) -> None:
    # A setting that the hub reads makes it another one.
    with serve(SSE_BROKER_URL=redis_line.url, SSE_MAX_CHANNELS=99_999, SSE_HISTORY_RULES=RULES) as other:
        assert other.status()["pid"] != redis_line.server.status()["pid"]
        with redis_line.listen(channel) as stream:
            stream.wait_opened()
            assert other.publish("seen", channel=channel) == 1
            assert data_of(stream, 1) == ["seen"]
        redis_line.publish("missed", channel)
        path, headers = f"/stream?channel={channel}", {"Last-Event-ID": last_event_id(stream)}
        with other.stream(path, headers) as again:
            assert data_of(again, 1) == ["missed"]
            assert redis_line.publish("live", channel) == 2  # the first one listens for a while
            assert data_of(again, 1) == ["live"]


# -- together with 1.0 ------------------------------------------------------------------------------


def test_what_1_0_publishes_arrives_without_a_position(redis_line: Line, channel: str) -> None:
    assert redis_line.broker
    client: Any = redis_line.broker.client()
    with redis_line.listen(channel) as stream:
        opened = stream.wait_opened()
        assert client.publish(channel, b'{"data": "of 1.0", "type": "t"}') == 1
        assert stream.next_event() == Event("t", "of 1.0", opened.last_event_id)
        published = redis_line.publish("ours", channel)
        assert stream.next_event() == Event("message", "ours", str(published.id))
        client.publish(channel, b'{"data": "of 1.0", "id": "given"}')
        assert stream.next_event() == Event("message", "of 1.0", "given")
        redis_line.publish("ours again", channel)
        assert data_of(stream, 1) == ["ours again"]
    with redis_line.listen(channel, back_with=opened.last_event_id) as stream:
        assert data_of(stream, 2) == ["ours", "ours again"]


@pytest.mark.parametrize("kind", ["kept", "off"])
def test_1_0_reads_what_is_published(redis_line: Line, channel: str, kind: str) -> None:
    """As ``messages()`` of 1.0 did it."""
    assert redis_line.broker
    client: Any = redis_line.broker.client()
    name = f"{channel}-{kind}"
    published: list[dict[str, Any]] = [
        {"data": {"a": [1, None, "ü"]}, "type": "t", "id": 7, "retry": 10},
        {"data": "abcdefgh.2-0 1-0"},
        {"data": '", "data": '},
        {"data": None, "id": "seven"},
        {"data": "\N{TEST TUBE}" * 1000},
    ]
    with contextlib.closing(client.pubsub(ignore_subscribe_messages=True)) as pubsub:
        pubsub.subscribe(name)
        pubsub.get_message(timeout=PATIENT_SECONDS)
        for fields in published:
            assert redis_line.publish(**fields, channel=name) == 1
        for fields in published:
            message: Any = pubsub.get_message(timeout=PATIENT_SECONDS)
            assert Message(**json.loads(message["data"])) == Message(**fields)


# -- hostile clients --------------------------------------------------------------------------------


HOSTILE: dict[str, bytes] = {
    "NUL": b"abc\0def",
    "NUL alone": b"\0",
    "70 KB": b"x" * 70_000,
    "60 KB": b"x" * 60_000,
    "60 KB of cursors": b",".join([b"abcdefgh.1-0"] * 4600),
    "60 KB of commas": b"," * 60_000,
    "the largest id of Redis": b"18446744073709551615-18446744073709551615",
    "the largest id of Redis in an epoch": b"abcdefgh.18446744073709551615-18446744073709551615",
    "the largest id of ours": b"abcdefgh.8640000000000000-9223372036854775807",
    "other epoch": b"zzzzzzzz.1-0",
    "negative": b"abcdefgh.-1-0",
    "unicode digits": "abcdefgh.\u0661-0".encode(),
    "Latin-1": b"caf\xe9",
    "half a character": b"\xe2\x82",
    "surrogate in UTF-8": b"\xed\xa0\x80",
    "control characters": bytes(number for number in range(1, 32) if number not in b"\t\n\r"),
    "DEL": b"\x7f",
    "tab": b"a\tb",
    "Lua": b"' .. os.exit() .. '",
    "Redis": b"+inf",
    "stream symbols": b"$",
    "start and end": b"-",
    "brackets": b"(1-0",
    "JSON": b'{"data": 1}',
    "folded": b"a\r\n b",
    "another header behind": b"a\r\nX-Other: b",
}


def answer_to(line: Line, path: str, *values: bytes) -> StreamReader:
    """Send headers as no browser writes them."""
    head = request_bytes(path).removesuffix(b"\r\n")
    fields = b"".join(b"Last-Event-ID: %b\r\n" % value for value in values)
    sock = connect(line.server.port)
    sock.sendall(head + fields + b"\r\n")
    return StreamReader(sock)


def assert_told_or_refused(line: Line, stream: StreamReader, channel: str) -> None:
    with stream:
        if 400 <= stream.status < 500:
            return
        assert stream.status == 200
        assert reset_of(stream)["channel"] == channel
        line.publish("live", channel)
        assert data_of(stream, 1) == ["live"]


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_last_event_id_is_told_or_refused_and_harms_nobody(
    line: Line, channel: str, value: bytes
) -> None:
    pid = line.server.status()["pid"]
    line.publish("x", channel)
    assert_told_or_refused(line, answer_to(line, f"/stream?channel={channel}", value), channel)
    if len(value) < 60_000:
        path = f"/stream?channel={channel}&last_event_id={quote(value)}"
        assert_told_or_refused(line, StreamClient(line.server.port, path), channel)
    assert line.server.status()["pid"] == pid


def test_two_last_event_ids_are_none(line: Line, channel: str) -> None:
    position = line.cursor(channel).encode()
    line.publish("x", channel)
    stream = answer_to(line, f"/stream?channel={channel}", position, position)
    assert_told_or_refused(line, stream, channel)


def test_a_hostile_last_event_id_is_told_for_each_of_several_channels(line: Line, channel: str) -> None:
    names = [f"{channel}-{number}" for number in range(10)]
    for value in HOSTILE.values():
        path = "/stream?" + "&".join(f"channel={name}" for name in names)
        with answer_to(line, path, value) as stream:
            if stream.status == 200:
                assert {reset_of(stream)["channel"] for _ in names} == set(names)
