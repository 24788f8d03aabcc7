"""What is written down when something fails in the hub: enough to find out why."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Mapping

from ...version import __version__

if sys.platform != "win32":
    import resource

_STARTED = time.monotonic()


def crash_report(error: BaseException | None, doing: str, status: Mapping[str, object]) -> str:
    """Return a text of some lines that says what failed, what the hub was doing and how it was.

    It has no data of events: only names of channels, counts, and our own lines of code.
    """
    lines = [
        f"crash report: {type(error).__name__}: {error}" if error else "crash report",
        f"  doing: {doing}",
        f"  status: {' '.join(f'{name}={value}' for name, value in status.items())}",
        f"  up for {time.monotonic() - _STARTED:.0f} s{_resources()}",
        f"  Flask-SSE {__version__}, Python {platform.python_version()}, {sys.platform}",
    ]
    if error is not None:
        lines += [line.rstrip() for line in traceback.format_exception(error)]
    return "\n".join(lines)


def _resources() -> str:
    if sys.platform == "win32":
        return ""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        descriptors = str(len(os.listdir("/dev/fd")))  # noqa: PTH208 - numbers, not paths
    except OSError:
        descriptors = "all"  # none is left to look
    return f", at most {most} KiB of memory, {descriptors} of {soft} descriptors"


def log_crash(
    logger: logging.Logger, error: BaseException | None, doing: str, status: Mapping[str, object]
) -> None:
    """Write a report, or what can be written of it without memory."""
    try:
        logger.error("%s", crash_report(error, doing, status))
    except MemoryError:
        logger.error("crash report: out of memory")  # noqa: TRY400 - there is no room for more
