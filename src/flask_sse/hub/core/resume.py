"""A stream on its way from the position that its client names to the events of now. No I/O, no clock.

Pages of the history are read until the stream stands where its channels stand. What they deliver meanwhile
is kept once for all streams on their way, the *tail*: a stream that reaches into it needs no further page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from ...brokers.base import Page
from ...wire.cursor import BEFORE_ALL, EARLIEST, NOWHERE, Cursor, read_cursor
from ...wire.frame import Frame
from ..protocol.hub_events import stream_reset
from .sequencer import NEW_EPOCH, NOT_KEPT

UNKNOWN = "the last event id is not known"
# A position in a history that nobody ever had.
NEVER = Cursor("zzzzzzzz", BEFORE_ALL)
MAX_TAIL_EVENTS = 1000
MAX_TAIL_BYTES = 1024 * 1024


def joined(channels: Sequence[str], cursors: Mapping[str, Cursor]) -> str:
    """Return the last event id of a stream over several channels."""
    if len(channels) == 1:
        return str(cursors[channels[0]])
    return ",".join(str(cursors[name]) for name in channels)


class Replay:
    """One page for all streams that asked for it, its events encoded once.

    Attributes:
        channel: Which one.
        since: What was asked for.
        start: The position before the first event; where something is missing, the one to go on from.
        gap: Why something is missing; empty if nothing is.
        events: Positions and frames; ``None`` in place of a frame for what is no event.
    """

    def __init__(self, channel: str, since: str, page: Page, frames: Sequence[Frame | None]) -> None:
        self.channel = channel
        self.since = since
        self._page = page
        self.gap = _gap(since, page)
        self.start = Cursor(page.epoch, page.top if self.gap or page.since is None else page.since)
        ids = [entry.id for entry in page.entries]
        self.events = [
            (Cursor(page.epoch, event_id), frame) for event_id, frame in zip(ids, frames, strict=True)
        ]
        if self.gap:
            self.events = []

    @cached_property
    def for_this_channel_alone(self) -> bytes:
        """The bytes for streams of no other channel with a history."""
        return self.bytes_for((self.channel,), {self.channel: self.start})

    def bytes_for(self, kept: Sequence[str], floors: dict[str, Cursor]) -> bytes:
        """Return the bytes for a stream, and move its floor along."""
        floors[self.channel] = self.start
        if self.gap:
            since, last_event_id = self.since.strip("\0"), joined(kept, floors)
            return stream_reset(self.channel, self.gap, since, self.start, last_event_id)
        pieces = []
        for cursor, frame in self.events:
            floors[self.channel] = cursor
            if frame is not None:
                pieces.append(frame.behind(joined(kept, floors)))
        return b"".join(pieces)

    @property
    def is_found_by_own_id(self) -> bool:
        """Whether the client named an id of the application, and this channel has it."""
        return not self.gap and self.since != EARLIEST and read_cursor(self.since) is None

    def doubted(self) -> Replay:
        """Return the same for a stream that cannot go on from there."""
        return Replay(self.channel, self.since, self._page._replace(since=None, entries=()), ())

    @property
    def end(self) -> Cursor:
        """The position behind this page."""
        return self.events[-1][0] if self.events else self.start


def _gap(since: str, page: Page) -> str:
    if page.is_proven:
        return ""
    if page.since is not None:
        return NOT_KEPT
    return NEW_EPOCH if read_cursor(since) else UNKNOWN


class Tail:
    """What a channel delivered since its first stream on the way came.

    Attributes:
        start: The position before all of it.
    """

    def __init__(self, start: Cursor) -> None:
        self.restart(start)

    def append(self, cursor: Cursor, frame: Frame | None) -> None:
        """Keep what was delivered; ``None`` stands for what is no event."""
        self._events.append((cursor, frame))
        self._behind[cursor] = len(self._events)
        self._bytes += len(frame) if frame is not None else 0
        if len(self._events) > MAX_TAIL_EVENTS or self._bytes > MAX_TAIL_BYTES:
            self.restart(cursor)

    def restart(self, start: Cursor) -> None:
        """Forget all of it."""
        self.start = start
        self._events: list[tuple[Cursor, Frame | None]] = []
        self._behind = {start: 0}
        self._bytes = 0

    def behind(self, floor: Cursor) -> list[tuple[Cursor, Frame | None]] | None:
        """Return what follows a position; ``None`` if that is not known."""
        number = self._behind.get(floor)
        return None if number is None else self._events[number:]


class Resume:
    """How far one stream is.

    Attributes:
        kept: Its channels that have a history, sorted.
        since: For each of them, what to go on from.
        floors: The position up to which everything was written, where it is known.
        awaited: Channels of which a page is on its way, and the number of the read.
        replays: Pages that are there and not yet written.
    """

    __slots__ = ("_tried", "awaited", "floors", "kept", "replays", "since")

    def __init__(self, kept: tuple[str, ...], since: Sequence[str]) -> None:
        self.kept = kept
        self.since = dict(zip(kept, since, strict=True))
        self.floors: dict[str, Cursor] = {}
        self.awaited: dict[str, int] = {}
        self.replays: dict[str, Replay] = {}
        self._tried: dict[str, Cursor] = {}

    @property
    def last_event_id(self) -> str:
        """What the client has named, where that can be said to it again."""
        texts = [self.since[name] for name in self.kept]
        if EARLIEST in texts or NOWHERE in texts:
            return ""
        return ",".join(texts) if all(map(read_cursor, texts)) else texts[0]

    @property
    def rest(self) -> dict[str, str]:
        """What a stream would ask for that begins where this one is."""
        known = {name: str(floor) for name, floor in self.floors.items() if floor != NEVER}
        return {**self.since, **known}

    @property
    def is_fresh(self) -> bool:
        """Whether the client goes on from nothing but now."""
        return not any(self.since.values())

    def tries(self, name: str, floor: Cursor) -> bool:
        """Return whether this is the first try to get on from a position, or the third, the fifth, ..."""
        if self._tried.get(name) == floor:
            del self._tried[name]
            return False
        self._tried[name] = floor
        return True

    def take(self, replay: Replay) -> None:
        """Take a page that this stream waits for."""
        self.awaited.pop(replay.channel, None)
        self.replays[replay.channel] = replay
        found = [name for name, replay in self.replays.items() if replay.is_found_by_own_id]
        if not self.awaited and len(found) > 1:
            # Several channels have an event with that id, and the client has seen one of them.
            self.replays |= {name: self.replays[name].doubted() for name in found}

    def write_now(self, frame: Frame) -> bytes:
        """Return the bytes of an event that has no place in a history; it does not wait for its turn."""
        known = len(self.floors) == len(self.kept)
        position = joined(self.kept, self.floors) if known else self.last_event_id
        return frame.behind(position) if position else frame.plain

    @property
    def tells_gap(self) -> bool:
        """Whether the next page to be written tells of a gap."""
        return bool(next(iter(self.replays.values())).gap)

    def write_replay(self) -> bytes:
        """Return the bytes of one of the pages that are there."""
        # All floors first: each event's id names the positions of all channels. A gap that is still to be
        # told keeps the position before it, so that a client that comes back too soon is told then.
        for name, replay in self.replays.items():
            self.floors[name] = (read_cursor(replay.since) or NEVER) if replay.gap else replay.start
        name = next(iter(self.replays))
        replay = self.replays.pop(name)
        if self.kept == (name,):
            self.floors[name] = replay.end
            return replay.for_this_channel_alone
        return replay.bytes_for(self.kept, self.floors)

    def write_tail(self, name: str, events: list[tuple[Cursor, Frame | None]]) -> bytes:
        """Return the bytes of what a channel delivered meanwhile."""
        pieces = []
        for cursor, frame in events:
            self.floors[name] = cursor
            if frame is not None:
                pieces.append(frame.behind(joined(self.kept, self.floors)))
        return b"".join(pieces)
