"""What becomes of a page that reads too slowly: ended, brought to the last value, or told to begin anew."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.client import StreamReader, request_bytes
from tests.support.local import LocalServer, serve
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until

from flask_sse import InvalidMessageError, sse

PIECE = "x" * 10_000
PRICES = 2000


@contextmanager
def served(
    broker: str, channel: str, request: pytest.FixtureRequest, **config: object
) -> Iterator[LocalServer]:
    url = f"memory://{channel}" if broker == "memory" else request.getfixturevalue("valkey").url
    with serve(SSE_BROKER_URL=url, SSE_HUB="thread", SSE_MAX_BACKLOG_BYTES=300_000, **config) as server:
        yield server


@contextmanager
def slow_page(server: LocalServer, channel: str) -> Iterator[StreamReader]:
    """A page whose socket takes little and that reads nothing until it is asked."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.settimeout(PATIENT_SECONDS)
        sock.sendall(request_bytes(f"/stream?channel={channel}"))
        with StreamReader(sock) as page:
            page.wait_opened()
            yield page


@pytest.mark.parametrize("broker", ["memory", "valkey"])
def test_a_page_that_is_behind_gets_the_last_value_of_each_key(
    broker: str, channel: str, request: pytest.FixtureRequest
) -> None:
    with (
        served(broker, channel, request) as server,
        slow_page(server, channel) as slow,
        server.stream(f"/stream?channel={channel}") as quick,
    ):
        quick.wait_opened()
        for number in range(PRICES):
            key = f"price:{'AB'[number % 2]}"
            server.publish(f"{number} {PIECE}", channel=channel, collapse=key)
            assert quick.next_event().data.startswith(f"{number} ")
        server.publish("end", channel=channel)
        assert quick.next_event().data == "end"

        seen: list[str] = []
        while not seen or seen[-1] != "end":
            seen.append(slow.next_event().data.split()[0])
        assert seen[-3:] == [str(PRICES - 2), str(PRICES - 1), "end"]
        assert len(seen) < PRICES / 2
        assert [int(number) for number in seen[:-1]] == sorted(int(number) for number in seen[:-1])
        assert server.status()["ended_slow"] == 0
        position = quick.reading.decoder.last_event_id
        assert slow.reading.decoder.last_event_id == position


@pytest.mark.parametrize("broker", ["memory", "valkey"])
def test_a_page_that_may_skip_is_told_and_goes_on(
    broker: str, channel: str, request: pytest.FixtureRequest
) -> None:
    rules = {"channel-*": "skip"}
    with (
        served(broker, channel, request, SSE_SLOW_RULES=rules) as server,
        slow_page(server, channel) as slow,
        server.stream(f"/stream?channel={channel}") as quick,
    ):
        quick.wait_opened()
        positions: list[str] = []
        while server.status()["resets"] == 0:
            server.publish(f"{len(positions) + 1} {PIECE}", channel=channel)
            positions.append(quick.next_event().last_event_id)
        numbers, event = [], slow.next_event()
        while event.type == "message":
            numbers.append(int(event.data.split()[0]))
            event = slow.next_event()
        assert numbers == list(range(1, len(numbers) + 1))
        assert event.type == "stream-reset"
        told = json.loads(event.data)
        assert (told["channel"], told["reason"]) == (channel, "it was read too slowly")
        server.publish("goes on", channel=channel)
        for number in range(positions.index(told["to"]) + 2, len(positions) + 1):
            assert slow.next_event().data.startswith(f"{number} ")
        assert slow.next_event().data == "goes on"
        assert server.status()["ended_slow"] == 0
        assert server.status()["streams"] == 2


def test_a_page_of_several_channels_skips_where_all_may(channel: str, request: pytest.FixtureRequest) -> None:
    rules = {f"{channel}-skips": "skip"}
    with (
        served("memory", channel, request, SSE_SLOW_RULES=rules, SSE_MAX_CHANNELS_PER_STREAM=2) as server,
        slow_page(server, f"{channel}-skips&channel={channel}-ends"),
    ):

        def ended() -> bool:
            server.publish(PIECE * 5, channel=f"{channel}-skips")
            return bool(server.status()["ended_slow"])

        wait_until(ended, what="its end")


def test_without_a_history_nobody_could_be_told_so_the_page_is_ended(
    channel: str, request: pytest.FixtureRequest
) -> None:
    settings = {"SSE_SLOW_RULES": {"*": "skip"}, "SSE_HISTORY_SIZE": 0}
    with served("memory", channel, request, **settings) as server, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(request_bytes(f"/stream?channel={channel}"))
        wait_until(lambda: server.status()["opened"] == 1, what="the stream")

        def ended() -> bool:
            server.publish(PIECE * 5, channel=channel)
            return bool(server.status()["ended_slow"])

        wait_until(ended, what="its end")


@pytest.mark.parametrize("key", ["", 7, "x" * 201, "\ud800"])
def test_a_collapse_key_is_a_short_text(channel: str, request: pytest.FixtureRequest, key: object) -> None:
    with served("memory", channel, request) as server, pytest.raises(InvalidMessageError, match="collapse"):
        server.publish("x", channel=channel, collapse=key)


def test_python_and_1_0_read_the_event_as_it_is(channel: str, request: pytest.FixtureRequest) -> None:
    valkey = request.getfixturevalue("valkey").client()
    with served("valkey", channel, request) as server, valkey.pubsub() as old, server.app.app_context():
        old.subscribe(channel)
        messages = sse.messages(channel)
        server.publish({"a": 1}, type="t", channel=channel, collapse='price "\u00fc" %')
        assert next(messages).to_dict() == {"data": {"a": 1}, "type": "t"}
        carried = next(each["data"] for each in old.listen() if each["type"] == "message")
        assert json.loads(carried) == {"data": {"a": 1}, "type": "t"}
        messages.close()  # type: ignore[attr-defined] # it is a generator, as in 1.0
