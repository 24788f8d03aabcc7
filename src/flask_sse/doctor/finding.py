"""Finding: one thing that is right or wrong with a stream, and the configuration that fixes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["problem", "warning", "fine"]
# Lines of configuration, by the program that reads them.
Fix = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        severity: A ``problem`` keeps events from pages; a ``warning`` may, or has a cost; ``fine`` is right.
        title: What it is, in a few words.
        seen: What was observed, with figures.
        why: Why it matters, in a sentence; empty if nothing is wrong.
        hint: The fix for each program, of which one is enough; empty if nothing is wrong.
    """

    severity: Severity
    title: str
    seen: str
    why: str = ""
    hint: Fix = field(default_factory=dict)


def problem(title: str, seen: str, why: str, hint: Fix) -> Finding:
    """Return a finding that keeps events from pages."""
    return Finding("problem", title, seen, why, hint)


def warning(title: str, seen: str, why: str, hint: Fix) -> Finding:
    """Return a finding that may keep events from pages, or has a cost."""
    return Finding("warning", title, seen, why, hint)


def fine(title: str, seen: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding("fine", title, seen)


def duration(seconds: float) -> str:
    """Return a time for people."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
