"""A hub in a thread of the application: for tests, and where no process can be started.

It ends with its process, every worker process has its own, and it shares the interpreter with the
application, so a busy application delays its events. That is why it is not the default.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...brokers.base import Page, Publication, Receipt
from ...brokers.deadline import deadline_extended, seconds_left
from ...errors import HubUnavailableError
from ...settings import Settings
from ...wire.cursor import Cursor
from ..protocol.packet import ANSWER_SECONDS
from ..protocol.stream_request import StreamRequest
from ..server.app_connection import NOT_MEMORY
from ..server.descriptors import duplicate
from ..server.hub_loop import HubLoop
from ..server.hub_server import HubServer
from .calls import LoopClosedError, call_on_loop
from .config import hub_config
from .forks import forget_after_fork

logger = logging.getLogger(__name__)


T = TypeVar("T")


class ThreadHubClient:
    """A ``HubClient`` to a hub in this process; it starts when it is used, and anew after a fork.

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
        """Begin without a thread: a fork does not copy threads, but it copies locks that they hold."""
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
        """Say goodbye to all streams and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive:
            thread.stop()

    def _call(self, action: Callable[[HubServer], T]) -> T:
        while True:
            with self._lock:
                if self._thread is None or not self._thread.is_alive:
                    # What a call promises is for a hub that runs.
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


class HubThread:
    """One thread with its loop and its hub; it runs when it has been made.

    Args:
        settings: What the hub needs to know.
        new_loop: Makes its loop.

    Raises:
        HubUnavailableError: If it cannot run.
    """

    def __init__(self, settings: Settings, new_loop: Callable[[], HubLoop]) -> None:
        self._settings = settings
        self._new_loop = new_loop
        self._started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, HubServer]]
        self._started = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="flask-sse hub", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system allows no more threads
            raise HubUnavailableError("a thread", error) from error
        try:
            self._loop, self._server = self._started.result()
        except OSError as error:
            raise HubUnavailableError("a thread", error) from error

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def call(self, action: Callable[[HubServer], T]) -> T:
        """Return what ``action`` returns on the loop of the hub.

        Raises:
            HubUnavailableError: If the hub did not begin with it within ``ANSWER_SECONDS``, or what is left
                of them in the call of the application.
            LoopClosedError: If the thread ends; nothing was done.
        """
        try:
            timeout_seconds = min(ANSWER_SECONDS, seconds_left())
            return call_on_loop(self._loop, lambda: action(self._server), timeout_seconds)
        except TimeoutError as error:
            raise HubUnavailableError("a thread", error) from error

    def stop(self) -> None:
        """Say goodbye to all streams, and wait for the end."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._server.stop, "closed")
        self.join()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            loop = self._new_loop()
            with loop.apart(), asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._serve())
        except Exception as error:
            if self._started.done():
                logger.exception("the hub failed; the next stream starts another one")
            else:
                self._started.set_exception(error)

    async def _serve(self) -> None:
        server = HubServer(**hub_config(self._settings))
        self._started.set_result((asyncio.get_running_loop(), server))
        await server.run()
