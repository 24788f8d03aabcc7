"""What the hub knows of the runs on its channels: whether they are over and whether they live. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import Enum
from functools import reduce

from ...brokers.base import Entry
from ...errors import InvalidMessageError
from ...wire.cursor import END_ID
from ...wire.encode import encode_event
from ...wire.envelope import unpack
from ...wire.frame import Frame
from ...wire.run import ALIVE_TYPE, BEGIN_TYPE, END_TYPE, LOST_SECONDS
from ..protocol.hub_events import STREAM_END

# Sets the client's last event id and is no event itself (WHATWG HTML 9.2.6).
OVER = encode_event(id=END_ID)
_MARK = b'"run-'
# Before any time of a clock.
SOON = 0.0
# Its worker may only have been paused. So the pages of a lost run reconnect for a while; the longest delay is
# shorter than channels without streams are kept, so that the hub still knows of it.
LOST_RETRY_MS = (20_000, 40_000)
RETURN_SECONDS = 300.0


class BeginFrame(Frame):
    """The beginning of a run, or of another attempt at it."""

    __slots__ = ()


class AliveFrame(Frame):
    """What a run says while it has nothing else to say."""

    __slots__ = ()


class EndFrame(Frame):
    """The end of a run, as pages see it."""

    __slots__ = ()

    def __init__(self, channel: str, reason: str) -> None:
        data = json.dumps({"channel": channel, "reason": reason})
        super().__init__(encode_event(data, event=STREAM_END)[:-1], b"\n", b"\n\n")


def frame_of(channel: str, envelope: bytes) -> Frame:
    """Encode what is in an envelope of a run.

    Raises:
        InvalidMessageError: As ``unpack``.
    """
    if _MARK in envelope:
        message = unpack(envelope)
        if message.type == BEGIN_TYPE:
            return BeginFrame.of_message(message)
        if message.type == ALIVE_TYPE:
            return AliveFrame.of_message(message)
        if message.type == END_TYPE and isinstance(message.data, dict):
            return EndFrame(channel, str(message.data.get("reason")))
    return Frame.of_envelope(envelope)


def marks_in(channel: str, entries: Sequence[Entry]) -> Iterator[Frame]:
    """Yield what a piece of the history has of a run besides what it produced."""
    for entry in entries:
        if _MARK in entry.envelope:
            with suppress(InvalidMessageError):
                yield frame_of(channel, entry.envelope)


class State(Enum):
    """What is known of a run.

    A hub that has only begun, and one that has missed events, knows nothing until the run begins or ends, or
    until it has read the history.
    """

    UNKNOWN = 0
    WORKING = 1
    # Only this hub says so; the history does not. It works again when something is heard of it.
    LOST = 2
    OVER = 3
    # A channel of something else, whose name begins alike.
    NO_RUN = 4


class Now(Enum):
    """What is to be done about a run."""

    NOTHING = 0
    READ_HISTORY = 1
    TELL_LOST = 2
    LOOK_SOON = 3
    END_STREAMS = 4


class Run:
    """The run on one channel, if there is one: its name does not make it one, but that it began.

    Attributes:
        state: What is known of it.
        may_return: Of a lost run, whether its pages are to reconnect.
        reading: The number of the read that is on its way to find the state out.
    """

    __slots__ = ("_found", "_heard_at", "_is_told", "_lost_at", "may_return", "reading", "state")

    def __init__(self) -> None:
        self._heard_at: float | None = None
        self._lost_at: float | None = None
        self._is_told = False
        self._found = State.UNKNOWN
        self.state = State.UNKNOWN
        self.may_return = True
        self.reading: int | None = None

    def heard(self, frame: Frame | None) -> None:
        """Note that an event came; ``None`` stands for what is no event."""
        self._heard_at = None
        state = _after(self.state, frame)
        if state is not self.state:
            self.state, self._is_told = state, False

    def replayed(self, frames: Iterable[Frame | None]) -> None:
        """Note what the history has before the position of the channel, up to there."""
        if self.state is State.UNKNOWN:
            self.state = reduce(_after, frames, State.UNKNOWN)

    def read(self, marks: Iterable[Frame]) -> None:
        """Note what the next page has that is read to find out the state."""
        self._found = reduce(_after, marks, self._found)

    def has_read(self, *, is_whole: bool) -> None:
        """Note that the last page is read.

        Args:
            is_whole: Whether all that is kept was read; not so where some was dropped meanwhile.
        """
        found, self._found, self.reading = self._found, State.UNKNOWN, None
        if self.state is not State.UNKNOWN:
            return  # it was heard meanwhile, and that is newer
        if is_whole:
            self.state = State.NO_RUN if found is State.UNKNOWN else found
        else:
            self._heard_at = None

    def rest(self) -> None:
        """Note that nobody waits for what the run says until it has streams again."""
        self._heard_at = self.reading = None
        self._found = State.UNKNOWN

    def stood_still(self, seconds: float) -> None:
        """Do not count a time in which nothing could be heard; the producer may have stood still as well."""
        if self._heard_at is not None:
            self._heard_at += seconds

    def missed(self) -> None:
        """Note that events are missing, and the end may be among them."""
        self.state = State.UNKNOWN

    def look(self, now: float, *, hears: bool) -> Now:
        """Return what is to be done.

        Args:
            now: The time, in seconds.
            hears: Whether the run has begun and whatever it says would be heard.
        """
        if self.state is State.LOST:
            self._lost_at = now if self._lost_at is None else self._lost_at
            self.may_return = now - self._lost_at < RETURN_SECONDS
        if self.state in {State.OVER, State.LOST}:
            # One look later, so that the end is written before the streams are ended.
            is_told, self._is_told = self._is_told, True
            return Now.END_STREAMS if is_told else Now.LOOK_SOON
        if not hears or self._heard_at is None:
            self._heard_at = now
            return Now.NOTHING
        if self.state is State.NO_RUN:
            return Now.NOTHING
        if now - self._heard_at < LOST_SECONDS:
            return Now.NOTHING
        if self.state is State.UNKNOWN:
            return Now.READ_HISTORY
        self.state, self._lost_at = State.LOST, now
        return Now.TELL_LOST

    def next_due(self) -> float | None:
        """Return when ``look`` has something to do, if nothing is heard until then; ``None`` for nothing."""
        if self.state in {State.OVER, State.LOST}:
            return None if self._is_told else SOON
        if self.state is State.NO_RUN:
            return None
        return SOON if self._heard_at is None else self._heard_at + LOST_SECONDS


def _after(state: State, frame: Frame | None) -> State:
    match frame:
        case BeginFrame():
            return State.WORKING
        case EndFrame():
            return State.OVER
        case AliveFrame() if state is not State.OVER:
            # For a history that does not reach back to the beginning. A run that was cancelled may say it
            # once more.
            return State.WORKING
    return State.WORKING if state is State.LOST else state
