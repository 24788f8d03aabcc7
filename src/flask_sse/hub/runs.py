"""What the hub knows of the runs on its channels: whether they are over and whether they live. No I/O."""

from __future__ import annotations

import json
from enum import Enum

from ..wire.cursor import END_ID
from ..wire.encode import encode_event
from ..wire.envelope import unpack
from ..wire.frame import Frame
from ..wire.run import BEGIN_TYPE, END_TYPE, LOST_SECONDS
from .notices import STREAM_END

# Sets the client's last event id and is no event itself (WHATWG HTML 9.2.6).
OVER = encode_event(id=END_ID)
_MARK = b'"run-'
# Before any time of a clock.
SOON = 0.0


class BeginFrame(Frame):
    """The beginning of a run, or of another attempt at it."""

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
        if message.type == END_TYPE and isinstance(message.data, dict):
            return EndFrame(channel, str(message.data.get("reason")))
    return Frame.of_envelope(envelope)


class Now(Enum):
    """What is to be done about a run."""

    NOTHING = 0
    TELL_LOST = 1
    LOOK_SOON = 2
    END_STREAMS = 3


class Run:
    """The run on one channel.

    Attributes:
        is_over: Whether its end was told.
    """

    __slots__ = ("_heard_at", "_is_told", "is_over")

    def __init__(self) -> None:
        self._heard_at: float | None = None
        self.is_over = False
        self._is_told = False

    def heard(self, frame: Frame | None) -> None:
        """Note that an event came; ``None`` stands for what is no event."""
        self._heard_at = None
        if isinstance(frame, EndFrame | BeginFrame):
            # A producer that was told to end may go on for a moment.
            self.is_over = isinstance(frame, EndFrame)
            self._is_told = False

    def rest(self) -> None:
        """Note that nothing that the run says is heard until it has streams again."""
        self._heard_at = None

    def look(self, now: float, *, hears: bool) -> Now:
        """Return what is to be done.

        Args:
            now: The time, in seconds.
            hears: Whether the run has begun and whatever it says would be heard.
        """
        if self.is_over:
            # One look later, so that the end is written before the streams are ended.
            is_told, self._is_told = self._is_told, True
            return Now.END_STREAMS if is_told else Now.LOOK_SOON
        if not hears or self._heard_at is None:
            self._heard_at = now
            return Now.NOTHING
        if now - self._heard_at < LOST_SECONDS:
            return Now.NOTHING
        self.is_over = True
        return Now.TELL_LOST

    def next_due(self) -> float | None:
        """Return when ``look`` has something to do, if nothing is heard until then; ``None`` for nothing."""
        if self.is_over:
            return None if self._is_told else SOON
        return SOON if self._heard_at is None else self._heard_at + LOST_SECONDS
