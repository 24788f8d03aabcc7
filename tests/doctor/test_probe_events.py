"""Probe events are recognized among others, and know whether they arrived in time."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Literal, cast

import pytest
from flask import Flask
from tests.support.local import local_app

from flask_sse.doctor.application import Application
from flask_sse.doctor.probe_events import PROBE_EVENTS, ProbeEvents
from flask_sse.doctor.probed_stream import ProbedStream
from flask_sse.wire.decode import Event


class FakeStream:
    """A stream whose events arrive when it is waited for; each wait is counted."""

    def __init__(self, arrive: Callable[[], None], ends_after: int = 100) -> None:
        self.waits = 0
        self._arrive = arrive
        self._ends_after = ends_after

    @property
    def ending(self) -> Literal["closed"] | None:
        return "closed" if self.waits >= self._ends_after else None

    def wait_for(self, condition: Callable[[], object], timeout_seconds: float) -> bool:
        self.waits += 1
        self._arrive()
        return bool(condition())


@pytest.fixture
def app() -> Iterator[Flask]:
    with local_app(SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}", SSE_HUB="thread") as app, app.app_context():
        yield app


def published(events: ProbeEvents) -> list[Event]:
    return [Event("flask-sse-doctor", data, "1") for data in events._sent]


def take_all(events: ProbeEvents) -> None:
    for event in published(events):
        events.take(event, 1e9)


def run(events: ProbeEvents, arrive: Callable[[], None], ends_after: int = 100) -> FakeStream:
    stream = FakeStream(arrive, ends_after)
    events.publish(cast("ProbedStream", stream), 1.0)
    return stream


def test_each_that_arrives_is_followed_by_the_next(app: Flask) -> None:
    events = ProbeEvents(Application(), "a")
    stream = run(events, lambda: take_all(events))
    assert (stream.waits, len(events.all)) == (PROBE_EVENTS, PROBE_EVENTS)
    assert all(event.in_time and event.has_id for event in events.all)
    assert events.have_arrived()


def test_after_a_late_one_the_rest_is_published_and_awaited_once(app: Flask) -> None:
    events = ProbeEvents(Application(), "a")
    assert run(events, lambda: None).waits == 2
    assert len(events.all) == PROBE_EVENTS
    assert not events.have_arrived()
    events.flush()
    take_all(events)
    assert [event.was_flushed for event in events.all] == [True] * PROBE_EVENTS


def test_none_is_published_into_a_stream_that_has_ended(app: Flask) -> None:
    events = ProbeEvents(Application(), "a")
    run(events, lambda: None, ends_after=1)
    assert len(events.all) == 1


def test_events_of_others_are_not_taken_for_them(app: Flask) -> None:
    events, others = ProbeEvents(Application(), "a"), ProbeEvents(Application(), "a")
    run(others, lambda: None)
    run(events, lambda: None)
    for event in [*published(others), *(Event("message", each.data, "") for each in published(events))]:
        events.take(event, 1e9)
    assert {event.arrival_seconds for event in events.all} == {None}
