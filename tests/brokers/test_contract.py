"""What every broker does, each through its real publisher, its real feed and a hub process."""

from __future__ import annotations

import contextlib
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

import pytest
from tests.support.brokers import Broker, start_redis, start_valkey
from tests.support.client import StreamClient
from tests.support.local import LocalServer, serve
from tests.support.processes import Process, wait_until

from flask_sse import Publisher
from flask_sse.testing import capture
from flask_sse.wire.decode import Event

# What stands in for the broker in tests of applications, whatever this says.
STAND_IN = "redis://127.0.0.1:1"
BROKERS: dict[str, Callable[[], Broker] | None] = {
    "memory": None,
    "stand-in": None,
    "valkey": start_valkey,
    "valkey-password": partial(start_valkey, password="of-valkey"),
    "valkey-unix": partial(start_valkey, unix=True),
    "redis": start_redis,
    "redis-password": partial(start_redis, password="of-redis"),
    "redis-unix-password": partial(start_redis, password="of-the-socket", unix=True),
    "redis-tls-password": partial(start_redis, password="of-tls", tls=True),
}

UNICODE = "grüße \N{TEST TUBE} \u2028\u2029\x85\x0b\x1c \N{BYTE ORDER MARK}end\x00"
LARGE = "".join(f"{number:07d} äöü\n" for number in range(10_000))

# Parent and child publish at the same time, with the publisher that the parent used before the fork.
FORK = """
import os, sys
from flask_sse import Publisher

publisher = Publisher(os.environ["BROKER_URL"])
channel = os.environ["CHANNEL"]
publisher.publish("parent 0", channel=channel)
child = os.fork()
for number in range(1, 40):
    publisher.publish(f"{'parent' if child else 'child'} {number}", channel=channel)
publisher.close()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class Line(NamedTuple):
    """From a publisher to the streams of a server."""

    url: str
    publisher: Publisher
    server: LocalServer

    def listen(self, *channels: str) -> StreamClient:
        stream = self.server.stream("/stream?" + "&".join(f"channel={name}" for name in channels))
        stream.wait_opened()
        return stream


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.server if start else ()) for name, start in BROKERS.items()],
)
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    start = BROKERS[request.param]
    with ExitStack() as stack:
        url = stack.enter_context(start()).url if start else f"memory://contract-{uuid.uuid4().hex}"
        if request.param == "stand-in":
            url = STAND_IN
            stack.enter_context(capture())
        publisher = stack.enter_context(contextlib.closing(Publisher(url)))
        yield Line(
            url, publisher, stack.enter_context(serve(SSE_BROKER_URL=url, SSE_MAX_CHANNELS_PER_STREAM=10))
        )


def test_events_arrive_in_the_order_in_which_they_were_published(line: Line, channel: str) -> None:
    with line.listen(channel) as stream:
        for number in range(300):
            assert line.publisher.publish(str(number), channel=channel) == 1
        assert [event.data for event in stream.events(300)] == [str(number) for number in range(300)]


def test_type_id_and_retry_arrive_with_the_data(line: Line, channel: str) -> None:
    with line.listen(channel) as stream:
        line.publisher.publish("with all", type="kind", id="seven", retry=1234, channel=channel)
        line.publisher.publish({"a": [1, None, "ü"]}, id=0, channel=channel)
        assert stream.events(2) == [
            Event("kind", "with all", "seven"),
            Event("message", '{"a": [1, null, "\\u00fc"]}', "0"),
        ]
        assert stream.reading.decoder.retry_ms == 1234


TEXTS = {
    "unicode": UNICODE,
    "200 KB": LARGE,
    "nothing": "",
    "a line feed": "\n",
    "empty lines": "a\n\nb\n",
    "a leading space": " a",
    "what looks like a field": "id: 1\n:comment",
}


@pytest.mark.parametrize("data", TEXTS.values(), ids=TEXTS.keys())
def test_text_arrives_as_it_was_published(line: Line, channel: str, data: str) -> None:
    with line.listen(channel) as stream:
        line.publisher.publish(data, channel=channel)
        line.publisher.publish("the end", channel=channel)
        assert [event.data for event in stream.events(2)] == [data, "the end"]


def test_every_stream_hears_its_channels_and_no_other(line: Line, channel: str) -> None:
    names = [f"{channel}-{number}" for number in range(30)]
    with ExitStack() as stack:
        streams = {name: stack.enter_context(line.listen(name)) for name in names}
        several = stack.enter_context(line.listen(*names[:5]))
        for name in names:
            line.publisher.publish(f"only {name}", channel=name)
            line.publisher.publish("the end", channel=name)
        for name, stream in streams.items():
            assert [event.data for event in stream.events(2)] == [f"only {name}", "the end"]
        heard = [event.data for event in several.events(10)]
        assert heard == [data for name in names[:5] for data in (f"only {name}", "the end")]


def test_a_channel_may_have_any_name(line: Line, channel: str) -> None:
    for name in (f"{channel} ü \N{TEST TUBE}", f"{channel}*?[x]", f"{channel}:{{tag}}"):
        with line.server.stream(f"/stream?channel={quote(name)}") as stream:
            stream.wait_opened()
            assert line.publisher.publish("hello", channel=name) == 1
            assert stream.next_event().data == "hello"


def test_all_streams_of_a_channel_hear_the_same(line: Line, channel: str) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(line.listen(channel)) for _ in range(20)]
        for number in range(10):
            line.publisher.publish(str(number), channel=channel)
        for stream in streams:
            assert [event.data for event in stream.events(10)] == [str(number) for number in range(10)]


def test_two_publishers_in_threads_lose_nothing_and_keep_each_its_order(line: Line, channel: str) -> None:
    failures: list[Exception] = []

    def publish(name: str) -> None:
        try:
            with contextlib.closing(Publisher(line.url)) as publisher:
                for number in range(100):
                    publisher.publish(f"{name} {number}", channel=channel)
        except Exception as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    with line.listen(channel) as stream:
        threads = [threading.Thread(target=publish, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        heard = [event.data for event in stream.events(200)]
        for thread in threads:
            thread.join()
    assert not failures
    for name in ("one", "two"):
        mine = [data for data in heard if data.startswith(name)]
        assert mine == [f"{name} {number}" for number in range(100)]


def test_a_publisher_goes_on_in_a_forked_process(line: Line, channel: str) -> None:
    if line.url == STAND_IN:
        pytest.skip("it is of this process alone")
    env = {"BROKER_URL": line.url, "CHANNEL": channel}
    with line.listen(channel) as stream, Process([sys.executable, "-c", FORK], env) as process:
        heard = [event.data for event in stream.events(79)]
        assert process.wait() == 0, process.output()
    assert [data for data in heard if data.startswith("parent")] == [f"parent {n}" for n in range(40)]
    assert [data for data in heard if data.startswith("child")] == [f"child {n}" for n in range(1, 40)]


def test_a_channel_that_nobody_listens_to_costs_nothing(line: Line, channel: str) -> None:
    wait_until(lambda: line.server.status()["channels"] == 0, what="the streams of other tests to be gone")
    before = line.server.status()
    for _ in range(20):
        assert line.publisher.publish("anyone?", channel=channel) == 0
    after = line.server.status()
    assert (after["events"], after["channels"]) == (before["events"], before["channels"])


def test_a_stream_that_has_left_gets_nothing_and_is_forgotten(line: Line, channel: str) -> None:
    with line.listen(channel) as stays:
        with line.listen(channel) as leaves:
            line.publisher.publish("both", channel=channel)
            assert leaves.next_event().data == "both"
        wait_until(lambda: line.server.status()["streams"] == 1, what="the hub to notice")
        line.publisher.publish("one", channel=channel)
        assert [event.data for event in stays.events(2)] == ["both", "one"]
        assert b"one" not in leaves.raw
