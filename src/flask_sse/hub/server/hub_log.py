"""Log of a hub: warnings that may come often are throttled, and a crash is reported with what led to it."""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from ...version import __version__

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 60.0
_STARTED = time.monotonic()


class HubLog:
    """Writes the log of one hub; used on its loop only.

    Args:
        status: Returns the counts of the hub, for crash reports.

    Attributes:
        doing: What the hub is doing, with the names of channels.
    """

    def __init__(self, status: Callable[[], Mapping[str, object]]) -> None:
        self.doing: tuple[str, ...] = ("start",)
        self._status = status
        self._logged_at: dict[str, float] = {}

    def throttled_warning(self, topic: str, text: str, *details: object) -> None:
        """Log what may come often, at most once per minute and topic."""
        if self._is_due(topic):
            logger.warning(text, *details)

    def throttled_info(self, topic: str, text: str, *details: object) -> None:
        """Log what may come often and is no trouble, at most once per minute and topic."""
        if self._is_due(topic):
            logger.info(text, *details)

    def crash(self, error: BaseException | None) -> None:
        """Report what failed; of the same kind once per minute."""
        if self._is_due(f"crash {type(error).__name__} {self.doing[0]}"):
            log_crash(logger, error, " ".join(map(ascii, self.doing)), self._status())

    def _is_due(self, topic: str) -> bool:
        # The system's clock, not the loop's, which tests set forward.
        now = time.monotonic()
        if now - self._logged_at.get(topic, -LOG_EVERY_SECONDS) < LOG_EVERY_SECONDS:
            return False
        self._logged_at[topic] = now
        return True


def log_crash(
    crashed: logging.Logger, error: BaseException | None, doing: str, status: Mapping[str, object]
) -> None:
    """Write a crash report, or what can be written of it without memory."""
    try:
        crashed.error("%s", crash_report(error, doing, status))
    except MemoryError:
        crashed.error("crash report: out of memory")


def crash_report(error: BaseException | None, doing: str, status: Mapping[str, object]) -> str:
    """Return a text of some lines that says what failed, what the hub was doing and its counts.

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
