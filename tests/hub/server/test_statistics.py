"""What a hub tells of itself in detail."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.local import LocalServer, make_app
from tests.support.processes import wait_until

from flask_sse import sse


@pytest.fixture
def server() -> Any:
    """An application with its hub in a thread."""
    app = make_app(
        SSE_BROKER_URL="memory://statistics",
        SSE_HUB="thread",
        SSE_MAX_BACKLOG_BYTES=50_000_000,
        SSE_MAX_CHANNELS_PER_STREAM=5,
    )
    with LocalServer(app) as server:
        yield server


def details(server: LocalServer) -> dict[str, Any]:
    with server.app.app_context():
        return sse.status(details=True)


def test_it_knows_the_busiest_channels_and_how_much_happens(server: LocalServer) -> None:
    with (
        server.stream("/stream?channel=a&channel=b") as both,
        server.stream("/stream?channel=a") as one,
    ):
        both.wait_opened()
        one.wait_opened()
        for _ in range(3):
            server.publish("x", channel="a")
        last = server.publish("x", channel="b")
        wait_until(lambda: details(server)["deliveries"] == 7, what="all events")
        told = details(server)
        assert [(each["channel"], each["streams"], each["events"]) for each in told["busiest"]] == [
            ("a", 2, 3),
            ("b", 1, 1),
        ]
        assert told["busiest"][1]["last_event_id"] == last.id
        wait_until(lambda: details(server)["events_per_second"] > 0, what="a rate")
        told = details(server)
        assert told["deliveries_per_second"] == pytest.approx(told["events_per_second"] * 7 / 4)
        assert told["backlog_bytes"] == 0
        assert told["slowest"] == []


def test_it_knows_who_is_slow(server: LocalServer) -> None:
    with server.stream("/stream") as slow:
        slow.wait_opened()
        for _ in range(40):
            server.publish("x" * 250_000)
        (client,) = wait_until(lambda: details(server)["slowest"], what="a slow client")
        told = details(server)
        assert client["channels"] == ["sse"]
        assert client["max_backlog_bytes"] == 50_000_000
        assert 0 < client["backlog_bytes"] <= told["backlog_bytes"]
    wait_until(lambda: details(server)["slowest"] == [], what="the client to be gone")


def test_what_it_tells_is_bounded(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_sse.hub.server.statistics.MOST_CHANNELS", 3)
    names = "&".join(f"channel={number}" for number in range(5))
    with server.stream(f"/stream?{names}") as stream:
        stream.wait_opened()
        assert len(details(server)["busiest"]) == 3
