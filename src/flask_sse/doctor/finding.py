"""Finding: one thing that is right or wrong with a stream, and what to write where to hint it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["problem", "warning", "fine"]
# What to write, by the program whose configuration it is.
Mend = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        severity: A ``problem`` keeps events from pages; a ``warning`` may, or costs something; the rest is
            ``fine``.
        title: What it is, in a few words.
        seen: What was seen, with figures.
        why: Why it matters, in a sentence; empty where all is well.
        hint: Lines of configuration, of which one program's are enough; empty where all is well.
    """

    severity: Severity
    title: str
    seen: str
    why: str = ""
    hint: Mend = field(default_factory=dict)


def span(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
