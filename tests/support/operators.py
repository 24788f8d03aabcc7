"""``flask-sse hub``, started as an operator does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .processes import Process
from .webservers import SCRIPTS

URL = "memory://operator"


def operated(
    path: Path, *options: str, env: Mapping[str, str] | None = None, ready: str | None = "ready at"
) -> Process:
    """Start the command with a socket at ``path``; by default its hub has the broker ``URL``."""
    argv: list[str | Path] = [SCRIPTS / "flask-sse", "hub", "--socket", path, *options]
    return Process(argv, {"SSE_BROKER_URL": URL, **(env or {})}, ready=ready)
