"""Subscriber: one open stream as the core knows it, and the group of streams like it. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from ...settings import StreamRules
from ...wire.cursor import FROM_NOW, Cursor
from ...wire.frame import Frame
from ...wire.keyed_chunks import KeyedChunks
from ..protocol.block import encode_block
from ..protocol.grant import Grant
from ..protocol.stream_request import ENVELOPES, StreamRequest
from .resume import Resume, join_cursors
from .timer_wheel import Timed

# What a limit counts by, and its name: ("address", "192.0.2.7").
Owner = tuple[str, str]
# Of a group: mode, channels, and those of them that have a history; both sorted.
Key = tuple[str, tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class SubscriberSnapshot:
    """How far a stream is, for the successor of this hub. Times are in seconds.

    Attributes:
        since: What remains to be done, as its ``StreamRequest`` would say it now.
        has_begun: Whether its first bytes were written.
        is_current: Whether it is at the positions of its channels.
        quiet_seconds: How long nothing was written to it.
        pace: How long that may be.
        ends_in: When its age ends it; ``None`` for never.
    """

    since: Mapping[str, str]
    has_begun: bool
    is_current: bool
    quiet_seconds: float
    pace: float
    ends_in: float | None


class Subscriber(Timed):
    """One open stream as the core knows it; the hub's ``Stream`` adds the socket.

    Attributes:
        has_begun: Whether its first bytes were written.
        grant: Whose it is.
        is_relayed: Whether a web server may stand between the hub and the client, so that the hub does not
            see at once when the client has left.
        expires_at: When the right to listen ends; ``None`` for never.
        history_channels: Those of its channels that have a history, sorted.
        group: Where it gets its events from; ``None`` until it is at the positions of its channels.
        resume: How it catches up with them; ``None`` where there is no history, and once it is there.
        quiet_since: When something was written to this stream alone for the last time.
        pace: The time without a write after which a heartbeat is due, in seconds.
        ends_at: When the hub ends it; ``None`` for never.
    """

    __slots__ = (
        "channels",
        "ends_at",
        "expires_at",
        "grant",
        "group",
        "has_begun",
        "history_channels",
        "is_relayed",
        "mode",
        "pace",
        "quiet_since",
        "resume",
        "rules",
    )

    def __init__(self, request: StreamRequest) -> None:
        super().__init__()
        self.channels = request.channels
        self.mode = request.mode
        self.rules: StreamRules = request.rules
        self.grant: Grant = request.grant
        self.history_channels = tuple(sorted(request.since))
        since = [request.since[name] for name in self.history_channels]
        writes_ids = self.history_channels and self.mode != ENVELOPES
        self.resume = Resume(self.history_channels, since) if writes_ids else None
        self.group: Group[Any] | None = None
        self.has_begun = False
        # By takeover the hub writes the response's head as well.
        self.is_relayed = self.mode != ENVELOPES and not request.head
        self.quiet_since = 0.0
        self.pace = 0.0
        self.ends_at: float | None = None
        self.expires_at: float | None = None

    @property
    def limits(self) -> dict[Owner, int]:
        """By which owners its streams are limited, and to how many."""
        counted = (
            ("subject", self.grant.subject, self.rules.max_streams_per_subject),
            ("address", self.grant.address, self.rules.max_streams_per_address),
        )
        return {(what, name): most for what, name, most in counted if name is not None and most is not None}

    def begin_age(self, now: float) -> None:
        """Count its time from now on."""
        self.quiet_since = now
        if self.grant.ends_in is not None:
            self.ends_at = self.expires_at = now + self.grant.ends_in

    def grant_now(self, now: float) -> Grant:
        """Return its grant as it is now, for another hub."""
        return self.grant if self.expires_at is None else replace(self.grant, ends_in=self.expires_at - now)

    def subscriber_snapshot(self, now: float) -> SubscriberSnapshot:
        """Return what a successor needs to continue this stream."""
        fresh = dict.fromkeys(self.history_channels, FROM_NOW)
        return SubscriberSnapshot(
            since=self.resume.remaining if self.resume is not None else fresh,
            has_begun=self.has_begun,
            is_current=self.group is not None,
            quiet_seconds=now - self.written_at,
            pace=self.pace,
            ends_in=None if self.ends_at is None else self.ends_at - now,
        )

    def restore(self, snapshot: SubscriberSnapshot, now: float) -> None:
        """Continue this stream where the predecessor stopped."""
        self.has_begun = snapshot.has_begun
        self.quiet_since = now - snapshot.quiet_seconds
        self.pace = snapshot.pace
        self.ends_at = None if snapshot.ends_in is None else now + snapshot.ends_in

    @property
    def written_at(self) -> float:
        """When something was written to it for the last time."""
        return max(self.quiet_since, self.group.written_at if self.group is not None else 0.0)


S = TypeVar("S", bound=Subscriber)


class Group(Generic[S]):
    """Streams with the same mode and channels, so that an event is encoded once for all of them.

    Attributes:
        key: What these streams have in common.
        mode: Frames or envelopes.
        channels: The names of their channels, sorted.
        history_channels: Those that have a history, sorted; each event names the positions of all of them.
        cursors: Those positions.
        subscribers: The streams.
        pending: What is written to them at the end of this turn.
        written_at: When something was written to them for the last time.
    """

    __slots__ = (
        "channels",
        "cursors",
        "history_channels",
        "key",
        "mode",
        "pending",
        "subscribers",
        "written_at",
    )

    def __init__(self, key: Key, cursors: dict[str, Cursor]) -> None:
        self.key = key
        self.mode, self.channels, self.history_channels = key
        self.cursors = cursors
        self.subscribers: set[S] = set()
        self.pending: list[bytes] = []
        self.written_at = 0.0

    @property
    def last_event_id(self) -> str:
        """What its clients will name when they reconnect."""
        return join_cursors(self.history_channels, self.cursors)

    def encode(self, envelope: bytes, frame: Frame) -> bytes:
        """Return what is written of an event."""
        if self.mode == ENVELOPES:
            return encode_block(envelope)
        # The position is written also where the event itself has none: a browser would otherwise reconnect
        # with the event's own id, which no history knows.
        data = frame.behind(self.last_event_id) if self.history_channels else frame.plain
        return data if frame.collapse is None else KeyedChunks([(data, frame.collapse)])
