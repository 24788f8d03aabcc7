"""A short run in this process, and the same with mistakes planted, which the checker must find."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from tests.support.brokers import Broker, start_valkey
from tests.support.local import LocalServer, serve

from flask_sse.brokers.base import Page, Publication, Receipt
from flask_sse.brokers.redis import history
from flask_sse.brokers.redis.publisher import RedisPublisher
from flask_sse.brokers.redis.reader import RedisReader
from flask_sse.hub.core.catch_up import CatchUp
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.resume import Resume
from flask_sse.hub.core.sequencer import Sequencer
from flask_sse.wire.cursor import Stamp

from .chaos import Chaos
from .line import shorten_waits
from .report import Behind, Loss, Report

CLIENTS = 12
SECONDS = 4.0
SETTLE_SECONDS = 6.0
NO_CHECK_SECONDS = 1000.0
LATE_SECONDS = 0.05  # some ten events

pytestmark = pytest.mark.long


@pytest.fixture
def broker() -> Iterator[Broker]:
    with start_valkey() as broker:
        yield broker


@pytest.fixture
def servers(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[LocalServer]]:
    """Two applications with a hub each, which begin only when a test has planted its mistake."""
    shorten_waits(monkeypatch)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                serve(
                    SSE_BROKER_URL=broker.url,
                    SSE_HUB="thread",
                    SSE_HEARTBEAT_SECONDS=5,
                    SSE_MAX_CHANNELS_PER_STREAM=2,
                )
            )
            for _ in range(2)
        ]


def run(broker: Broker, servers: list[LocalServer]) -> Report:
    """Let things happen for a while, lose the last events on their way, and return what the checker says."""
    urls = [f"http://127.0.0.1:{server.port}" for server in servers]
    with Chaos(broker, urls, ["a", "b"], clients=CLIENTS, publish_seconds=0.005) as chaos:
        chaos.run(SECONDS, pause_seconds=0.05)
        chaos.publish_one_more()
        report = chaos.settle(SETTLE_SECONDS)
        if not report.violations:
            chaos.actions["listening connections killed"][1]()
            chaos.publish_one_more()
            report = chaos.settle(SETTLE_SECONDS)
    assert report.events > 1000
    assert report.reconnects > 5
    return report


def test_nothing_is_lost_in_silence_and_nothing_comes_twice(
    broker: Broker, servers: list[LocalServer]
) -> None:
    report = run(broker, servers)
    assert not report.violations, report


# -- the checker finds what is wrong ---------------------------------------------------------------


def read_before_subscribe(patch: pytest.MonkeyPatch) -> None:
    """R1: what is delivered between the read of a client's history and its place among the others is lost."""

    def is_current(catch_up: CatchUp[Any], subscriber: Any, resume: Resume, channel: Any, now: float) -> bool:
        if channel.name in resume.positions or resume.since[channel.name] == str(channel.position):
            return True
        catch_up._read_for(subscriber, resume, channel, resume.since[channel.name])
        return False

    read = RedisReader._read

    async def read_late(reader: RedisReader, batch: list[Any]) -> list[Any]:
        answers = await read(reader, batch)
        await asyncio.sleep(LATE_SECONDS)
        return answers

    patch.setattr(CatchUp, "_is_current", is_current)
    patch.setattr(RedisReader, "_read", read_late)


def follows_whatever_comes(sequencer: Sequencer, stamp: Stamp) -> bool:
    return sequencer.position is not None and stamp.epoch == sequencer.position.epoch


def two_commands(patch: pytest.MonkeyPatch) -> None:
    """R3: another publisher comes between the two, and the hub believes the order in which they come."""
    text = history.script("append")
    publishes = "redis.call('PUBLISH', channel, envelope) .. name"
    assert publishes in text
    appends = text.replace(publishes, "'0' .. name .. '|' .. envelope")

    def submit_batch(publisher: RedisPublisher, publications: list[Publication]) -> Iterator[Receipt]:
        client: redis.Redis = publisher._client
        answers: Any = client.register_script(appends)(*history.append_args(publications))
        receipts = []
        for publication, answer in zip(publications, answers, strict=True):
            receipt, envelope = answer.split(b"|", 1)
            time.sleep(0.002)
            client.publish(publication.channel, envelope)
            receipts.append(receipt)
        return map(history.receipt, receipts)

    patch.setattr(RedisPublisher, "_submit_batch", submit_batch)
    patch.setattr(Sequencer, "_follows", follows_whatever_comes)


def ignored_resubscribe(patch: pytest.MonkeyPatch) -> None:
    """R6: what came while the connection was away is missing, and nothing looks for the last of it (R5)."""
    subscribed = Core.subscribed

    def once(core: Core[Any], name: str) -> None:
        channel = core.channels.get(name)
        if channel is not None and channel.sequencer is not None and channel.sequencer.position is not None:
            core.broker_away = False
            channel.confirmed = True
            core._catch_up.note_ready(channel)
        else:
            subscribed(core, name)

    patch.setattr(Core, "subscribed", once)
    shorten_waits(patch, check_seconds=NO_CHECK_SECONDS)


def no_link(patch: pytest.MonkeyPatch) -> None:
    """R4, R10: ids rise, so all looks well."""
    patch.setattr(Sequencer, "_follows", follows_whatever_comes)
    patch.setattr(Page, "is_proven", property(lambda page: page.since is not None))


MISTAKES: list[tuple[Callable[[pytest.MonkeyPatch], None], type]] = [
    (read_before_subscribe, Loss),
    (two_commands, Loss),
    (ignored_resubscribe, Behind),
    (no_link, Loss),
]


@pytest.mark.parametrize(("plant", "found"), MISTAKES, ids=[plant.__name__ for plant, _ in MISTAKES])
def test_the_checker_finds_a_planted_mistake(
    plant: Callable[[pytest.MonkeyPatch], None],
    found: type,
    broker: Broker,
    servers: list[LocalServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    report = run(broker, servers)
    assert any(isinstance(violation, found) for violation in report.violations), report
