"""Channel names, checked where one enters the package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .errors import InvalidChannelError
from .wire.run import RUN_CONTROL_PREFIX
from .wire.text import flaw_of_line, plain_text

DEFAULT_CHANNEL = "sse"
MAX_CHANNEL_BYTES = 200
# Carries revocations to the hubs; no page can listen to it and no application can publish on it.
CONTROL_CHANNEL = "flask-sse:control"
# Carries the state of a hub; it comes from no broker, and only an application's own page gets it.
STATUS_CHANNEL = "flask-sse:status"
_RESERVED = (CONTROL_CHANNEL, STATUS_CHANNEL)


def is_reserved(name: str) -> bool:
    """Tell whether a channel is one of ours, that no page can ask for and no application can publish on."""
    return name in _RESERVED or name.startswith(RUN_CONTROL_PREFIX)


def check_channel(name: Any) -> str:
    """Return ``name``, as a plain string, if it can be a channel: 1 to 200 bytes, no control characters.

    Raises:
        InvalidChannelError: If not.
    """
    if not isinstance(name, str):
        raise InvalidChannelError(name, "it must be a string")
    if not name:
        raise InvalidChannelError(name, "it is empty")
    if is_reserved(name):
        raise InvalidChannelError(name, "it is reserved")
    flaw = flaw_of_line(name, MAX_CHANNEL_BYTES)
    if flaw is not None:
        raise InvalidChannelError(name, flaw)
    return plain_text(name)


def requested_channels(names: Iterable[str]) -> tuple[str, ...]:
    """Return the channels that a request names, each once, in its order.

    An empty name is the default channel, as in 1.0, and so is no name at all.

    Raises:
        InvalidChannelError: If a name cannot be a channel.
    """
    channels = (check_channel(name or DEFAULT_CHANNEL) for name in names)
    return tuple(dict.fromkeys(channels)) or (DEFAULT_CHANNEL,)
