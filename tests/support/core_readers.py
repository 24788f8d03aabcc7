"""The core and its streams without sockets, for tests: a hub whose clock is a number, and its readers."""

from __future__ import annotations

import itertools
import random

from flask_sse.hub.core.actions import Action, Continue, End, ReportDropped, Subscribe, Unsubscribe, Write
from flask_sse.hub.core.core import Core
from flask_sse.hub.core.subscriber import Subscriber
from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.protocol.block import BlockDecoder
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES, StreamRequest
from flask_sse.settings import StreamRules
from flask_sse.wire.decode import Decoder
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message

MAX_EVENT_BYTES = 256 * 1024
MAX_CHANNELS = 1000
START = 1000.0
# A tick falls anywhere between the ticks of another hub.
PHASES = [0.0, 0.01, 0.12, 0.24]
# Ages may end this much early, so that none ends late.
EARLY = 2 * TICK_SECONDS
# For sums of fractions that binary numbers do not hold.
ROUNDING = 1e-6


class Reader(Subscriber):
    """A stream of the core that keeps what is written to it, with the time."""

    def __init__(self, *channels: str, mode: str = FRAMES, rules: StreamRules | None = None) -> None:
        super().__init__(StreamRequest(channels, mode, rules or StreamRules()))
        self.writes: list[tuple[float, bytes]] = []
        self.ended_at: float | None = None

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.writes)

    @property
    def is_open(self) -> bool:
        return bool(self.writes)

    @property
    def events(self) -> list[str]:
        """The data of all events, in either mode."""
        if self.mode == ENVELOPES:
            return [envelope.decode() for envelope in BlockDecoder().feed(self.data)]
        return [event.data for event in Decoder().feed(self.data)]

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.writes]


class Hub:
    """What the server does with the core, without sockets."""

    def __init__(self, *, now: float = START, confirms_at_once: bool = False) -> None:
        self.now = now
        self.asked: list[str] = []
        self.given_up: list[str] = []
        self.complaints: list[str] = []
        self.confirms_at_once = confirms_at_once
        self.core: Core[Reader] = Core(MAX_EVENT_BYTES, MAX_CHANNELS, random.random)
        self.core_ticks()

    def add(self, *readers: Reader) -> None:
        for reader in readers:
            self.core.add(reader, self.now)
            self._carry_out()

    def leave(self, *readers: Reader) -> None:
        for reader in readers:
            self.core.remove(reader, self.now)

    def confirm(self, *names: str) -> list[Reader]:
        for name in names:
            self.core.subscribed(name)
        return self._carry_out()

    def lose(self) -> list[Reader]:
        self.core.lost(self.now)
        return self._carry_out()

    def publish(self, channel: str, data: object) -> int:
        return self.deliver(channel, pack(Message(data)))

    def deliver(self, channel: str, envelope: bytes) -> int:
        receivers = self.core.deliver(channel, None, envelope)
        self._carry_out()
        return receivers

    def flush(self) -> None:
        for data, readers in self.core.flush(self.now):
            for reader in readers:
                reader.writes.append((self.now, data))

    def core_ticks(self) -> None:
        self.core.tick(self.now)
        self._carry_out()

    def _carry_out(self) -> list[Reader]:
        """Do what the core has ordered; return the streams that were written to."""
        written = []
        while self.core.outbox:
            match self.core.outbox.popleft():
                case Write(reader, data):
                    reader.writes.append((self.now, data))
                    written.append(reader)
                case End(reader, data):
                    reader.writes.append((self.now, data))
                    reader.ended_at = self.now
                    self.core.remove(reader, self.now)
                case Continue(reader):
                    self.core.continue_stream(reader, self.now)
                case order:
                    self._ask_broker(order)
        return written

    def _ask_broker(self, order: Action) -> None:
        match order:
            case Subscribe(name):
                self.asked.append(name)
                if self.confirms_at_once:
                    self.core.subscribed(name)
            case Unsubscribe(name):
                self.given_up.append(name)
            case ReportDropped(_, reason):
                self.complaints.append(reason)
            case _:
                raise AssertionError(order)

    def wait(self, seconds: float) -> None:
        """Let time pass in ticks, as it does in the server."""
        end = self.now + seconds
        while self.now + TICK_SECONDS <= end + ROUNDING:
            self.now += TICK_SECONDS
            self.core_ticks()


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def bookkeeping(core: Core[Reader]) -> dict[str, object]:
    """Return every collection of the core that is not empty."""
    parts = (core, core._groups, core._lifetimes, core._catch_up, core._run_watcher, core.revocations)
    kept = {name: value for part in parts for name, value in vars(part).items()}
    return {name: value for name, value in kept.items() if isinstance(value, dict | list | set) and value}


def rules(**values: float | tuple[int, int] | None) -> StreamRules:
    return StreamRules(**values)  # type: ignore[arg-type] # any of its fields
