"""Runs: whether the run on a channel works, is lost or is over, and its frames. No I/O, no clock."""

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
END_OF_RUN = encode_event(id=END_ID)
_RUN_TYPE = b'"run-'
# Earlier than any time of a clock.
AT_NEXT_TICK = 0.0
# Its worker may only have been paused, so the pages of a lost run reconnect for a while. The longest delay is
# shorter than the time for which channels without streams are kept, so that the hub still knows the state.
LOST_RETRY_MS = (20_000, 40_000)
RETURN_SECONDS = 300.0


class BeginFrame(Frame):
    """The beginning of a run, or of another attempt at it."""

    __slots__ = ()


class AliveFrame(Frame):
    """The heartbeat of a run that has nothing to publish."""

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
    if _RUN_TYPE in envelope:
        message = unpack(envelope)
        if message.type == BEGIN_TYPE:
            return BeginFrame.of_message(message)
        if message.type == ALIVE_TYPE:
            return AliveFrame.of_message(message)
        if message.type == END_TYPE and isinstance(message.data, dict):
            return EndFrame(channel, str(message.data.get("reason")))
    return Frame.of_envelope(envelope)


def run_frames_in(channel: str, entries: Sequence[Entry]) -> Iterator[Frame]:
    """Yield the frames of a page that tell the state of a run: begin, alive and end."""
    for entry in entries:
        if _RUN_TYPE in entry.envelope:
            with suppress(InvalidMessageError):
                yield frame_of(channel, entry.envelope)


class State(Enum):
    """What is known of a run.

    A hub that has only begun, and one that has missed events, knows nothing until the run begins or ends, or
    until it has read the history.
    """

    UNKNOWN = 0
    WORKING = 1
    # Only this hub says so; the history does not. Any event of the run makes it work again.
    LOST = 2
    OVER = 3
    # No run, but a channel whose name begins like that of one.
    NO_RUN = 4


class RunAction(Enum):
    """What ``Run.check`` asks for."""

    NOTHING = 0
    READ_HISTORY = 1
    REPORT_LOST = 2
    CHECK_AGAIN = 3
    END_STREAMS = 4


class Run:
    """The run on one channel, if there is one: a begin event makes it one, not the channel's name.

    Attributes:
        state: What is known of it.
        may_return: Of a lost run, whether its pages are to reconnect.
        pending_read: The number of the read that is on its way to find the state out.
    """

    __slots__ = (
        "_end_written",
        "_found",
        "_last_event_at",
        "_lost_at",
        "may_return",
        "pending_read",
        "state",
    )

    def __init__(self) -> None:
        self._last_event_at: float | None = None
        self._lost_at: float | None = None
        self._end_written = False
        self._found = State.UNKNOWN
        self.state = State.UNKNOWN
        self.may_return = True
        self.pending_read: int | None = None

    def note_event(self, frame: Frame | None) -> None:
        """Note that an event arrived; ``None`` stands for what is no event."""
        self._last_event_at = None
        state = _after(self.state, frame)
        if state is not self.state:
            self.state, self._end_written = state, False

    def note_replay(self, frames: Iterable[Frame | None]) -> None:
        """Note what the history has before the position of the channel, up to there."""
        if self.state is State.UNKNOWN:
            self.state = reduce(_after, frames, State.UNKNOWN)

    def add_page(self, frames: Iterable[Frame]) -> None:
        """Note the next page that was read to find out the state."""
        self._found = reduce(_after, frames, self._found)

    def finish_read(self, *, is_whole: bool) -> None:
        """Note that the last page was added.

        Args:
            is_whole: Whether all that is kept was read; not so where some was dropped meanwhile.
        """
        found, self._found, self.pending_read = self._found, State.UNKNOWN, None
        if self.state is not State.UNKNOWN:
            return  # an event arrived meanwhile, and it is newer than the pages
        if is_whole:
            self.state = State.NO_RUN if found is State.UNKNOWN else found
        else:
            self._last_event_at = None

    def stop_watching(self) -> None:
        """Note that the channel has no streams, so that silence says nothing until it has some again."""
        self._last_event_at = self.pending_read = None
        self._found = State.UNKNOWN

    def exclude_pause(self, seconds: float) -> None:
        """Do not count a pause of this hub as silence of the run; its producer may have paused as well."""
        if self._last_event_at is not None:
            self._last_event_at += seconds

    def note_gap(self) -> None:
        """Note that events are missing, and the end may be among them."""
        self.state = State.UNKNOWN

    def check(self, now: float, *, is_receiving: bool) -> RunAction:
        """Return what is to be done.

        Args:
            now: The time, in seconds.
            is_receiving: Whether the run has begun and each of its events would arrive.
        """
        if self.state is State.LOST:
            self._lost_at = now if self._lost_at is None else self._lost_at
            self.may_return = now - self._lost_at < RETURN_SECONDS
        if self.state in {State.OVER, State.LOST}:
            # One check later, so that the end is written before the streams are ended.
            end_written, self._end_written = self._end_written, True
            return RunAction.END_STREAMS if end_written else RunAction.CHECK_AGAIN
        if not is_receiving or self._last_event_at is None:
            self._last_event_at = now
            return RunAction.NOTHING
        if self.state is State.NO_RUN:
            return RunAction.NOTHING
        if now - self._last_event_at < LOST_SECONDS:
            return RunAction.NOTHING
        if self.state is State.UNKNOWN:
            return RunAction.READ_HISTORY
        self.state, self._lost_at = State.LOST, now
        return RunAction.REPORT_LOST

    def next_due(self) -> float | None:
        """Return when ``check`` asks for something, if no event arrives until then; ``None`` for never."""
        if self.state in {State.OVER, State.LOST}:
            return None if self._end_written else AT_NEXT_TICK
        if self.state is State.NO_RUN:
            return None
        return AT_NEXT_TICK if self._last_event_at is None else self._last_event_at + LOST_SECONDS


def _after(state: State, frame: Frame | None) -> State:
    match frame:
        case BeginFrame():
            return State.WORKING
        case EndFrame():
            return State.OVER
        case AliveFrame() if state is not State.OVER:
            # For a history that does not reach back to the beginning. A run that was cancelled may send one
            # more heartbeat, which must not bring it back.
            return State.WORKING
    return State.WORKING if state is State.LOST else state
