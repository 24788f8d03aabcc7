"""Run: what a producer writes on a channel of its own, besides what it produces.

It says when it begins, that it is alive while it is silent and before what is kept has no such mark, and why
it ended. These are ordinary events; the hub tells pages of the end in its own words.
"""

from __future__ import annotations

from collections.abc import Collection

from ..errors import InvalidMessageError
from .message import Message

RUN_PREFIX = "run:"
# Channels on which producers tell each other where a run stands; applications and pages cannot name one.
RUN_CONTROL_PREFIX = "flask-sse:run:"
_STATE_PREFIX = f"{RUN_CONTROL_PREFIX}state:"
BEGIN_TYPE = "run-begin"
ALIVE_TYPE = "run-alive"
END_TYPE = "run-end"
# What only a run itself says on its channel.
OWN_TYPES = frozenset((BEGIN_TYPE, ALIVE_TYPE, END_TYPE))
# How often a silent producer says that it is alive, and after how long a silence it counts as dead: a few of
# its words may be late.
ALIVE_SECONDS = 5.0
LOST_SECONDS = 20.0

FINISHED = "finished"
FAILED = "failed"
CANCELLED = "cancelled"
INTERRUPTED = "interrupted"
LOST = "lost"


def is_run(channel: str) -> bool:
    """Tell whether a channel is that of a run."""
    return channel.startswith(RUN_PREFIX)


def state_channel(channel: str) -> str:
    """Return where producers write what becomes of a run."""
    return _STATE_PREFIX + channel.removeprefix(RUN_PREFIX)


def lease_channel(channel: str) -> str:
    """Return where the producer of a run says that it works on it."""
    return f"{RUN_CONTROL_PREFIX}lease:{channel.removeprefix(RUN_PREFIX)}"


def check_type(event_type: str | None, channel: str, own: Collection[str] = OWN_TYPES) -> None:
    """Refuse an event of an application that says what only a run itself says on its channel.

    Args:
        event_type: Its type.
        channel: Where it is to be published.
        own: What only a run says.

    Raises:
        InvalidMessageError: If it does.
    """
    if event_type in own and is_run(channel):
        raise InvalidMessageError("type", event_type, f"on {channel!r} only the run itself says that")


def begun() -> Message:
    """Return the first event of a run, and of each later attempt at the same one."""
    return Message("", BEGIN_TYPE)


def alive() -> Message:
    """Return what a producer says while it has nothing else to say."""
    return Message("", ALIVE_TYPE)


def ended(reason: str) -> Message:
    """Return the last event of a run."""
    return Message({"reason": reason}, END_TYPE)
