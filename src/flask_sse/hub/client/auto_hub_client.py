"""Client of the automatic hub: a process, or a thread of this process while none can be started."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...brokers.base import Page, Publication, Receipt
from ...errors import HubError, HubStartError
from ...jitter import backoff_seconds
from ...settings import Settings
from ...wire.cursor import Cursor
from ..protocol.stream_request import StreamRequest
from .hub_client import HubClient
from .process_hub_client import ProcessHubClient
from .thread_hub_client import ThreadHubClient

logger = logging.getLogger(__name__)

# How soon a hub process is tried again where none could be started.
RETRY_FIRST_SECONDS = 5.0
RETRY_MAX_SECONDS = 600.0

T = TypeVar("T")


class AutoHubClient:
    """A ``HubClient`` of a hub process, or of a thread of this process while none can be started.

    Nothing says for sure that a process can never be started: on a full disk it ends at once, too. So the
    start is retried with backoff. When it succeeds, the streams of the thread are ended and reconnect.
    """

    def __init__(self, settings: Settings) -> None:
        self._process = ProcessHubClient(settings)
        self._thread = ThreadHubClient(settings)
        # Held once the fallback was logged; never released, but replaced.
        self._is_logged = threading.Lock()
        # When a process is tried again, while the thread is used.
        self._retry_at: float | None = None
        self._failures = 1

    def attach(self, descriptor: int, request: StreamRequest) -> None:
        """See ``HubClient.attach``."""
        self._try(lambda hub: hub.attach(descriptor, request))

    def submit(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``HubClient.submit``."""
        return self._try(lambda hub: hub.submit(publications))

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """See ``HubClient.cursors``."""
        return self._try(lambda hub: hub.cursors(channels))

    def read(self, channel: str, since: str) -> Page:
        """See ``HubClient.read``."""
        return self._try(lambda hub: hub.read(channel, since))

    def count_rejected(self, limit: str) -> None:
        """See ``HubClient.count_rejected``."""
        self._try(lambda hub: hub.count_rejected(limit))

    def status(self) -> dict[str, object]:
        """See ``HubClient.status``."""
        return self._try(lambda hub: hub.status())

    def details(self) -> dict[str, Any]:
        """See ``HubClient.details``."""
        return self._try(lambda hub: hub.details())

    def close(self) -> None:
        """See ``HubClient.close``."""
        self._process.close()
        self._thread.close()

    def _try(self, call: Callable[[HubClient], T]) -> T:
        retry_at = self._retry_at
        if retry_at is not None and time.monotonic() >= retry_at:
            self._retry_start()
        if self._retry_at is None:
            try:
                return call(self._process)
            except HubStartError as error:
                self._fall_back(error)
        answer = call(self._thread)
        if self._retry_at is None:
            # Another thread of the application has found a process meanwhile.
            self._thread.close()
        return answer

    def _fall_back(self, error: HubStartError) -> None:
        self._retry_after_backoff()
        # Of all threads that fail at once, one logs it.
        if self._is_logged.acquire(blocking=False):
            logger.warning(
                "%s; the hub runs in a thread of this process, so streams end with it and "
                "memory:// reaches this process only",
                error,
            )

    def _retry_after_backoff(self) -> None:
        seconds = backoff_seconds(self._failures, RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS)
        self._retry_at = time.monotonic() + seconds

    def _retry_start(self) -> None:
        """Try to start a process now; other threads use the hub thread meanwhile."""
        self._failures += 1
        self._retry_after_backoff()
        try:
            self._process.status()
        except HubError:
            return
        logger.info("a hub process runs now; streams of the hub in a thread of this process are ended")
        self._retry_at, self._failures, self._is_logged = None, 1, threading.Lock()
        self._thread.close()
