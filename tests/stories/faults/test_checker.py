"""The checker finds what must not happen, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.stories.faults.checker import check
from tests.stories.faults.records import ClientLog, Cursor, Opened, Publication, read_cursor, read_cursors
from tests.stories.faults.report import Behind, Disorder, Duplicate, Loss, Unknown, Violation

from flask_sse.wire.decode import Event

# A test of the test helpers.
pytestmark = pytest.mark.long

OLD, NEW = "aaaaaaaa", "bbbbbbbb"
Seen = list[Opened | Event]


def at(number: int, epoch: str = OLD) -> str:
    return f"{epoch}.1719912345678-{number}"


def payload(number: int, channel: str = "a") -> str:
    return json.dumps({"channel": channel, "publisher": 1, "number": number})


def published(*numbers: int, channel: str = "a", epoch: str = OLD) -> list[Publication]:
    return [Publication(channel, payload(number, channel), at(number, epoch)) for number in numbers]


def event(number: int, channel: str = "a", epoch: str = OLD, last_event_id: str | None = None) -> Event:
    return Event("message", payload(number, channel), last_event_id or at(number, epoch))


def fresh(last_event_id: str) -> Seen:
    return [Opened(1, ""), Event("stream-open", '{"channels": []}', last_event_id)]


def reset(to: str, channel: str = "a", last_event_id: str | None = None) -> Event:
    data = json.dumps({"channel": channel, "reason": "", "from": None, "to": to})
    return Event("stream-reset", data, last_event_id or to)


def found(
    publications: Sequence[Publication], seen: Seen, channels: Sequence[str] = ("a",), **options: Any
) -> list[Violation]:
    tops = options.pop("tops", None)
    return check(publications, [ClientLog("page", channels, seen, **options)], tops).violations


def kinds(violations: Sequence[Violation]) -> list[type[Violation]]:
    return [type(violation) for violation in violations]


def test_numbers_of_a_cursor_are_compared_as_numbers() -> None:
    first, second = read_cursor("aaaaaaaa.999-10"), read_cursor("aaaaaaaa.1000-9")
    assert first
    assert second
    assert first.number < second.number
    assert str(first) == "aaaaaaaa.999-10"


@pytest.mark.parametrize("text", ["", "1-0", "aaaaaaaa.1", "aaaaaaa.1-0", "aaaaaaaa.1-0 ", None, 5])
def test_what_is_no_cursor(text: object) -> None:
    assert read_cursor(text) is None


def test_the_id_of_a_stream_names_its_channels_in_their_order() -> None:
    assert read_cursors(f"{at(1)},{at(2)}", ["b", "a"]) == {
        "a": Cursor(OLD, (1719912345678, 1)),
        "b": Cursor(OLD, (1719912345678, 2)),
    }
    for text in (at(1), f"{at(1)},", f"{at(1)},{at(2)},{at(3)}", f"{at(1)},x", ""):
        assert read_cursors(text, ["a", "b"]) == {}


def test_all_that_is_allowed_is_counted() -> None:
    log = [*published(1, 2, 3, 4, 5, 6), *published(1, epoch=NEW)]
    seen: Seen = [
        *fresh(at(1)),
        event(2),
        Opened(2, at(2)),
        event(3),
        Opened(3, at(3)),
        reset(at(5)),
        event(6),
        reset(at(0, NEW)),
        event(1, epoch=NEW),
    ]
    log[-1] = Publication("a", payload(7), at(1, NEW))
    seen[-1] = Event("message", payload(7), at(1, NEW))
    report = check(log, [ClientLog("page", ["a"], seen), ClientLog("gone", ["a"], seen[:3], connected=False)])
    assert report.violations == []
    assert (report.events, report.resets, report.reconnects) == (5, 2, 2)
    assert str(report) == "0 violations, 5 events, 2 resets, 2 reconnects"


def test_a_client_may_begin_where_it_says() -> None:
    seen: Seen = [Opened(1, at(1)), event(2)]
    assert found(published(1, 2), seen) == []
    assert kinds(found(published(0, 1, 2), [Opened(1, at(0)), event(2)])) == [Loss]


def test_a_client_that_came_before_it_could_know_a_position_may_begin_anew() -> None:
    assert found(published(1, 2), [Opened(1, ""), Opened(2, ""), *fresh(at(1)), event(2)]) == []


def test_an_event_left_out() -> None:
    (loss,) = found(published(1, 2, 3, 4), [*fresh(at(1)), event(4)])
    assert type(loss) is Loss
    assert loss.ids == (at(2), at(3))
    assert str(loss) == f"Loss: page, channel 'a': left out before {at(4)}: {at(2)}, {at(3)}"


def test_events_left_out_by_a_fresh_start_that_is_none() -> None:
    seen: Seen = [*fresh(at(1)), Opened(2, at(1)), Event("stream-open", "{}", at(3))]
    (loss,) = found(published(1, 2, 3), seen)
    assert (type(loss), loss.ids) == (Loss, (at(2), at(3)))


def test_a_new_epoch_without_a_reset() -> None:
    log = [*published(1), Publication("a", payload(2), at(2, NEW))]
    assert kinds(found(log, [*fresh(at(1)), event(2, epoch=NEW)])) == [Loss]


def test_an_event_that_came_twice() -> None:
    assert kinds(found(published(1, 2, 3), [*fresh(at(1)), event(2), event(2), event(3)])) == [Duplicate]
    seen: Seen = [*fresh(at(1)), event(2), event(3), Opened(2, at(1)), event(2)]
    assert kinds(found(published(1, 2, 3), seen)) == [Duplicate]


def test_a_payload_that_came_under_two_ids() -> None:
    log = [*published(1, 3), Publication("a", payload(1), None)]
    assert kinds(found(log, [*fresh(at(0)), event(1), Event("message", payload(1), at(2)), event(3)])) == [
        Duplicate
    ]


def test_an_event_behind_a_later_one() -> None:
    assert kinds(found(published(1, 2, 3), [*fresh(at(1)), event(3), event(2)])) == [Loss, Disorder]


def test_an_event_from_before_the_start() -> None:
    assert kinds(found(published(1, 2), [*fresh(at(2)), event(1)])) == [Disorder]


def test_a_client_that_was_not_brought_to_the_end() -> None:
    (behind,) = found(published(1, 2, 3), [*fresh(at(1)), event(2)])
    assert (type(behind), behind.ids) == (Behind, (at(3),))
    assert found(published(1, 2, 3), [*fresh(at(1)), event(2)], connected=False) == []
    assert kinds(found(published(1), [Opened(1, "")])) == [Behind]
    assert found([], [Opened(1, "")]) == []


def test_a_client_left_in_an_epoch_that_is_over() -> None:
    log = [*published(1), Publication("a", payload(2), at(2, NEW))]
    assert kinds(found(log, fresh(at(1)))) == [Behind]
    assert found(log, [*fresh(at(1)), reset(at(2, NEW))]) == []
    assert found(log, [*fresh(at(1)), reset(at(0, "cccccccc"))]) == []


def test_the_end_is_where_the_broker_says() -> None:
    log = published(1)
    assert found(log, fresh(at(1)), tops={"a": at(1)}) == []
    assert kinds(found(log, fresh(at(1)), tops={"a": at(0, NEW)})) == [Behind]
    assert kinds(found(log, fresh(at(1)), tops={"a": at(2)})) == [Behind]
    assert kinds(found(log, [Opened(1, "")], tops={"a": at(1)})) == [Behind]


def test_what_nobody_published() -> None:
    log = published(1, 2)
    for strange in (
        event(2, "b"),
        Event("message", "no JSON", at(2)),
        Event("message", "[]", at(2)),
        Event("message", "[" * 100_000, at(2)),
        Event("message", payload(2), ""),
        Event("message", payload(2), f"{at(2)},{at(2)}"),
        Event("message", payload(3), at(2)),
        Event("message", payload(2), at(1)),
        Event("stream-open", "{}", "x"),
        reset("x"),
        reset(at(1), "b"),
        reset(at(1), last_event_id=at(2)),
    ):
        (first, *_) = found(log, [*fresh(at(0)), event(1), strange], connected=False)
        assert isinstance(first, Unknown | Duplicate), strange


def test_an_uncertain_publication_may_have_happened_or_not() -> None:
    log = [*published(1, 3), Publication("a", payload(2), None)]
    assert found(log, [*fresh(at(1)), event(2), event(3)]) == []
    assert found(log, [*fresh(at(1)), event(3)]) == []
    assert found(log, [*fresh(at(1)), event(3), reset(at(4))]) == []
    assert kinds(found(log, [*fresh(at(1)), event(3), event(2)])) == [Loss, Disorder]


def test_an_uncertain_publication_that_one_client_saw_must_reach_all() -> None:
    log = [*published(1, 3), Publication("a", payload(2), None)]
    saw = ClientLog("saw", ["a"], [*fresh(at(1)), event(2), event(3)])
    missed = ClientLog("missed", ["a"], [*fresh(at(1)), event(3)])
    (loss,) = check(log, [saw, missed]).violations
    assert (type(loss), loss.client, loss.ids) == (Loss, "missed", (at(2),))
    log[-1] = Publication("a", payload(2), None, lost=True)
    assert check(log, [saw, missed]).violations == []


def test_what_the_broker_lost_need_not_be_seen() -> None:
    log = [*published(1, 2, 4), Publication("a", payload(3), at(3), lost=True)]
    assert found(log, [*fresh(at(1)), event(2), event(4)]) == []
    assert found(log, [*fresh(at(1)), event(2), event(3), reset(at(2)), event(4)]) == []


def both(a: int, b: int, b_epoch: str = OLD) -> str:
    return f"{at(a)},{at(b, b_epoch)}"


def test_two_channels_are_followed_by_themselves() -> None:
    log = [*published(1, 3), *published(2, 4, channel="b")]
    seen: Seen = [
        *fresh(both(0, 0)),
        event(1, "a", last_event_id=both(1, 0)),
        event(2, "b", last_event_id=both(1, 2)),
        event(3, "a", last_event_id=both(3, 2)),
        event(4, "b", last_event_id=both(3, 4)),
    ]
    assert found(log, seen, ["b", "a"]) == []
    assert kinds(found(log, [*seen[:3], *seen[4:]], ["a", "b"])) == [Loss, Loss]


def test_an_id_must_not_promise_what_another_channel_has_not_shown() -> None:
    log = [*published(1), *published(2, 4, channel="b")]
    start = fresh(both(0, 0))
    over: Seen = [*start, event(1, last_event_id=both(1, 2)), event(2, "b", last_event_id=both(1, 2))]
    assert kinds(found(log, over, ["a", "b"], connected=False)) == [Loss]
    epoch: Seen = [
        *start,
        event(1, last_event_id=both(1, 5, NEW)),
        reset(at(5, NEW), "b", last_event_id=both(1, 5, NEW)),
    ]
    assert kinds(found(log, epoch, ["a", "b"])) == [Loss]
    back: Seen = [
        *start,
        event(2, "b", last_event_id=both(0, 2)),
        event(1, last_event_id=both(1, 0)),
        event(4, "b", last_event_id=both(1, 4)),
    ]
    assert kinds(found(log, back, ["a", "b"])) == [Duplicate]
