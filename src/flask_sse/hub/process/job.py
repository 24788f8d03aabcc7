"""Job: what a hub process is to do, as its parent writes it to the standard input, and its exit codes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

# The descriptors of a process that an application starts.
JOB_FD, LOCK_FD = 0, 3

# Exit codes, of this process and of the command.
ENDED = 0
FAILED = 1
BAD_USAGE = 2
IN_USE = 3
NOT_REPLACED = 4

# For the parent only.
REPLACED = 5

# Commands that the parent may write behind the job.
DRAIN, STOP = b"drain\n", b"stop\n"


@dataclass(frozen=True, slots=True)
class Job:
    """What a hub process is to do.

    Attributes:
        path: Where applications look for it.
        config: What ``hub_config`` returns.
        processes: How many hubs share the streams.
        lock: The descriptor of the lock that comes with it; ``None`` with ``replaces`` or a parent.
        listener: The descriptor of a listening socket that its parent keeps open; ``None`` where it has none.
        replaces: Whether it takes the place of the hub that is there, by a handover.
        only_if_older: Whether it does so only if that hub is of an older release.
        log_level: From where on it writes to its log.
        json_logs: Whether it writes one JSON object per line.
    """

    path: str
    # It has the URL of the broker, with its password.
    config: dict[str, Any] = field(repr=False)
    processes: int = 1
    lock: int | None = None
    listener: int | None = None
    replaces: bool = False
    only_if_older: bool = False
    log_level: str = "INFO"
    json_logs: bool = False

    def line(self) -> str:
        """Return what is written to the standard input of the process."""
        # A line, for the end of the file may not come: a fork of another thread copies the pipe.
        return json.dumps(asdict(self)) + "\n"
