"""Run: what a producer writes on a channel of its own, besides what it produces.

It says when it begins, that it is alive while it is silent, and why it ended. These are ordinary events; the
hub tells pages of the end in its own words.
"""

from __future__ import annotations

from .message import Message

RUN_PREFIX = "run:"
BEGIN_TYPE = "run-begin"
ALIVE_TYPE = "run-alive"
END_TYPE = "run-end"
# How often a silent producer says that it is alive, and after how long a silence it counts as dead: a few of
# its words may be late.
ALIVE_SECONDS = 5.0
LOST_SECONDS = 20.0

_CANCEL = ":cancel"

FINISHED = "finished"
FAILED = "failed"
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"
LOST = "lost"


def is_cancel_channel(channel: str) -> bool:
    """Tell whether a channel is the one on which a run is told to end."""
    return channel.endswith(_CANCEL)


def is_run(channel: str) -> bool:
    """Tell whether a channel is that of a run."""
    return channel.startswith(RUN_PREFIX)


def begun() -> Message:
    """Return the first event of a run, and of each later attempt at the same one."""
    return Message("", BEGIN_TYPE)


def alive() -> Message:
    """Return what a producer says while it has nothing else to say."""
    return Message("", ALIVE_TYPE)


def ended(reason: str) -> Message:
    """Return the last event of a run."""
    return Message({"reason": reason}, END_TYPE)


def cancel_channel(channel: str) -> str:
    """Return the channel on which a run is told to end; it has an event once that has been said."""
    return f"{channel}{_CANCEL}"
