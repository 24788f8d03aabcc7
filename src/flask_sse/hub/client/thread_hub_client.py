"""Client of a hub in a thread of this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...brokers.base import Page, Publication, Receipt
from ...brokers.deadline import deadline_extended
from ...errors import HubUnavailableError
from ...settings import Settings
from ...wire.cursor import Cursor
from ..protocol.stream_request import StreamRequest
from ..server.app_connection import NOT_MEMORY
from ..server.descriptors import duplicate
from ..server.hub_loop import HubLoop
from ..server.hub_server import HubServer
from .calls import LoopClosedError
from .forks import forget_after_fork
from .hub_thread import HubThread

T = TypeVar("T")


class ThreadHubClient:
    """A ``HubClient`` of a hub in this process; it starts when it is used, and again after a fork.

    Args:
        settings: Of the application.
        new_loop: Makes the loop of the hub.
    """

    def __init__(self, settings: Settings, new_loop: Callable[[], HubLoop] = HubLoop) -> None:
        self._settings = settings
        self._new_loop = new_loop
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Start without a thread: a fork does not copy threads, but it copies locks that they hold."""
        self._lock = threading.Lock()
        self._thread: HubThread | None = None

    def attach(self, descriptor: int, request: StreamRequest) -> None:
        """See ``HubClient.attach``."""
        sock = socket.socket(fileno=duplicate(descriptor))
        try:
            self._call(lambda server: self._attach(server, sock, request))
        except BaseException:
            sock.close()
            raise

    def _attach(self, server: HubServer, sock: socket.socket, request: StreamRequest) -> None:
        server.attach(sock, request)

    def submit(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``HubClient.submit``."""
        receipts = self._call(lambda server: [self._submit(server, each) for each in publications])
        return [_from_memory(receipt) for receipt in receipts]

    def _submit(self, server: HubServer, publication: Publication) -> Receipt | None:
        return server.submit(publication)

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """See ``HubClient.cursors``."""
        cursors = self._call(lambda server: [server.cursor(channel) for channel in channels])
        return [_from_memory(cursor) for cursor in cursors]

    def read(self, channel: str, since: str) -> Page:
        """See ``HubClient.read``."""
        return _from_memory(self._call(lambda server: server.read(channel, since)))

    def count_rejected(self, limit: str) -> None:
        """See ``HubClient.count_rejected``."""
        self._call(lambda server: server.count_rejected(limit))

    def status(self) -> dict[str, object]:
        """See ``HubClient.status``."""
        return self._call(lambda server: server.status())

    def details(self) -> dict[str, Any]:
        """See ``HubClient.details``."""
        return self._call(lambda server: server.details())

    def close(self) -> None:
        """End all streams, with a retry delay, and the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive:
            thread.stop()

    def _call(self, action: Callable[[HubServer], T]) -> T:
        while True:
            with self._lock:
                if self._thread is None or not self._thread.is_alive:
                    # The promise of a call in seconds is for a hub that runs.
                    with deadline_extended():
                        self._thread = self._start()
                thread = self._thread
            try:
                return thread.call(action)
            except LoopClosedError:
                thread.join()

    def _start(self) -> HubThread:
        return HubThread(self._settings, self._new_loop)


def _from_memory(answer: T | None) -> T:
    if answer is None:
        raise HubUnavailableError("a thread", NOT_MEMORY)
    return answer
