"""Resume: one stream on its way from its client's position to that of its channels. No I/O, no clock.

Pages of the history are read until the stream is at the position of its channels. What they deliver meanwhile
is kept once for all streams that catch up, in the *live buffer*: a stream whose position is in it needs no
further page.
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
# A position in a history that no client ever had.
NEVER = Cursor("zzzzzzzz", BEFORE_ALL)
MAX_BUFFERED_EVENTS = 1000
MAX_BUFFERED_BYTES = 1024 * 1024


def join_cursors(channels: Sequence[str], cursors: Mapping[str, Cursor]) -> str:
    """Return the last event id of a stream over several channels."""
    if len(channels) == 1:
        return str(cursors[channels[0]])
    return ",".join(str(cursors[name]) for name in channels)


class Replay:
    """One page for all streams that asked for it; its events are encoded once.

    Attributes:
        channel: Which one.
        since: What was asked for.
        start: The position before the first event; where something is missing, the one to continue from.
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
    def single_channel_bytes(self) -> bytes:
        """The bytes for streams of no other channel with a history."""
        return self.encode_for((self.channel,), {self.channel: self.start})

    def encode_for(self, channels: Sequence[str], positions: dict[str, Cursor]) -> bytes:
        """Return the bytes for a stream over some channels with a history, and move its position along."""
        positions[self.channel] = self.start
        if self.gap:
            since, last_event_id = self.since.strip("\0"), join_cursors(channels, positions)
            return stream_reset(self.channel, self.gap, since, self.start, last_event_id)
        pieces = []
        for cursor, frame in self.events:
            positions[self.channel] = cursor
            if frame is not None:
                pieces.append(frame.behind(join_cursors(channels, positions)))
        return b"".join(pieces)

    @property
    def is_found_by_own_id(self) -> bool:
        """Whether the client named an id of the application, and this channel has it."""
        return not self.gap and self.since != EARLIEST and read_cursor(self.since) is None

    def as_unknown(self) -> Replay:
        """Return the same page as a gap, for a stream that cannot continue from there."""
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


class LiveBuffer:
    """What a channel delivered since the first stream began to catch up with it.

    Attributes:
        start: The position before all of it.
    """

    def __init__(self, start: Cursor) -> None:
        self.restart(start)

    def append(self, cursor: Cursor, frame: Frame | None) -> None:
        """Keep what was delivered; ``None`` stands for what is no event."""
        self._events.append((cursor, frame))
        self._index_after[cursor] = len(self._events)
        self._bytes += len(frame) if frame is not None else 0
        if len(self._events) > MAX_BUFFERED_EVENTS or self._bytes > MAX_BUFFERED_BYTES:
            self.restart(cursor)

    def restart(self, start: Cursor) -> None:
        """Forget all of it, because a position is not followed by what is here."""
        self.start = start
        self._events: list[tuple[Cursor, Frame | None]] = []
        self._index_after = {start: 0}
        self._bytes = 0

    def after(self, position: Cursor) -> list[tuple[Cursor, Frame | None]] | None:
        """Return what follows a position; ``None`` if that is not known."""
        number = self._index_after.get(position)
        return None if number is None else self._events[number:]


class Resume:
    """How far one stream with a history is.

    Attributes:
        channels: Its channels that have a history, sorted.
        since: For each of them, where the client asked to resume.
        positions: For each of them, up to where everything was written, once that is known.
        awaited: Channels of which a page is on its way, and the number of the read.
        replays: Pages that are there and not yet written.
    """

    __slots__ = ("_tried", "awaited", "channels", "positions", "replays", "since")

    def __init__(self, channels: tuple[str, ...], since: Sequence[str]) -> None:
        self.channels = channels
        self.since = dict(zip(channels, since, strict=True))
        self.positions: dict[str, Cursor] = {}
        self.awaited: dict[str, int] = {}
        self.replays: dict[str, Replay] = {}
        self._tried: dict[str, Cursor] = {}

    @property
    def last_event_id(self) -> str:
        """The last event id that the client sent, where it can be sent back."""
        texts = [self.since[name] for name in self.channels]
        if EARLIEST in texts or NOWHERE in texts:
            return ""
        return ",".join(texts) if all(map(read_cursor, texts)) else texts[0]

    @property
    def remaining(self) -> dict[str, str]:
        """What a stream would ask for that begins where this one is."""
        known = {name: str(position) for name, position in self.positions.items() if position != NEVER}
        return {**self.since, **known}

    @property
    def is_fresh(self) -> bool:
        """Whether the client resumes nothing: it wants what is published from now on."""
        return not any(self.since.values())

    def is_odd_try(self, name: str, position: Cursor) -> bool:
        """Return whether this is the first try to read on from a position, or the third, the fifth, ..."""
        if self._tried.get(name) == position:
            del self._tried[name]
            return False
        self._tried[name] = position
        return True

    def add_replay(self, replay: Replay) -> None:
        """Add a page that this stream waits for."""
        self.awaited.pop(replay.channel, None)
        self.replays[replay.channel] = replay
        found = [name for name, replay in self.replays.items() if replay.is_found_by_own_id]
        if not self.awaited and len(found) > 1:
            # Several channels have an event with that id, and the client has seen one of them.
            self.replays |= {name: self.replays[name].as_unknown() for name in found}

    def encode_live(self, frame: Frame) -> bytes:
        """Return the bytes of an event without a place in a history; it does not wait for the pages."""
        known = len(self.positions) == len(self.channels)
        position = join_cursors(self.channels, self.positions) if known else self.last_event_id
        return frame.behind(position) if position else frame.plain

    @property
    def next_is_gap(self) -> bool:
        """Whether the next page to be written reports a gap."""
        return bool(next(iter(self.replays.values())).gap)

    def encode_next_replay(self) -> bytes:
        """Return the bytes of one of the pages that are there."""
        # All positions first: each event's id names those of all channels. A gap that is not reported yet
        # keeps the position before it, so that a client that reconnects too soon gets the report then.
        for name, replay in self.replays.items():
            self.positions[name] = (read_cursor(replay.since) or NEVER) if replay.gap else replay.start
        name = next(iter(self.replays))
        replay = self.replays.pop(name)
        if self.channels == (name,):
            self.positions[name] = replay.end
            return replay.single_channel_bytes
        return replay.encode_for(self.channels, self.positions)

    def encode_buffered(self, name: str, events: list[tuple[Cursor, Frame | None]]) -> bytes:
        """Return the bytes of what a channel delivered meanwhile."""
        pieces = []
        for cursor, frame in events:
            self.positions[name] = cursor
            if frame is not None:
                pieces.append(frame.behind(join_cursors(self.channels, self.positions)))
        return b"".join(pieces)
