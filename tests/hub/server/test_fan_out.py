"""Fan-out: who is written to, in which portions, and what a failure in the middle does."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Collection, Iterable, Iterator

import pytest

from flask_sse.hub.core.actions import Continue, Subscribe
from flask_sse.hub.core.core import Core
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.hub.server import fan_out as module
from flask_sse.hub.server.fan_out import FanOut
from flask_sse.hub.server.hub_loop import Turns
from flask_sse.hub.server.stream import Stream
from flask_sse.settings import StreamRules
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message

NOW = 1000.0
EVENT = b"data:x\n\n"


class Turn(Turns):
    """A turn of the loop that is over when the test says so."""

    is_over = False

    @property
    def has_time(self) -> bool:
        return not self.is_over


class Writing:
    """A fan-out with streams of one channel, and the clients' ends of them."""

    def __init__(self, stack: contextlib.ExitStack, streams: int) -> None:
        self.core: Core[Stream] = Core(1000, 10, random.random)
        self.turn = Turn()
        self.failed: list[set[Stream]] = []
        self.rests: list[bytes] = []
        self.fan_out = FanOut(self.core, self.turn, lambda _, rest: self.rests.append(rest), self._give_up)
        self.clients: dict[Stream, socket.socket] = {}
        for _ in range(streams):
            ours, theirs = (stack.enter_context(each) for each in socket.socketpair())
            theirs.setblocking(False)
            stream = Stream(ours, StreamRequest(("a",), FRAMES, StreamRules()))
            self.clients[stream] = theirs
            self.core.add(stream, NOW)
            self._settle()

    def _settle(self) -> None:
        while self.core.outbox:
            match self.core.outbox.popleft():
                case Subscribe(name):
                    self.core.subscribed(name)
                case Continue(stream):
                    self.core.continue_stream(stream, NOW)

    def _give_up(self, streams: Collection[Stream], _: Exception) -> None:
        self.failed.append(set(streams))

    def publish(self) -> None:
        self.core.deliver("a", None, pack(Message("x")))

    def received(self) -> list[bytes]:
        """Return what each client that got something has got."""
        found = []
        for client in self.clients.values():
            with contextlib.suppress(BlockingIOError):
                found.append(client.recv(1000))
        return found


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Writing]:
    monkeypatch.setattr(module, "STREAMS_AT_ONCE", 3)
    with contextlib.ExitStack() as stack:
        yield Writing(stack, 8)


def test_a_turn_that_is_over_leaves_the_rest_for_the_next_one(writing: Writing) -> None:
    writing.publish()
    writing.turn.is_over = True

    portions = []
    while writing.fan_out.has_pending:
        writing.fan_out.write(NOW)
        portions.append(writing.received())

    assert portions == [[EVENT] * 3, [EVENT] * 3, [EVENT] * 2]


def test_a_turn_with_time_writes_to_all(writing: Writing) -> None:
    writing.publish()
    writing.fan_out.write(NOW)

    assert writing.received() == [EVENT] * 8
    assert not writing.fan_out.has_pending


def test_write_all_takes_no_notice_of_the_time(writing: Writing) -> None:
    writing.publish()
    writing.turn.is_over = True
    writing.fan_out.write_all(NOW)

    assert writing.received() == [EVENT] * 8


def test_a_stream_that_is_written_to_alone_gets_the_event_of_its_group_first(writing: Writing) -> None:
    """Otherwise its own bytes would come before an event that is older."""
    writing.publish()
    writing.turn.is_over = True
    writing.fan_out.write(NOW)
    for stream in writing.clients:
        writing.fan_out.write_first_to(stream)

    assert len(writing.received()) == 3
    assert writing.rests == [EVENT] * 5
    assert not writing.fan_out.has_pending


def test_streams_that_a_failure_may_have_left_out_are_given_up(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(streams: Iterable[Stream], data: bytes) -> list[tuple[Stream, bytes]]:
        raise MemoryError

    writing.publish()
    monkeypatch.setattr(Stream, "send_to_all", fail)
    writing.fan_out.write(NOW)

    assert set().union(*writing.failed) == set(writing.clients)
