"""The broker's server fails: killed, restarted, emptied, paused, full. Faults 1-8 and 14-16."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.support.brokers import Broker, start_redis, start_valkey
from tests.support.processes import suspended, wait_until
from tests.support.promises import promised

from flask_sse import BrokerUnavailableError
from flask_sse.hub.core.sequencer import NEW_EPOCH, NOT_KEPT

from .line import Line, let_its_clock_go_on

PUBLISH_SECONDS = 2.2  # promised: 2

pytestmark = pytest.mark.usefixtures("quick")


def test_1_server_killed_and_started_empty(start: Callable[..., Broker], channel: str) -> None:
    with start() as broker, Line(broker.url, channel) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        broker.kill()
        line.wait_away()
        page.heartbeats()
        broker.restart()
        told = page.reset()
        assert told["reason"] == NEW_EPOCH
        assert told["channel"] == channel
        line.publish(2, 3)
        assert page.numbers(2) == [2, 3]


def test_2_server_killed_keeps_what_it_wrote_to_the_disk(start: Callable[..., Broker], channel: str) -> None:
    with (
        start(persistent="always") as broker,
        Line(broker.url, channel) as line,
        line.listen() as page,
        line.listen() as leaves,
    ):
        line.publish(1, 3)
        assert page.numbers(3) == leaves.numbers(3) == [1, 2, 3]
        leaves.stream.close()
        line.publish(4, 5)
        assert page.numbers(2) == [4, 5]
        broker.kill()
        line.wait_away()
        broker.restart()
        line.publish_when_possible(6)
        assert page.numbers(1) == [6]
        with line.listen(leaves.last_event_id) as back:
            assert back.numbers(3) == [4, 5, 6]


def test_2_server_killed_lost_what_was_not_yet_on_the_disk(
    start: Callable[..., Broker], channel: str
) -> None:
    with start(persistent="always") as broker, Line(broker.url, channel) as line, line.listen() as page:
        line.publish(1, 2)
        assert page.numbers(2) == [1, 2]
        size = broker.log.stat().st_size
        kept = page.last_event_id
        line.publish(3, 4)
        assert page.numbers(2) == [3, 4]
        broker.kill()
        line.wait_away()
        os.truncate(broker.log, size)
        broker.restart()
        assert page.reset()["reason"] == NOT_KEPT
        line.publish(5)
        assert page.numbers(1) == [5]
        with line.listen(kept) as back:
            assert back.numbers(1) == [5]


def test_3_server_shut_down_and_started_again(start: Callable[..., Broker], channel: str) -> None:
    with start(persistent="always") as broker, Line(broker.url, channel) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        broker.client().shutdown()
        line.wait_away()
        broker.restart()
        line.publish_when_possible(2)
        line.publish(3)
        assert page.numbers(2) == [2, 3]


def test_4_all_data_removed_while_events_come(start: Callable[..., Broker], channel: str) -> None:
    with start() as broker, Line(broker.url, channel) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        broker.client().flushall()
        line.publish(2)
        assert page.reset()["reason"] == NEW_EPOCH
        line.publish(3)
        assert page.numbers(1) == [3]


def test_4_all_data_removed_while_nothing_comes(start: Callable[..., Broker], channel: str) -> None:
    with start() as broker, Line(broker.url, channel) as line, line.listen() as page:
        broker.client().flushall()
        assert page.reset()["reason"] == NEW_EPOCH
        line.publish(1)
        assert page.numbers(1) == [1]


def test_6_listening_connections_killed_again_and_again(start: Callable[..., Broker], channel: str) -> None:
    with start() as broker, Line(broker.url, channel) as line, line.listen() as page, line.listen() as other:
        with repeated(lambda: broker.client().client_kill_filter(_type="pubsub"), 0.15):
            for number in range(1, 401):
                line.publish(number)
                threading.Event().wait(0.005)
        assert page.numbers(400) == other.numbers(400) == list(range(1, 401))


@contextmanager
def repeated(action: Callable[[], object], seconds: float) -> Iterator[None]:
    """Do something again and again beside what the block does."""
    enough = threading.Event()

    def repeat() -> None:
        while not enough.wait(seconds):
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_7_publishing_connections_killed_in_mid_publish(start: Callable[..., Broker], channel: str) -> None:
    with start() as broker, Line(broker.url, channel) as line, line.listen() as page:
        with repeated(lambda: broker.client().client_kill_filter(_type="normal", skipme=True), 0.003):
            for number in range(1, 301):
                line.publish_when_possible(number, key=f"number-{number}")
        assert page.numbers(300) == list(range(1, 301))


@pytest.mark.parametrize("mode", ["ALL", "WRITE"])
def test_8_server_pauses_its_clients(start: Callable[..., Broker], channel: str, mode: str) -> None:
    with start() as broker, Line(broker.url, channel) as line, line.listen() as page:
        line.publish(1)
        broker.client().client_pause(6000, all=mode == "ALL")
        with promised(PUBLISH_SECONDS), pytest.raises(BrokerUnavailableError):
            line.publish(2)
        line.publish_when_possible(3)
        heard = page.numbers(2)
        # The second may have happened: its answer alone was late.
        assert heard == [1, 3] or [*heard, *page.numbers(1)] == [1, 2, 3]


def test_14_server_without_memory_refuses_and_goes_on(start: Callable[..., Broker], channel: str) -> None:
    with start() as broker, Line(broker.url, channel) as line, line.listen() as page:
        line.publish(1)
        broker.client().config_set("maxmemory-policy", "noeviction")
        broker.client().config_set("maxmemory", "1")
        with pytest.raises(BrokerUnavailableError, match="OOM"):
            line.publish(2)
        broker.client().config_set("maxmemory", "0")
        line.publish(3)
        assert page.numbers(2) == [1, 3]


@pytest.mark.parametrize("kind", ["s", "m"])
def test_14_server_evicts_a_part_of_the_history(
    start: Callable[..., Broker], channel: str, kind: str
) -> None:
    """What an eviction does, done by hand: which key goes is up to the server."""
    with start() as broker, Line(broker.url, channel) as line:
        line.publish(1)
        with line.listen() as page:
            line.publish(2)
            assert page.numbers(1) == [2]
            before = page.last_event_id
        line.publish(3)
        assert broker.client().delete(f"flask-sse:{{{channel}}}:{kind}") == 1
        let_its_clock_go_on(broker)
        line.publish(4)
        with line.listen(before) as back:
            assert back.reset()["reason"] == {"s": NOT_KEPT, "m": NEW_EPOCH}[kind]


def test_15_server_forgot_the_scripts(start: Callable[..., Broker], channel: str) -> None:
    with start() as broker, Line(broker.url, channel) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        before = page.last_event_id
        broker.client().script_flush()
        line.publish(2)
        assert page.numbers(1) == [2]
        broker.client().script_flush()
        with line.listen(before) as back:
            assert back.numbers(1) == [2]


def test_16_server_cuts_a_hub_that_does_not_read(channel: str, runtime_directory: str) -> None:
    """The hub is a process here, for it is stopped; and Redis, for Valkey counts little of what waits."""
    limits = {"client-output-buffer-limit": "pubsub 1mb 1mb 60"}
    with (
        start_redis(unix=True, config=limits) as broker,
        Line(broker.url, channel, SSE_HUB="auto", SSE_MAX_BACKLOG_BYTES=10_000_000) as line,
        line.listen() as page,
    ):
        large = "x" * 100_000
        with suspended(line.server.status()["pid"]):
            for number in range(1, 61):
                line.server.publish(f"{number} {large}", channel=channel)
            wait_until(
                lambda: not broker.client().client_list(_type="pubsub"), what="the server to cut the hub"
            )
        events = page.stream.events(60)
        assert [event.data.split()[0] for event in events] == [str(number) for number in range(1, 61)]


def test_a_paused_hub_that_wakes_is_where_it_was(channel: str, runtime_directory: str) -> None:
    with (
        start_valkey() as broker,
        Line(broker.url, channel, SSE_HUB="auto") as line,
        line.listen() as page,
    ):
        with suspended(line.server.status()["pid"]), contextlib.suppress(BrokerUnavailableError):
            line.publish(1, 3)
        line.publish(4)
        assert page.numbers(4) == [1, 2, 3, 4]
