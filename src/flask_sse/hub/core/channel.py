"""Channel: the order of its events, the streams that listen to it, and its run. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic

from ...brokers.base import Entry
from ...wire.cursor import BEFORE_ALL, Cursor
from ...wire.frame import Frame
from ...wire.run import is_run
from .resume import LiveBuffer, Resume
from .runs import Run, run_frames_in
from .sequencer import Sequencer
from .subscriber import Group, S
from .timer_wheel import Timed


class Channel(Timed, Generic[S]):
    """One channel of the hub.

    Attributes:
        name: Its name.
        confirmed: Whether the broker confirmed the subscription.
        sequencer: The order of its events; ``None`` where no stream asks for a history.
        pending_read: The number of the read that is on its way for ``sequencer``.
        streams: How many streams listen to it.
        events: How many events it had while they did.
        history_groups: The groups that are at its position.
        live_groups: The groups that ask for no history of it, and get each event when it arrives.
        waiting: Streams that are in neither yet.
        live_buffer: What it delivered while streams were catching up with it.
        run: The run that it belongs to; ``None`` for other channels.
    """

    __slots__ = (
        "confirmed",
        "events",
        "history_groups",
        "live_buffer",
        "live_groups",
        "name",
        "pending_read",
        "run",
        "sequencer",
        "streams",
        "waiting",
    )

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.confirmed = False
        self.sequencer: Sequencer | None = None
        self.pending_read: int | None = None
        self.streams = 0
        self.events = 0
        self.history_groups: list[Group[S]] = []
        self.live_groups: list[Group[S]] = []
        self.waiting: set[S] = set()
        self.live_buffer: LiveBuffer | None = None
        self.run = Run() if is_run(name) else None

    def groups_of(self, group: Group[S]) -> list[Group[S]]:
        """Return the list of this channel in which a group belongs."""
        return self.history_groups if self.name in group.history_channels else self.live_groups

    def stop_waiting(self, subscriber: S) -> None:
        """Note that a stream has joined a group, or has left."""
        self.waiting.discard(subscriber)
        if not self.waiting:
            self.live_buffer = None

    @property
    def is_ready(self) -> bool:
        """Whether what is published from now on is delivered at once."""
        return self.confirmed and (self.sequencer is None or self.sequencer.is_current)

    def note_delivered(self, cursor: Cursor, frame: Frame | None) -> None:
        """Note that an event was delivered; ``None`` stands for what is no event."""
        if self.live_buffer is not None:
            self.live_buffer.append(cursor, frame)
        if self.run is not None:
            self.run.note_event(frame)
        for group in self.history_groups:
            group.cursors[self.name] = cursor

    def catching_up(self) -> Iterator[tuple[S, Resume]]:
        """Yield the open streams that are behind the position of this channel."""
        for subscriber in self.waiting:
            if subscriber.has_begun and subscriber.resume is not None and not subscriber.resume.is_fresh:
                yield subscriber, subscriber.resume

    def note_replay(self, events: Sequence[tuple[Cursor, Frame | None]]) -> None:
        """Note a page that was read for streams that catch up; the last one shows the state of a run."""
        is_last = events and self.sequencer is not None and self.sequencer.position == events[-1][0]
        if self.run is not None and is_last:
            self.run.note_replay(frame for _, frame in events)

    def note_event_without_streams(self, envelope: bytes) -> None:
        """Note an event that arrived while there were no streams."""
        if self.run is not None:
            self.run.note_event(next(run_frames_in(self.name, [Entry("", "", envelope)]), None))

    @property
    def receives_its_run(self) -> bool:
        """Whether the run of this channel has begun and all its events are delivered."""
        return self.is_ready and self.sequencer is not None and self.position.id != BEFORE_ALL

    @property
    def position(self) -> Cursor:
        """Behind the last event that was delivered; of a channel that is ready and has a history."""
        if self.sequencer is None or self.sequencer.position is None:
            raise RuntimeError("a channel without position")
        return self.sequencer.position
