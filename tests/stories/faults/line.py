"""From a publisher to a page, with a hub in this process whose waits a test can shorten."""

from __future__ import annotations

import json
from typing import Any, Self

import pytest
from tests.support.brokers import Broker
from tests.support.client import StreamClient
from tests.support.local import LocalServer, serve
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until

from flask_sse import BrokerUnavailableError
from flask_sse.brokers.redis import feed, reader
from flask_sse.hub.protocol.hub_events import STREAM_OPEN, STREAM_RESET

PROBE_SECONDS = 0.4
CHECK_SECONDS = 0.5
BACKOFF_SECONDS = 0.1
HEARTBEATS = b"\n:\n\n:\n\n"


def shorten_waits(patch: pytest.MonkeyPatch, *, check_seconds: float = CHECK_SECONDS) -> None:
    """Let hubs that begin from now on in this process notice in a moment what takes them seconds."""
    patch.setattr(feed, "PROBE_SECONDS", PROBE_SECONDS)
    patch.setattr(feed, "CONNECT_SECONDS", PROBE_SECONDS)
    patch.setattr(feed, "BACKOFF_FIRST_SECONDS", BACKOFF_SECONDS)
    patch.setattr(feed, "BACKOFF_MAX_SECONDS", 2 * BACKOFF_SECONDS)
    patch.setattr(reader, "CHECK_SECONDS", check_seconds)
    patch.setattr(reader, "CONNECT_SECONDS", PROBE_SECONDS)
    patch.setattr(reader, "ANSWER_SECONDS", PROBE_SECONDS)
    patch.setattr(reader, "RETRY_SECONDS", BACKOFF_SECONDS)


def let_its_clock_go_on(broker: Broker) -> None:
    """Wait for the server's next millisecond: an id must not come again, so within one a history ends."""

    def milliseconds() -> int:
        seconds, microseconds = broker.client().time()
        return int(seconds * 1000 + microseconds // 1000)

    now = milliseconds()
    wait_until(lambda: milliseconds() > now, what="the clock to go on")


class Listener:
    """One page that listens to numbers."""

    def __init__(self, server: LocalServer, channel: str, last_event_id: str) -> None:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        self.stream: StreamClient = server.stream(f"/stream?channel={channel}", headers)
        self.stream.wait_for_bytes(b"retry:")
        if not last_event_id:
            assert self.stream.next_event().type == STREAM_OPEN

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    @property
    def last_event_id(self) -> str:
        """What it would come back with now."""
        return self.stream.reading.decoder.last_event_id

    def numbers(self, count: int, timeout: float = PATIENT_SECONDS) -> list[int]:
        """Return the next numbers; nothing else may come."""
        events = self.stream.events(count, timeout)
        assert {event.type for event in events} <= {"message"}, events
        return [int(event.data) for event in events]

    def reset(self, timeout: float = PATIENT_SECONDS) -> dict[str, Any]:
        """Return what the next event says, which must be that of a gap."""
        event = self.stream.next_event(timeout)
        assert event.type == STREAM_RESET, event
        told: dict[str, Any] = json.loads(event.data)
        assert told["to"] == event.last_event_id
        return told

    def heartbeats(self) -> None:
        """Wait until the stream has shown twice that it lives."""
        body = self.stream.reading.body
        before = len(body)
        self.stream._until(lambda: body.find(HEARTBEATS, before - 1) >= 0, PATIENT_SECONDS, "two heartbeats")


class Line:
    """An application with a hub of its own.

    Args:
        url: The broker, as the application reaches it.
        channel: What all pages listen to.
        settings: Of the application.
    """

    def __init__(self, url: str, channel: str, **settings: Any) -> None:
        config = {"SSE_HUB": "thread", "SSE_HEARTBEAT_SECONDS": 0.2, **settings}
        self.channel = channel
        self.server = serve(SSE_BROKER_URL=url, **config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__()

    def publish(self, first: int, last: int | None = None) -> None:
        """Publish a number, or all from ``first`` to ``last``."""
        for number in range(first, (first if last is None else last) + 1):
            self.server.publish(number, channel=self.channel)

    def publish_when_possible(self, number: int, key: str | None = None) -> None:
        """Publish a number as soon as the broker takes it."""

        def taken() -> bool:
            try:
                self.server.publish(number, channel=self.channel, key=key)
            except BrokerUnavailableError:
                return False
            return True

        wait_until(taken, what="the broker to take an event")

    def listen(self, last_event_id: str = "") -> Listener:
        """Open a page; a fresh one where it comes back with nothing."""
        return Listener(self.server, self.channel, last_event_id)

    def is_away(self) -> bool:
        """Whether the hub knows that the broker is away."""
        return bool(self.server.status()["broker_away"])

    def wait_away(self, seconds: float = PATIENT_SECONDS) -> None:
        """Return as soon as the hub has noticed that the broker is away."""
        wait_until(self.is_away, seconds, "the hub to notice")

    def wait_back(self, seconds: float = PATIENT_SECONDS) -> None:
        """Return as soon as the hub is connected again."""
        wait_until(lambda: not self.is_away(), seconds, "the hub to be back")
