"""Texts that applications give: what each later reader needs of them, checked where they come in.

They are plain strings from there on. They are written into event streams, JSON, logs and terminals, and
browsers send some of them back in an HTTP header. Web servers and proxies answer a header with control
characters with 400.
"""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def plain_text(text: str) -> str:
    """Return the characters of a string alone.

    ``str()`` and f-strings of a member of ``class Room(str, Enum)`` give its name, and its hash differs from
    that of the string that it is equal to.
    """
    return str.__str__(text)


def flaw_of_line(text: str, max_bytes: int | None = None) -> str | None:
    """Return why a text cannot be one line of an event, a log or a header; ``None`` if it can.

    Args:
        text: What to look at.
        max_bytes: Longest UTF-8; ``None`` for any length.
    """
    if _CONTROL.search(text):
        return "it must not hold control characters"
    return flaw_of_text(text, max_bytes)


def flaw_of_text(text: str, max_bytes: int | None = None) -> str | None:
    """Return why a text cannot be UTF-8 of that length; ``None`` if it can."""
    # No character takes less than a byte, so a long text is not encoded to know that it is too long.
    if max_bytes is None or len(text) <= max_bytes:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            return "it holds a lone surrogate, not a character"
        if max_bytes is None or size <= max_bytes:
            return None
    return f"it must not be longer than {max_bytes} bytes"
