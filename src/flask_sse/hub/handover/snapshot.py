"""Snapshot: the state of a hub that its successor restores. Values alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.runs import State
from ..core.subscriber import SubscriberSnapshot
from ..protocol.revocation import ReceivedRevocation
from ..protocol.stream_request import StreamRequest


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """An open stream.

    Attributes:
        descriptor: Of its connection.
        request: What it asks for now; its head, where that was not written yet.
        subscriber: Its position, age and pace.
        backlog: Bytes that the client has not read yet.
    """

    descriptor: int
    request: StreamRequest
    subscriber: SubscriberSnapshot
    backlog: bytes


@dataclass(frozen=True, slots=True)
class ConnectionSnapshot:
    """A control connection.

    Attributes:
        descriptor: Of the connection.
        is_introduced: Whether the application has sent its hello.
        received: The beginning of a packet.
        descriptors: That came with it.
    """

    descriptor: int
    is_introduced: bool
    received: bytes
    descriptors: Sequence[int] = ()


@dataclass(slots=True)
class Snapshot:
    """All that a hub hands over to its successor.

    What of the hub's state is in it, and what is not and why:

    * *Streams* with their rules, grants, ages, positions and unsent bytes; *applications*; the *history* of a
      broker that lives in the hub; *positions* of channels: in it.
    * *Revocations*: in it, because the position of the control channel is, so that the successor does not
      read the earlier ones again.
    * *Runs* that are over or lost: in it, or pages that also listen to other channels would receive the end
      twice. How long a run has been silent is not: what its producer says between the two hubs may arrive
      late. Whether a run works is not either: the history has it.
    * *Counters*, also those of rejected streams, and the rates of the live page: not in it; they are those of
      one process, as its pid is.
    * How many streams a subject or an address has, which streams form a group, when to look at which:
      not in it, but computed from the streams.
    * Whether the broker is away, which channels it has confirmed or refuses, reads that were not answered,
      and events that wait for their place: not in it. The successor subscribes to each channel again
      and reads from its position, as after a lost connection.
    * Channels without streams, recently read pages, when a line was logged: not in it; they only save work.
    * Keys by which a newer event replaces an unsent one: not in it; unsent bytes are, as they are.

    Attributes:
        listener: The descriptor of its listening socket.
        lock: That of its lock; ``None`` for the hub of an operator.
        linger_seconds: How long it outlives its last application; ``None`` for ever.
        positions: The positions of its channels.
        runs: The channels of runs whose streams were notified that they are over or lost.
        revocations: All revocations that are remembered, the earliest first.
        history: What the broker keeps that lives in the hub, in pieces.
        streams: All streams.
        apps: All control connections.
    """

    listener: int
    lock: int | None
    linger_seconds: float | None
    positions: dict[str, str]
    runs: dict[str, State]
    revocations: list[ReceivedRevocation]
    history: Iterable[tuple[dict[str, Any], bytes]]
    streams: list[StreamSnapshot] = field(default_factory=list)
    apps: list[ConnectionSnapshot] = field(default_factory=list)
