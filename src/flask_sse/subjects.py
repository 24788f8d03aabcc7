"""Subjects: the user that a stream belongs to, checked where one enters the package."""

from __future__ import annotations

from typing import Any

from .errors import UsageError
from .wire.text import flaw_of_text, plain_text

MAX_SUBJECT_CHARACTERS = 256


def checked_subject(subject: Any) -> str | None:
    """Return a subject as text, the same for a stream, a ticket and ``disconnect``.

    Raises:
        UsageError: If it cannot be one.
    """
    if subject is None:
        return None
    text = plain_text(subject if isinstance(subject, str) else str(subject))
    if len(text) > MAX_SUBJECT_CHARACTERS:
        raise UsageError(f"a subject of {len(text)} characters, the most is {MAX_SUBJECT_CHARACTERS}")
    if (flaw := flaw_of_text(text)) is not None:
        raise UsageError(f"{text!a} cannot be a subject: {flaw}")
    return text
