"""The way to the broker fails: silence, the wrong node, a slow line. Faults 9-13 and 39."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import pytest
from tests.support.brokers import Broker, start_replica
from tests.support.patience import Stopwatch
from tests.support.processes import wait_until
from tests.support.proxy import Proxy

from flask_sse import BrokerUnavailableError, Publisher
from flask_sse.hub.core.sequencer import NOT_KEPT

from .line import PROBE_SECONDS, Line

# Twice the time of a probe is promised.
NOTICED_SECONDS = 2 * PROBE_SECONDS + 1.5

pytestmark = pytest.mark.usefixtures("quick")


def through(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


def listens(asked: bytes) -> bool:
    """Whether these are the first bytes of a connection on which a hub listens."""
    return b"SUBSCRIBE" in asked


def test_9_nothing_passes_between_hub_and_server(start: Callable[..., Broker], channel: str) -> None:
    with (
        start() as broker,
        Proxy(broker.port) as proxy,
        Line(through(proxy), channel) as line,
        line.listen() as page,
        Line(broker.url, channel) as elsewhere,
    ):
        line.publish(1)
        assert page.numbers(1) == [1]
        proxy.black_hole()
        with Stopwatch() as watch:
            line.wait_away()
        assert watch.seconds < NOTICED_SECONDS
        with pytest.raises(BrokerUnavailableError):
            line.publish(0)
        elsewhere.publish(2, 3)
        page.heartbeats()
        # The packets of before are gone for good.
        proxy.reset()
        proxy.restore()
        elsewhere.publish(4)
        assert page.numbers(3) == [2, 3, 4]


def test_10_silence_on_the_listening_connection_alone(start: Callable[..., Broker], channel: str) -> None:
    with (
        start() as broker,
        Proxy(broker.port) as proxy,
        Line(through(proxy), channel) as line,
        line.listen() as page,
    ):
        line.publish(1)
        assert page.numbers(1) == [1]
        assert proxy.black_hole_connections(listens)
        with Stopwatch() as watch:
            line.publish(2, 5)
            assert page.numbers(4) == [2, 3, 4, 5]
        assert watch.seconds < NOTICED_SECONDS + 1


def test_10_hub_that_is_late_catches_up_before_its_pages_go_on(
    start: Callable[..., Broker], channel: str
) -> None:
    """What was published in the silence comes before what is published behind it."""
    with (
        start() as broker,
        Proxy(broker.port) as proxy,
        Line(through(proxy), channel) as line,
        line.listen() as page,
    ):
        proxy.black_hole_connections(listens)
        for number in range(1, 201):
            line.publish(number)
            time.sleep(0.01)
        assert page.numbers(200) == list(range(1, 201))


def test_11_hub_hangs_on_a_node_that_is_out_of_office(start: Callable[..., Broker], channel: str) -> None:
    """All connections stay; whoever connects anew comes to the new primary, and nobody tells the hub."""
    with (
        start() as old,
        start_replica(old) as new,
        Proxy(old.port) as proxy,
        Line(through(proxy), channel) as line,
        line.listen() as page,
    ):
        line.publish(1)
        assert page.numbers(1) == [1]
        wait_until(lambda: new.client().exists(f"flask-sse:{{{channel}}}:s"), what="the replica")
        new.client().replicaof("NO", "ONE")
        proxy.lead_to(new.port)
        with closing(Publisher(through(proxy))) as publisher:
            with Stopwatch() as watch:
                publisher.publish(2, channel=channel)
                assert page.numbers(1) == [2]
            assert watch.seconds < NOTICED_SECONDS + 1
            assert old.process.alive
            publisher.publish(3, channel=channel)
            assert page.numbers(1) == [3]


def test_12_new_primary_lacks_the_last_events(start: Callable[..., Broker], channel: str) -> None:
    with (
        start() as primary,
        Proxy(primary.port) as replication,
        start_replica(primary, port=replication.port) as replica,
        Proxy(primary.port) as to_primary,
        Line(through(to_primary), channel) as line,
        line.listen() as page,
    ):
        line.publish(1, 2)
        assert page.numbers(2) == [1, 2]
        wait_until(lambda: replica.client().xlen(f"flask-sse:{{{channel}}}:s") == 2, what="the replica")
        replication.black_hole()
        line.publish(3, 4)
        assert page.numbers(2) == [3, 4]
        behind = page.last_event_id
        replica.client().replicaof("NO", "ONE")
        primary.kill()
        to_primary.lead_to(replica.port)
        told = page.reset()
        assert told["reason"] == NOT_KEPT
        assert told["from"] == behind
        line.publish_when_possible(5)
        assert page.numbers(1) == [5]
        with line.listen(behind) as back:
            assert back.reset()["reason"] == NOT_KEPT


def test_13_slow_line(start: Callable[..., Broker], channel: str) -> None:
    with (
        start() as broker,
        Proxy(broker.port) as proxy,
        Line(through(proxy), channel) as line,
        line.listen() as page,
    ):
        proxy.latency(0.1, jitter=0.05)
        line.publish(1, 10)
        assert page.numbers(10) == list(range(1, 11))
        proxy.restore()
        proxy.slicer()
        line.publish(11, 20)
        assert page.numbers(10) == list(range(11, 21))
        assert not line.is_away()


def test_39_answer_that_is_lost_doubles_nothing(start: Callable[..., Broker], channel: str) -> None:
    with (
        start() as broker,
        Proxy(broker.port) as proxy,
        Line(broker.url, channel) as line,
        line.listen() as page,
        closing(Publisher(through(proxy))) as publisher,
    ):
        assert publisher.publish(0, channel=channel) == 1
        proxy.limit_data(0, "downstream")
        with pytest.raises(BrokerUnavailableError):
            publisher.publish(1, channel=channel, key="once")
        again = publisher.publish(1, channel=channel, key="once")
        publisher.publish(2, channel=channel)
        assert page.numbers(3) == [0, 1, 2]
        assert again == 1
        assert again.id is not None
