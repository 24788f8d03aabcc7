"""What the hub itself says on a stream.

Its JSON is ASCII: that can be encoded whatever texts are in it.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Sequence

from ...wire.cursor import END_ID, Cursor
from ...wire.encode import encode_comment, encode_event
from ..protocol.stream_request import ENVELOPES

# Where there is no room, and where no hub answers, which is over soon more often.
REFUSED_RETRY_MS = (30_000, 90_000)
UNREACHED_RETRY_MS = (5_000, 15_000)
STREAM_OPEN = "stream-open"
STREAM_RESET = "stream-reset"
STREAM_END = "stream-end"

BROKER_AWAY = encode_comment("the broker cannot be reached; events come as soon as it is back")

# Of its own: where the hub is a thread, an application that seeds Python's would make all streams alike.
jitter = random.Random()  # noqa: S311 - spreads load


def reconnect_in(range_ms: tuple[int, int], last_event_id: str = "") -> bytes:
    """Return the reconnection time of one stream, drawn from a range.

    Args:
        range_ms: Lower and upper end, in milliseconds.
        last_event_id: What the client came back with. A reader that takes the standard by its letter
            forgets it at the first empty line (WHATWG HTML 9.2.6), so it is said again.
    """
    return encode_event(id=last_event_id or None, retry_ms=jitter.randint(*range_ms))


def goodbye(mode: str, retry_ms: tuple[int, int]) -> bytes:
    """Return the last bytes of a stream that the hub ends: when to come back."""
    return b"" if mode == ENVELOPES else reconnect_in(retry_ms)


def refused(mode: str, reason: str, retry_ms: tuple[int, int] = REFUSED_RETRY_MS) -> bytes:
    """Return the whole body of a stream that is refused politely: why, and a long time to wait.

    Any status but 200 would end a browser's ``EventSource`` for good.
    """
    if mode == ENVELOPES:
        return b""
    return encode_comment(reason) + reconnect_in(retry_ms)


def ask_again(mode: str, retry_ms: tuple[int, int]) -> bytes:
    """Return the last bytes of a stream whose right may be older than a revocation: when to reconnect."""
    return refused(mode, "rights were revoked meanwhile; reconnect, so that yours is checked again", retry_ms)


def stream_open(channels: Sequence[str], last_event_id: str) -> bytes:
    """Return the event that begins a stream of a client that resumes nothing: what comes, comes from here.

    Args:
        channels: Those that have a history.
        last_event_id: The position, as the client will name it when it comes back.
    """
    return encode_event(_channels_json(tuple(channels)), event=STREAM_OPEN, id=last_event_id)


@functools.lru_cache(maxsize=64)
def _channels_json(channels: tuple[str, ...]) -> str:
    return json.dumps({"channels": channels})


def stream_end(mode: str, reason: str) -> bytes:
    """Return the last event of a stream that its client is not to open again."""
    if mode == ENVELOPES:
        return b""
    return encode_event(json.dumps({"reason": reason}), event=STREAM_END, id=END_ID)


def stream_reset(channel: str, reason: str, since: str, to: Cursor, last_event_id: str) -> bytes:
    """Return the event that tells of a gap: events of a channel may be missing, fetch your state again.

    Args:
        channel: Which one.
        reason: Why nothing better can be said.
        since: The position before the gap, as far as it is known.
        to: The position behind it.
        last_event_id: The position of the whole stream, as the client will name it when it comes back.
    """
    data = json.dumps({"channel": channel, "reason": reason, "from": since or None, "to": str(to)})
    return encode_event(data, event=STREAM_RESET, id=last_event_id)
