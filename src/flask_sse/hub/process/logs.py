"""Logging of a hub process: to standard error, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time

_TEXT = "%(asctime)s hub %(process)d %(message)s"


class _JSON(logging.Formatter):
    """One JSON object per line, for programs that collect logs. ``time`` is UTC, as RFC 3339 has it."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def log_to_stderr(level: str, *, json_logs: bool) -> None:
    """Write all that is logged in this process, from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSON() if json_logs else logging.Formatter(_TEXT))
    logging.basicConfig(handlers=[handler], level=level)
