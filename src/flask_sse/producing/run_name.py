"""The channel of a run: its name, made and checked."""

from __future__ import annotations

import secrets
from typing import Any

from ..channels import check_channel
from ..errors import InvalidChannelError, UsageError
from ..wire.run import RUN_PREFIX, is_run


def new_run(name: str | None = None, *, prefix: str | None = None) -> str:
    """Return the channel of a new run.

    Args:
        name: What it is to be called, such as ``"export-7"``. Others may guess it, and one producer at a time
            works on it. ``None`` for a name that cannot be guessed.
        prefix: What such a name begins with, such as ``"ann-"``; ``None`` for nothing.

    Raises:
        UsageError: If both are given.
        InvalidChannelError: If the name is empty, cannot be that of a channel, or has more than 196 bytes.
    """
    if name is not None and prefix is not None:
        raise UsageError("new_run() takes a name that is exact, or a prefix of one that cannot be guessed")
    if name is None:
        name = (prefix or "") + secrets.token_urlsafe(16)
    return _channel_of(name)


def _channel_of(name: Any) -> str:
    if not isinstance(name, str):
        raise InvalidChannelError(name, "the name of a run must be a string")
    if not name:
        raise InvalidChannelError(RUN_PREFIX, "the name is empty; new_run() gives one that cannot be guessed")
    return check_channel(RUN_PREFIX + name)


def check_run(channel: str) -> str:
    """Return a channel if it is that of a run.

    Raises:
        UsageError: If not.
    """
    channel = check_channel(channel)
    if not is_run(channel):
        raise UsageError(f"{channel!r} is no run: new_run() gives their channels")
    return _channel_of(channel.removeprefix(RUN_PREFIX))
