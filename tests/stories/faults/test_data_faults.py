"""What is in the broker is not what we put there. Faults 5, 14, 17-19, 36 and 37."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis
from tests.support.brokers import Broker, start_redis
from tests.support.processes import running, wait_until

from flask_sse import BrokerUnavailableError
from flask_sse.hub.core.sequencer import NEW_EPOCH, NOT_KEPT

from .line import Line, let_its_clock_go_on

MEBIBYTE = 1024 * 1024

pytestmark = pytest.mark.usefixtures("quick")


def key(channel: str, kind: str) -> str:
    return f"flask-sse:{{{channel}}}:{kind}"


def test_5_stream_deleted(valkey: Broker, channel: str) -> None:
    """Who was there misses nothing; who was away is told."""
    with Line(valkey.url, channel) as line, line.listen() as page, line.listen() as leaves:
        line.publish(1)
        assert page.numbers(1) == leaves.numbers(1) == [1]
        leaves.stream.close()
        line.publish(2)
        valkey.client().delete(key(channel, "s"))
        let_its_clock_go_on(valkey)
        line.publish(3)
        assert page.numbers(2) == [2, 3]
        with line.listen(leaves.last_event_id) as back:
            assert back.reset()["reason"] == NOT_KEPT


def test_5_meta_deleted(valkey: Broker, channel: str) -> None:
    with Line(valkey.url, channel) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        valkey.client().delete(key(channel, "m"))
        line.publish(2)
        assert page.reset()["reason"] == NEW_EPOCH
        line.publish(3)
        assert page.numbers(1) == [3]


def test_5_all_of_it_deleted_while_nothing_comes(valkey: Broker, channel: str) -> None:
    with Line(valkey.url, channel) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        valkey.client().delete(key(channel, "s"), key(channel, "m"))
        assert page.reset()["reason"] == NEW_EPOCH


def test_14_least_used_keys_are_evicted_while_events_come(channel: str) -> None:
    """No event is lost in silence: a page sees the next one, or is told."""
    with (
        start_redis(config={"maxmemory-policy": "allkeys-lru"}) as broker,
        Line(broker.url, channel) as line,
        line.listen() as page,
    ):
        memory: Any = broker.client().info("memory")
        broker.client().config_set("maxmemory", memory["used_memory"] + 3 * MEBIBYTE)
        for number in range(1, 101):
            line.publish(number)
            broker.client().set(f"other-{number}", bytes(MEBIBYTE // 4))
        seen: list[int | None] = [0]
        while (seen[-1] or 0) <= 100:
            number += 1
            line.publish(number)
            with contextlib.suppress(TimeoutError):
                event = page.stream.next_event(timeout=0.5)
                seen.append(int(event.data) if event.type == "message" else None)
    for before, after in itertools.pairwise(seen):
        assert before is None or after is None or after == before + 1, seen


STAMP = '{"data": "%s %s", "data": %s}'
FOREIGN: dict[str, Callable[[str], bytes]] = {
    "no JSON": lambda position: b"hello",
    "binary": lambda position: bytes(range(256)),
    "another version": lambda position: b'{"version": 9, "event": {}}',
    "50 MB": lambda position: b'{"data": "' + b"x" * (50 * MEBIBYTE) + b'"}',
    "a stamp of another epoch": lambda position: (STAMP % ("zzzzzzzz.1-1", "0-0", '"forged"')).encode(),
    "a stamp far ahead": lambda position: (
        STAMP % (f"{position[:8]}.9007199254740991-0", "9007199254740990-0", '"forged"')
    ).encode(),
    "a stamp as far ahead as one can be": lambda position: (
        STAMP % (f"{position[:8]}.8640000000000000-0", "8639999999999999-0", '"forged"')
    ).encode(),
    "a stamp that was": lambda position: (STAMP % (f"{position[:8]}.1-0", "0-0", '"forged"')).encode(),
    "a stamp and no data": lambda position: b'{"data": "zzzzzzzz.1-1 0-0", "data": }',
    "a stamp without the id before": lambda position: b'{"data": "zzzzzzzz.1-1", "data": "forged"}',
    "a type with a line feed": lambda position: b'{"data": "x", "type": "a\\nid: 7"}',
    "a type of ours": lambda position: b'{"data": "x", "type": "stream-reset"}',
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
def test_17_foreign_message_injects_nothing(
    valkey: Broker, channel: str, foreign: Callable[[str], bytes]
) -> None:
    with Line(valkey.url, channel) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        before = len(page.stream.raw)
        position = page.last_event_id
        valkey.client().publish(channel, foreign(position))
        line.publish(2, 3)
        assert page.numbers(2) == [2, 3]
        assert b"forged" not in page.stream.raw[before:]
        with line.listen(position) as back:
            assert back.numbers(2) == [2, 3]


def test_17_forged_event_that_fits_is_taken_back(valkey: Broker, channel: str) -> None:
    """Who may publish on the server can forge; the history still decides what comes behind it."""
    with Line(valkey.url, channel) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        epoch, _, top = page.last_event_id.partition(".")
        forged = f"{int(top.partition('-')[0]) + 1_000_000}-0"
        valkey.client().publish(channel, STAMP % (f"{epoch}.{forged}", top, "666"))
        assert page.numbers(1) == [666]
        assert page.reset()["to"] == f"{epoch}.{top}"
        line.publish(2)
        assert page.numbers(1) == [2]


def test_18_foreign_entry_in_the_stream(valkey: Broker, channel: str) -> None:
    with Line(valkey.url, channel) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        before = page.last_event_id
        valkey.client().xadd(key(channel, "s"), {"anything": "else"})
        line.publish(2)
        assert page.numbers(1) == [2]
        with line.listen(before) as back:
            assert back.reset()["reason"] == NOT_KEPT
            line.publish(3)
            assert back.numbers(1) == page.numbers(1) == [3]


@pytest.mark.parametrize("kind", ["s", "m", "i"])
def test_19_wrong_type_at_our_key_is_an_error_of_that_channel_alone(
    valkey: Broker, channel: str, kind: str
) -> None:
    with Line(valkey.url, channel) as line, Line(valkey.url, f"{channel}-other") as good:
        line.publish(1)
        valkey.client().set(key(channel, kind), "what is this")
        with pytest.raises(BrokerUnavailableError, match="WRONGTYPE"):
            line.server.publish(2, id="own", channel=channel)
        with line.listen("own") as stuck, good.listen() as page:
            good.publish(1)
            assert page.numbers(1) == [1]
            valkey.client().delete(*(key(channel, each) for each in "smi"))
            line.publish_when_possible(3)
            assert stuck.reset()
            line.publish(4)
            # It may be told once more that the history began again, instead of that one.
            while stuck.stream.next_event().type != "message":
                line.publish(5)


@pytest.mark.parametrize("step_seconds", [3600, -3600])
def test_36_clock_of_the_server_steps(
    start: Callable[..., Broker], channel: str, step_seconds: float
) -> None:
    with (
        start(clock_offset_seconds=0) as broker,
        Line(broker.url, channel) as line,
        line.listen() as page,
        line.listen() as leaves,
    ):
        line.publish(1)
        assert page.numbers(1) == leaves.numbers(1) == [1]
        leaves.stream.close()
        broker.set_clock(step_seconds)
        line.publish(2, 4)
        assert page.numbers(3) == [2, 3, 4]
        with line.listen(leaves.last_event_id) as back:
            assert back.numbers(3) == [2, 3, 4]


def test_36_clock_stepped_back_and_the_stream_is_gone(start: Callable[..., Broker], channel: str) -> None:
    """Ids would come again; so the history begins anew."""
    with (
        start(clock_offset_seconds=0) as broker,
        Line(broker.url, channel) as line,
        line.listen() as page,
    ):
        line.publish(1)
        assert page.numbers(1) == [1]
        broker.set_clock(-3600)
        broker.client().delete(key(channel, "s"))
        line.publish(2)
        assert page.reset()["reason"] == NEW_EPOCH
        line.publish(3)
        assert page.numbers(1) == [3]


def test_37_history_that_is_shorter_than_the_absence(valkey: Broker, channel: str) -> None:
    with Line(valkey.url, channel, SSE_HISTORY_SIZE=10) as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        first = page.last_event_id
        line.publish(2)
        assert page.numbers(1) == [2]
        line.publish(3, 12)
        with line.listen(page.last_event_id) as back:
            assert back.numbers(10) == list(range(3, 13))
        with line.listen(first) as back:
            assert back.reset()["reason"] == NOT_KEPT


def test_37_client_that_reads_slowly_is_ended_and_told_when_it_is_back(valkey: Broker, channel: str) -> None:
    with Line(valkey.url, channel, SSE_HISTORY_SIZE=10, SSE_MAX_BACKLOG_BYTES=10_000) as line:
        with line.listen() as page:
            line.publish(0)
            assert page.numbers(1) == [0]
            sent = 0
            while line.server.status()["streams"]:
                sent += 1
                line.server.publish(f"{sent} {'x' * 50_000}", channel=channel)
            heard = []
            with contextlib.suppress(EOFError):
                while True:
                    heard.append(page.stream.next_event())
        numbers = [int(event.data.split()[0]) for event in heard]
        assert numbers == list(range(1, len(numbers) + 1))
        with line.listen(page.last_event_id) as back:
            if sent - len(numbers) > 10:
                assert back.reset()["reason"] == NOT_KEPT
            else:
                event = back.stream.next_event()
                assert int(event.data.split()[0]) == len(numbers) + 1


def test_27_hub_whose_feed_fails_ends_and_the_next_one_goes_on(
    valkey: Broker, channel: str, runtime_directory: str
) -> None:
    """The hub is a process here; what kills it must not be survived by half of it."""
    with Line(valkey.url, channel, SSE_HUB="auto") as line, line.listen() as page:
        line.publish(1)
        assert page.numbers(1) == [1]
        pid = line.server.status()["pid"]
        os.kill(pid, signal.SIGABRT)
        assert page.stream.wait_closed() in {"eof", "reset"}
        wait_until(lambda: not running(pid), what="its end")
        line.publish(2)
        with line.listen(page.last_event_id) as back:
            assert line.server.status()["pid"] != pid
            line.publish(3)
            assert back.numbers(2) == [2, 3]


def test_27_hub_thread_that_fails_is_followed_by_another(
    valkey: Broker, channel: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Line(valkey.url, channel) as line:
        with line.listen() as page:
            line.publish(1)
            assert page.numbers(1) == [1]
            monkeypatch.setattr("flask_sse.hub.core.core.Core.deliver", fail)
            line.publish(2)
            assert page.stream.wait_closed() == "eof"
            monkeypatch.undo()
        with line.listen(page.last_event_id) as back:
            assert back.numbers(1) == [2]
    assert "a mistake of ours" in caplog.text


def fail(*_: object) -> None:
    raise RuntimeError("a mistake of ours")


def test_the_password_of_the_server_is_in_no_answer(channel: str) -> None:
    with (
        start_redis(password="of-the-server") as broker,
        Line(broker.url, channel) as line,
        line.listen() as page,
    ):
        redis.Redis.from_url(broker.url).set(key(channel, "m"), "x")
        with pytest.raises(BrokerUnavailableError) as caught:
            line.publish(1)
        assert "of-the-server" not in f"{caught.value} {page.stream.raw!r}"
