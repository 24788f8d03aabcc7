"""Hub thread: a hub in a thread of the application, for tests and where no process can be started.

It ends with its process, every worker process has its own, and it shares the interpreter with the
application, so a busy application delays its events. That is why it is not the default.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from ...brokers.deadline import seconds_left
from ...errors import HubUnavailableError
from ...settings import Settings
from ..protocol.packet import ANSWER_SECONDS
from ..server.hub_loop import HubLoop
from ..server.hub_server import HubServer
from .calls import call_on_loop
from .config import hub_config

logger = logging.getLogger(__name__)

T = TypeVar("T")


class HubThread:
    """One thread with its loop and its hub; it runs when ``__init__`` returns.

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
                of the deadline of the call.
            LoopClosedError: If the thread ends; nothing was done.
        """
        try:
            timeout_seconds = min(ANSWER_SECONDS, seconds_left())
            return call_on_loop(self._loop, lambda: action(self._server), timeout_seconds)
        except TimeoutError as error:
            raise HubUnavailableError("a thread", error) from error

    def stop(self) -> None:
        """End all streams, with a retry delay, and wait for the end of the thread."""
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
