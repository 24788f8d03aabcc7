"""14.26: members of ``class Room(str, Enum)`` count as the strings that they are, wherever one is given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import Enum, IntEnum
from typing import Any

import pytest
from markupsafe import Markup
from tests.support.brokers import Broker
from tests.support.local import make_app, serve

from flask_sse import Message, Publisher, sse
from flask_sse.channels import check_channel, requested_channels
from flask_sse.html import datastar_elements, htmx_oob, turbo_stream
from flask_sse.producing.run_name import check_run, new_run
from flask_sse.settings import Settings
from flask_sse.subjects import checked_subject
from flask_sse.testing import PublishedEvents, event, open_stream


class Word(str, Enum):  # noqa: UP042 - a StrEnum shows its value
    ROOM = "room"
    KIND = "kind"
    ID = "id-7"
    KEY = "key"
    RUN = "run:job"
    DATA = "data"
    MEMORY = "memory://words"
    THREAD = "thread"
    OFF = "off"
    PATTERN = "prices:*"
    SKIP = "skip"
    ORIGIN = "https://example.com"
    APPEND = "append"
    TRUE = "true"


class Number(IntEnum):
    SEVEN = 7


def member(value: str) -> Any:
    Room = Enum("Room", {"ONE": value}, type=str)  # noqa: N806 - a class
    return Room["ONE"]


PLAIN: dict[str, Callable[[], object]] = {
    "channel": lambda: check_channel(Word.ROOM),
    "requested channels": lambda: requested_channels([Word.ROOM, "room"]),
    "run": lambda: check_run(Word.RUN),
    "new run": lambda: new_run(Word.ROOM),
    "subject": lambda: checked_subject(Word.ROOM),
    "subject that is a number": lambda: checked_subject(Number.SEVEN),
    "data": lambda: Message(Word.DATA).data,
    "type": lambda: Message("x", Word.KIND).type,
    "id": lambda: Message("x", id=Word.ID).id,
    "id that is a number": lambda: Message("x", id=Number.SEVEN).id,
    "retry": lambda: Message("x", retry=Number.SEVEN).retry,
    "markup": lambda: Message(Markup("<b>")).data,
}


def parts(value: object) -> Iterator[object]:
    for part in value if isinstance(value, tuple | frozenset) else (value,):
        yield from parts(part) if isinstance(part, tuple | frozenset) else (part,)


@pytest.mark.parametrize("value", PLAIN.values(), ids=PLAIN)
def test_a_value_is_plain_behind_its_check(value: Callable[[], object]) -> None:
    assert {type(part) for part in parts(value())} <= {str, int}
    assert "Word." not in str(value())


def test_a_channel_that_is_asked_for_by_two_spellings_is_one() -> None:
    assert requested_channels([Word.ROOM, "room"]) == ("room",)


def test_settings_are_plain() -> None:
    settings = Settings.from_mapping(
        {
            "SSE_BROKER_URL": Word.MEMORY,
            "SSE_HUB": Word.THREAD,
            "SSE_TAKEOVER": Word.OFF,
            "SSE_HISTORY_SIZE": Number.SEVEN,
            "SSE_HISTORY_RULES": {Word.PATTERN: {"size": Number.SEVEN}},
            "SSE_SLOW_RULES": {Word.PATTERN: Word.SKIP},
            "SSE_CORS_ORIGINS": [Word.ORIGIN],
            "SSE_REQUIRE_TICKET": Word.TRUE,
            "SSE_RETRY_MS": Number.SEVEN,
        }
    )
    values = [
        getattr(settings, name) for name in ("broker_url", "hub", "takeover", "cors_origins", "slow_rules")
    ]
    assert values == ["memory://words", "thread", "off", {"https://example.com"}, (("prices:*", "skip"),)]
    ((pattern, history),) = settings.history_rules
    all_of_them = (*values, pattern, history.size, settings.history.size, settings.rules.retry_ms)
    assert {type(part) for part in parts(all_of_them)} <= {str, int}


def test_pages_get_what_is_published_by_members_over_redis(valkey: Broker, channel: str) -> None:
    """``publish`` returned 1 and an id, and the page got neither event nor reset."""
    with serve(SSE_BROKER_URL=valkey.url) as server, server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        for _ in range(2):
            server.publish(
                Word.DATA, Word.KIND, Word.ID, Number.SEVEN, member(channel), key=Word.KEY, collapse=Word.KEY
            )
        server.publish("end", channel=channel)
        got = [(each.type, each.data, each.last_event_id) for each in stream.events(2)]
        assert got[0] == ("kind", "data", "id-7")
        assert got[1][:2] == ("message", "end")


def test_streams_are_ended_by_members(channel: str) -> None:
    url = f"memory://{channel}"
    with serve(SSE_BROKER_URL=url) as server, server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        with contextlib.closing(Publisher(url)) as publisher:
            publisher.disconnect(channel=member(channel), reason=Word.KIND)
        end = stream.next_event()
        assert (end.type, end.data) == ("stream-end", '{"reason": "kind"}')


def test_a_response_has_plain_types(sse_events: PublishedEvents) -> None:
    app = make_app()

    @app.get("/answer")
    def answer() -> Any:
        return sse.response(iter([Message(Word.DATA, Word.KIND, Word.ID), Word.DATA]))

    with open_stream(app.test_client(), "/answer") as stream:
        stream.next("stream-end")
        assert b"event:kind\ndata:data\nid:id-7\n\n" in stream.raw
        assert b"Word." not in stream.raw


def test_what_was_published_by_members_is_found_by_strings_and_by_members(
    sse_events: PublishedEvents,
) -> None:
    with make_app().app_context():
        sse.publish(Word.DATA, Word.KIND, channel=Word.ROOM, key=Word.KEY, collapse=Word.KEY)
    for wanted in (
        event(channel="room", data="data", type="kind", key="key", collapse="key"),
        event(channel=Word.ROOM, data=Word.DATA, type=Word.KIND, key=Word.KEY, collapse=Word.KEY),
    ):
        assert sse_events == [wanted]
    assert len(sse_events.of(Word.ROOM)) == 1
    assert "Word." not in repr(sse_events)


def test_html_has_plain_words() -> None:
    events = [
        turbo_stream(Word.APPEND, "x", target=Word.ROOM),
        datastar_elements("x", selector=Word.ROOM, mode=Word.APPEND),
        htmx_oob("x", Word.ROOM, Word.APPEND),
    ]
    assert "Word." not in str(events)
