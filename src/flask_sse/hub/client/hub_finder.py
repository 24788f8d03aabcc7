"""Discovery of the hub of this machine, user and configuration; an automatic one is started on demand."""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from pathlib import Path

from ...brokers.deadline import deadline_extended
from ...errors import HubUnavailableError, ProtocolError
from ...settings import Settings
from ...version import is_older
from ..process.job import Job
from ..protocol.packet import ANSWER_SECONDS
from ..server.control_listener import numbered
from .config import hub_config
from .hub_connection import HubConnection, OlderHubError
from .launcher import start, start_unless_locked
from .runtime_directory import hub_path

logger = logging.getLogger(__name__)

START_SECONDS = 10.0
_RETRY_SECONDS = 0.02
_MAX_STARTS = 2


class HubFinder:
    """Finds one hub; starts it if it is an automatic one.

    An automatic hub of an older release is replaced by one of this release, which gets its streams.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._renewed_at: float | None = None

    def connect(self, number: int = 0) -> HubConnection:
        """Return a new connection.

        Args:
            number: To which of an operator's hubs, where several share the streams.

        Raises:
            HubUnavailableError: If no hub answered and none could be started.
        """
        if self._settings.hub == "auto":
            return self._connect_or_start(hub_path(self._settings))
        path = numbered(Path(self._settings.hub.removeprefix("unix:")), number)
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return HubConnection(path, self._settings.hub_linger_seconds)
            except (OSError, ProtocolError) as error:
                if not isinstance(error, BlockingIOError) or time.monotonic() > deadline:
                    raise HubUnavailableError(str(path), error) from error
            time.sleep(_RETRY_SECONDS)  # its backlog of connections is full

    def _connect_or_start(self, path: Path) -> HubConnection:
        deadline = time.monotonic() + START_SECONDS
        starts = 0
        while True:
            try:
                return self._connect(path)
            except (FileNotFoundError, ConnectionError, BlockingIOError) as error:
                # None runs, or its backlog of connections is full. The text alone is kept: the error would
                # hold this frame and its callers, in a reference cycle.
                failure = str(error)
                is_crowded = isinstance(error, BlockingIOError)
            except (OSError, ProtocolError) as error:
                raise HubUnavailableError(str(path), error) from error
            if time.monotonic() > deadline:
                raise HubUnavailableError(str(path), failure)
            # The promise of a call in seconds is for a hub that runs, so a start does not count.
            with nullcontext() if is_crowded else deadline_extended():
                if not start_unless_locked(self._settings, path, may_start=starts < _MAX_STARTS):
                    time.sleep(_RETRY_SECONDS)
                else:
                    starts += 1

    def _connect(self, path: Path) -> HubConnection:
        try:
            connection = HubConnection(path, self._settings.hub_linger_seconds)
        except OlderHubError:
            if time.monotonic() > self._renew(path) + START_SECONDS:
                raise
            raise ConnectionRefusedError("an older hub is being replaced") from None
        if is_older(connection.hub_version):
            self._renew(path)
        return connection

    def _renew(self, path: Path) -> float:
        """Start a hub that replaces an older one; once. Return when that was."""
        if self._renewed_at is None:
            self._renewed_at = time.monotonic()
            logger.info("the hub at %s is of an older release; starting one that replaces it", path)
            try:
                start(Job(str(path), hub_config(self._settings), replaces=True, only_if_older=True))
            except OSError as error:
                logger.warning("the older hub continues: %s", error)
        return self._renewed_at
