"""Random runs without a fault satisfy the checker; one event dropped, doubled or swapped does not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.stories.faults.checker import channel_of, check
from tests.stories.faults.records import STREAM_OPEN, STREAM_RESET, ClientLog, Opened, Publication
from tests.stories.faults.report import Behind, Disorder, Duplicate, Loss, Violation

from flask_sse.wire.decode import Event

# A test of the test helpers.
pytestmark = pytest.mark.long


class Page:
    """A client that misses nothing, though it is away at times."""

    def __init__(self, tops: dict[str, str]) -> None:
        self.positions = dict(tops)
        self.seen: list[Opened | Event] = [Opened(1, "")]
        self.away = False
        # What it will see when it is back: channel, type, data, position.
        self.waiting: list[tuple[str, str, str, str]] = []
        self.show("", STREAM_OPEN, "{}", "")

    def show(self, channel: str, kind: str, data: str, position: str) -> None:
        if self.away:
            self.waiting.append((channel, kind, data, position))
            return
        if channel:
            self.positions[channel] = position
        self.seen.append(Event(kind, data, self.last_event_id))

    def reset(self, channel: str, to: str) -> None:
        self.waiting = [waiting for waiting in self.waiting if waiting[0] != channel]
        self.show(channel, STREAM_RESET, json.dumps({"channel": channel, "to": to}), to)

    def come_back(self) -> None:
        if self.away:
            self.away = False
            self.seen.append(Opened(2, self.last_event_id))
            waiting, self.waiting = self.waiting, []
            for what in waiting:
                self.show(*what)

    @property
    def last_event_id(self) -> str:
        return ",".join(self.positions.values())


class Run:
    """Publishers, a broker and clients without a fault."""

    def __init__(self, channels: int, pages: int) -> None:
        self.tops = {f"channel {number}": "aaaaaaaa.0-0" for number in range(channels)}
        self.log: list[Publication] = []
        self.pages = [Page(self.tops) for _ in range(pages)]

    def do(self, what: str, channel: str, page: Page) -> None:
        if what == "publish":
            self.publish(channel)
        elif what == "flush":
            epoch = chr(ord(self.tops[channel][0]) + 1) * 8
            self.tops[channel] = f"{epoch}.0-0"
            for each in self.pages:
                each.reset(channel, self.tops[channel])
        elif what == "reset":
            page.reset(channel, self.tops[channel])
        elif what == "leave":
            page.away = True
        else:
            page.come_back()

    def publish(self, channel: str) -> None:
        epoch, _, number = self.tops[channel].partition(".")
        ms, sequence = map(int, number.split("-"))
        number = f"{ms}-{sequence + 1}" if len(self.log) % 3 else f"{ms + 9}-0"
        data = json.dumps({"channel": channel, "number": len(self.log)})
        self.tops[channel] = f"{epoch}.{number}"
        self.log.append(Publication(channel, data, self.tops[channel]))
        for page in self.pages:
            page.show(channel, "message", data, self.tops[channel])

    def violations(self, page: Page, seen: list[Opened | Event]) -> set[type[Violation]]:
        """Return what the checker finds if one client saw something else."""
        logs = [
            ClientLog(str(number), list(self.tops), seen if each is page else each.seen)
            for number, each in enumerate(self.pages)
        ]
        violations = check(self.log, logs).violations
        assert {violation.client for violation in violations} <= {str(self.pages.index(page))}
        return set(map(type, violations))


@st.composite
def runs(draw: st.DrawFn) -> Run:
    run = Run(draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    happenings = st.sampled_from([*["publish"] * 6, "flush", "reset", "leave", "come back"])
    for happening in draw(st.lists(happenings, max_size=40)):
        run.do(happening, draw(st.sampled_from(list(run.tops))), draw(st.sampled_from(run.pages)))
    for page in run.pages:
        page.come_back()
    return run


def pairs(page: Page) -> Iterator[tuple[int, int | None]]:
    """Yield where each event stands that no reset follows in its channel, and where the next one does."""
    events = [(number, each) for number, each in enumerate(page.seen) if isinstance(each, Event)]
    for index, (number, event) in enumerate(events):
        later = [each for each in events[index + 1 :] if channel_of(each[1]) == channel_of(event)]
        following, successor = later[0] if later else (None, event)
        if event.type == successor.type == "message":
            yield number, following


@given(runs(), st.data())
def test_one_event_dropped_doubled_or_swapped_is_found(run: Run, data: st.DataObject) -> None:
    page = data.draw(st.sampled_from(run.pages))
    assert run.violations(page, page.seen) == set()

    assume(list(pairs(page)))
    number, following = data.draw(st.sampled_from(list(pairs(page))))
    seen = page.seen
    assert run.violations(page, seen[:number] + seen[number + 1 :]) & {Loss, Behind}
    assert Duplicate in run.violations(page, [*seen[: number + 1], *seen[number:]])
    if following is not None:
        swapped = list(seen)
        swapped[number], swapped[following] = seen[following], seen[number]
        assert Disorder in run.violations(page, swapped)
