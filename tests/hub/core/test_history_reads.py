"""A client that comes back and reads slowly gets one page at a time, each when it has read the one before."""

from __future__ import annotations

import random
from collections import deque

from tests.support.model_broker import ModelBroker

from flask_sse.hub.core.actions import Continue, Read, Subscribe, Write
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.decode import Decoder

NOW = 1000.0


class SlowClient(Subscriber):
    """A stream that has a backlog from each write until it is drained."""

    def __init__(self, since: dict[str, str]) -> None:
        super().__init__(StreamRequest(tuple(since), FRAMES, StreamRules(), since))
        self.decoder = Decoder()
        self.pieces: list[list[str]] = []
        self.backlog = False

    def take(self, data: bytes) -> None:
        self.pieces.append([event.data for event in self.decoder.feed(data)])
        self.backlog = True


def carry_out(core: Core[SlowClient], broker: ModelBroker) -> int:
    """Do what the core orders; return how many pages it asked for."""
    pages = 0
    later: deque[Continue] = deque()
    while core.outbox or later:
        order = core.outbox.popleft() if core.outbox else later.popleft()
        if isinstance(order, Continue) and core.outbox:
            later.append(order)
            continue
        match order:
            case Subscribe(channel):
                core.subscribed(channel)
            case Read(number, channel, since):
                pages += since != ""
                core.page(number, broker.read(channel, since), NOW)
            case Write(client, data):
                client.take(data)
            case Continue(client):
                if not client.backlog:
                    core.continue_stream(client, NOW)
    return pages


def test_a_slow_client_gets_one_page_at_a_time() -> None:
    broker = ModelBroker(page_events=2)
    since = {name: str(broker.top(name)) for name in ("a", "b")}
    for _ in range(5):
        broker.publish("a")
        broker.publish("b")
    core: Core[SlowClient] = Core(1_000_000, 10, random.random)
    client = SlowClient(since)
    core.add(client, NOW)
    pages = carry_out(core, broker)

    assert pages == 2, "the first page of each channel, and no more"
    assert [len(piece) for piece in client.pieces] == [2]
    drained = 0
    while client.backlog:
        client.backlog = False
        drained += 1
        core.continue_stream(client, NOW)
        assert carry_out(core, broker) <= 2
    assert [len(piece) for piece in client.pieces if piece] == [2, 2, 2, 2, 1, 1]
    assert drained >= 6
    assert client.group is not None
    assert client.decoder.last_event_id == f"{broker.top('a')},{broker.top('b')}"
