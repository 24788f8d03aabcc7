"""Warnings at the line of the application that caused them."""

from __future__ import annotations

import sys
import warnings

# Of the frames between that line and ours.
_NOT_THE_APPLICATION = {"flask_sse", "flask", "werkzeug", "click"}


def warn_caller(text: str) -> None:
    """Warn at the innermost line that is neither ours nor Flask's.

    A number of frames would not do: the same check is reached from several depths.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - what warnings itself uses
    while frame.f_back is not None and _package(frame.f_globals) in _NOT_THE_APPLICATION:
        frame = frame.f_back
    warnings.warn_explicit(
        text,
        UserWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _package(module: dict[str, object]) -> str:
    return str(module.get("__name__", "")).partition(".")[0]
