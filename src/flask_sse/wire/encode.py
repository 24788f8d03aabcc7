"""Event-stream bytes out of checked fields.

Rules of this file: values are checked before they come here (``wire.message``), except that line
breaks in data and comments are part of the format and are handled here. 1.0's bytes are kept: field
order event, data, id, retry, and a space after the colon only where the value itself begins with
one, because a reader takes one leading space away (WHATWG HTML 9.2.6).
"""

from __future__ import annotations

import re

# Not str.splitlines(): that also splits at VT, FF, FS, GS, RS, NEL, U+2028 and U+2029.
_LINE_BREAK = re.compile("\r\n|\r|\n")

HEARTBEAT = b":\n\n"


def encode_event(
    data: str | None = None,
    *,
    event: str | None = None,
    id: str | None = None,  # noqa: A002 - the field's name in the standard
    retry_ms: int | None = None,
) -> bytes:
    r"""Encode one event, ready to be sent.

    Args:
        data: The payload; ``None`` writes no data field, so that a reader fires no event.
        event: The event type; ``None`` or empty writes none.
        id: The event id; the empty string resets the reader's last event id, ``None`` keeps it.
        retry_ms: The reader's reconnection time; ``None`` keeps it.

    Returns:
        UTF-8 bytes that end with exactly one blank line; ``b""`` where there is no field.

    Example:
        >>> encode_event("Hello\nworld", event="greeting")
        b'event:greeting\ndata:Hello\ndata:world\n\n'
    """
    lines = []
    if event:
        lines.append(_field("event", event))
    if data is not None:
        lines += [_field("data", line) for line in _LINE_BREAK.split(data)]
    if id is not None:
        lines.append(_field("id", id))
    if retry_ms is not None:
        lines.append(f"retry:{retry_ms:d}")
    if not lines:
        return b""
    return ("\n".join(lines) + "\n\n").encode()


def encode_comment(text: str) -> bytes:
    """Encode a comment, which no reader shows to a page."""
    return ("\n".join(f":{line}" for line in _LINE_BREAK.split(text)) + "\n\n").encode()


def _field(name: str, value: str) -> str:
    return f"{name}: {value}" if value.startswith(" ") else f"{name}:{value}"
