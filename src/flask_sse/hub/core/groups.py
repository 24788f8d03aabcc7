"""What the core knows of streams and channels: subscribers, the groups they form, and channels. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from ...brokers.base import Entry
from ...settings import StreamRules
from ...wire.cursor import BEFORE_ALL, FROM_NOW, Cursor
from ...wire.frame import Frame
from ...wire.run import is_run
from ..protocol.block import encode_block
from ..protocol.grant import Grant
from ..protocol.stream_request import ENVELOPES, StreamRequest
from .idle_channels import Owner
from .keyed_chunks import KeyedChunks, join
from .resume import Resume, Tail, joined
from .runs import Run, marks_in
from .sequencer import Sequencer
from .timer_wheel import Item


@dataclass(frozen=True, slots=True)
class SubscriberSnapshot:
    """How far a stream is, for the hub that takes it over. Times are in seconds.

    Attributes:
        since: What remains to be done, as its ``StreamRequest`` would say it now.
        has_begun: Whether its first bytes were written.
        is_current: Whether it stands where its channels stand.
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


class Subscriber(Item):
    """One open stream as the core knows it; the hub's ``Stream`` adds the socket.

    Attributes:
        has_begun: Whether its first bytes were written.
        grant: Whose it is.
        is_relayed: Whether a web server may stand between the hub and the client, so that the hub does not
            see at once when the client has left.
        expires_at: When the right to listen ends; ``None`` for never.
        group: Where it gets its events from; ``None`` until it stands where its channels stand.
        resume: How far it is on the way there; ``None`` where there is no history, and once it is there.
    """

    __slots__ = (
        "channels",
        "ends_at",
        "expires_at",
        "grant",
        "group",
        "has_begun",
        "is_relayed",
        "kept",
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
        self.kept = tuple(sorted(request.since))
        since = [request.since[name] for name in self.kept]
        writes_ids = self.kept and self.mode != ENVELOPES
        self.resume = Resume(self.kept, since) if writes_ids else None
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
        """Whom its streams are counted for, and how many they may be."""
        counted = (
            ("subject", self.grant.subject, self.rules.max_streams_per_subject),
            ("address", self.grant.address, self.rules.max_streams_per_address),
        )
        return {(what, name): most for what, name, most in counted if name is not None and most is not None}

    def come_in(self, now: float) -> None:
        """Begin to count the time."""
        self.quiet_since = now
        if self.grant.ends_in is not None:
            self.ends_at = self.expires_at = now + self.grant.ends_in

    def grant_now(self, now: float) -> Grant:
        """Return its grant as it is now, for another hub."""
        return self.grant if self.expires_at is None else replace(self.grant, ends_in=self.expires_at - now)

    def subscriber_snapshot(self, now: float) -> SubscriberSnapshot:
        """Return what a successor needs to continue this stream."""
        return SubscriberSnapshot(
            since=self.resume.rest if self.resume is not None else dict.fromkeys(self.kept, FROM_NOW),
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


M = TypeVar("M", bound=Subscriber)

Key = tuple[str, tuple[str, ...], tuple[str, ...]]


class Group(Generic[M]):
    """Streams that get the same bytes, and the bytes that wait for the end of this turn.

    Attributes:
        key: What these streams have in common.
        channels: What they listen to.
        mode: Frames or envelopes.
        kept: Their channels that have a history, sorted; each event names the positions of all of them.
        cursors: Those positions.
    """

    __slots__ = ("channels", "cursors", "kept", "key", "mode", "pending", "subscribers", "written_at")

    def __init__(self, key: Key, channels: Sequence[Channel[M]], cursors: dict[str, Cursor]) -> None:
        self.key = key
        self.mode, _, self.kept = key
        self.cursors = cursors
        self.channels = channels
        for channel in channels:
            (channel.groups if channel.name in self.kept else channel.loose).append(self)
        self.subscribers: set[M] = set()
        self.pending: list[bytes] = []
        self.written_at = 0.0

    def leave_channels(self) -> None:
        """Get nothing any more."""
        for channel in self.channels:
            (channel.groups if channel.name in self.kept else channel.loose).remove(self)

    @property
    def last_event_id(self) -> str:
        """What its clients come back with."""
        return joined(self.kept, self.cursors)

    def bytes_of(self, envelope: bytes, frame: Frame) -> bytes:
        """Return what is written of an event."""
        if self.mode == ENVELOPES:
            return encode_block(envelope)
        # Also where the event itself has no place in a history, so that its own id is not come back with.
        data = frame.behind(self.last_event_id) if self.kept else frame.plain
        return data if frame.collapse is None else KeyedChunks([(data, frame.collapse)])


class Channel(Item, Generic[M]):
    """One channel of the hub.

    Attributes:
        name: Its name.
        confirmed: Whether the broker said that its events come.
        sequencer: The order of its events; ``None`` where no stream asks for a history.
        reading: The number of the read that is on its way for ``sequencer``.
        streams: How many streams listen to it.
        events: How many events it had while they did.
        groups: Those that stand at its position.
        loose: Those that ask for no history of it, and get what comes when it comes.
        waiting: Streams that are in neither yet.
        tail: What it delivered while streams were on their way there.
        run: The run that it belongs to; ``None`` for other channels.
    """

    __slots__ = (
        "confirmed",
        "events",
        "groups",
        "loose",
        "name",
        "reading",
        "run",
        "sequencer",
        "streams",
        "tail",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.confirmed = False
        self.sequencer: Sequencer | None = None
        self.reading: int | None = None
        self.streams = 0
        self.events = 0
        self.groups: list[Group[M]] = []
        self.loose: list[Group[M]] = []
        self.waiting: set[M] = set()
        self.tail: Tail | None = None
        self.run = Run() if is_run(name) else None

    @property
    def is_ready(self) -> bool:
        """Whether what is published from now on is delivered at once."""
        return self.confirmed and (self.sequencer is None or self.sequencer.is_current)

    def move(self, cursor: Cursor, frame: Frame | None) -> None:
        """Note that an event was delivered; ``None`` stands for what is no event."""
        if self.tail is not None:
            self.tail.append(cursor, frame)
        if self.run is not None:
            self.run.heard(frame)
        for group in self.groups:
            group.cursors[self.name] = cursor

    def on_their_way(self) -> Iterator[tuple[M, Resume]]:
        """Yield the open streams that are being brought from an earlier position to that of now."""
        for subscriber in self.waiting:
            if subscriber.has_begun and subscriber.resume is not None and not subscriber.resume.is_fresh:
                yield subscriber, subscriber.resume

    def replayed(self, events: Sequence[tuple[Cursor, Frame | None]]) -> None:
        """Note what the history has that was read for streams on their way; its last page tells of a run."""
        is_last = events and self.sequencer is not None and self.sequencer.position == events[-1][0]
        if self.run is not None and is_last:
            self.run.replayed(frame for _, frame in events)

    def overhear(self, envelope: bytes) -> None:
        """Note an event that came while there were no streams."""
        if self.run is not None:
            self.run.heard(next(marks_in(self.name, [Entry("", "", envelope)]), None))

    @property
    def hears_its_run(self) -> bool:
        """Whether the run of this channel has begun and whatever it says is delivered."""
        return self.is_ready and self.sequencer is not None and self.position.id != BEFORE_ALL

    @property
    def position(self) -> Cursor:
        """Behind the last event that was delivered; of a channel that is ready and has a history."""
        if self.sequencer is None or self.sequencer.position is None:
            raise RuntimeError("a channel without position")
        return self.sequencer.position


class Groups(Generic[M]):
    """All groups, and what became ready for them in this turn of the loop."""

    def __init__(self) -> None:
        self._groups: dict[Key, Group[M]] = {}
        self._dirty: deque[Group[M]] = deque()
        self._ready: deque[tuple[bytes, set[M]]] = deque()

    @property
    def has_pending(self) -> bool:
        """Whether ``flush`` has something to yield."""
        return bool(self._ready or self._dirty)

    def join(self, subscriber: M, channels: Sequence[Channel[M]]) -> None:
        """Let a stream that stands where its channels stand get what they deliver from now on."""
        key = (subscriber.mode, tuple(sorted(subscriber.channels)), subscriber.kept)
        group = self._groups.get(key)
        if group is None:
            cursors = {
                channel.name: channel.position for channel in channels if channel.name in subscriber.kept
            }
            group = self._groups[key] = Group(key, channels, cursors)
        if group.pending:
            # What was published before this stream came is not for it.
            self._ready.append((join(group.pending), set(group.subscribers)))
            group.pending = []
        group.subscribers.add(subscriber)
        subscriber.group = group
        # From here on all streams of a group are alike, so they keep nothing of their own.
        subscriber.resume = None
        subscriber.mode, subscriber.channels, subscriber.kept = group.key

    def leave(self, subscriber: M) -> None:
        """Forget a stream; a group without streams ends."""
        group = subscriber.group
        if group is None:
            return
        group.subscribers.discard(subscriber)
        for _, subscribers in self._ready:
            subscribers.discard(subscriber)
        if not group.subscribers:
            del self._groups[group.key]
            group.leave_channels()

    def queue(self, group: Group[M], data: bytes) -> None:
        """Write bytes to a group at the end of this turn."""
        if not group.pending:
            self._dirty.append(group)
        group.pending.append(data)

    def flush(self, now: float) -> Iterator[tuple[bytes, set[M]]]:
        """Yield what became ready since the last call: bytes, and the streams to write them to.

        The set is the group's own: collect streams to remove and remove them afterwards.
        """
        # Taken one by one, so that what fails in between leaves the rest where it was.
        while self._ready:
            yield self._ready.popleft()
        while self._dirty:
            group = self._dirty.popleft()
            if not group.pending:
                continue
            data = join(group.pending)
            group.pending = []
            group.written_at = now
            yield data, group.subscribers
