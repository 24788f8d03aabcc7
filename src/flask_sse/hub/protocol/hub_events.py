"""Events of the hub itself on a stream: open, reset, end, and when to reconnect. No I/O, no clock.

Their JSON is ASCII, which can be encoded whatever texts are in it. A reader of ``messages()`` gets blocks and
no events, so for ``ENVELOPES`` most of these functions return nothing. Delays are drawn by the caller:
thousands of clients that are rejected at once must not reconnect at once.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

from ...wire.cursor import END_ID, Cursor
from ...wire.encode import encode_comment, encode_event
from .stream_request import ENVELOPES

# Where there is no room, and where no hub answers, which is over soon more often.
REJECTED_RETRY_MS = (30_000, 90_000)
UNREACHED_RETRY_MS = (5_000, 15_000)
STREAM_OPEN = "stream-open"
STREAM_RESET = "stream-reset"
STREAM_END = "stream-end"

BROKER_AWAY = encode_comment("the broker cannot be reached; events come as soon as it is back")


def reconnect_in(retry_ms: int, last_event_id: str = "") -> bytes:
    """Return the reconnection time of one stream.

    Args:
        retry_ms: In milliseconds.
        last_event_id: What the client sent as such. A reader that takes the standard by its letter forgets
            it at the first empty line (WHATWG HTML 9.2.6), so it is sent again.
    """
    return encode_event(id=last_event_id or None, retry_ms=retry_ms)


def goodbye(mode: str, retry_ms: int) -> bytes:
    """Return the last bytes of a stream that the hub ends: when to reconnect."""
    return b"" if mode == ENVELOPES else reconnect_in(retry_ms)


def rejection(mode: str, reason: str, retry_ms: int) -> bytes:
    """Return the whole body of a stream that is rejected: why, and when to reconnect.

    The status stays 200, because any other one would end a browser's ``EventSource`` for good.
    """
    if mode == ENVELOPES:
        return b""
    return encode_comment(reason) + reconnect_in(retry_ms)


def authorize_again(mode: str, retry_ms: int) -> bytes:
    """Return the last bytes of a stream whose right may be older than a revocation: when to reconnect."""
    reason = "rights were revoked meanwhile; reconnect, so that yours is checked again"
    return rejection(mode, reason, retry_ms)


def stream_open(channels: Sequence[str], last_event_id: str) -> bytes:
    """Return the event that begins a stream of a client that resumes nothing: events come from here on.

    Args:
        channels: Those that have a history.
        last_event_id: The position, as the client will name it when it reconnects.
    """
    return encode_event(_channels_json(tuple(channels)), event=STREAM_OPEN, id=last_event_id)


@functools.lru_cache(maxsize=64)
def _channels_json(channels: tuple[str, ...]) -> str:
    return json.dumps({"channels": channels})


def stream_end(mode: str, reason: str) -> bytes:
    """Return the last event of a stream that its client must not open again."""
    if mode == ENVELOPES:
        return b""
    return encode_event(json.dumps({"reason": reason}), event=STREAM_END, id=END_ID)


def stream_reset(channel: str, reason: str, since: str, to: Cursor, last_event_id: str) -> bytes:
    """Return the event that reports a gap: events of a channel may be missing, fetch your state again.

    Args:
        channel: Which one.
        reason: Why nothing better can be said.
        since: The position before the gap, as far as it is known.
        to: The position behind it.
        last_event_id: The position of the whole stream, as the client will name it when it reconnects.
    """
    data = json.dumps({"channel": channel, "reason": reason, "from": since or None, "to": str(to)})
    return encode_event(data, event=STREAM_RESET, id=last_event_id)
