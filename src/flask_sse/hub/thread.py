"""A hub in a thread of the application: for tests, and where no process can be started.

It ends with its process, every worker process has its own, and it shares the interpreter with the
application, so a busy application delays its events. That is why it is not the default.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from ..errors import HubUnavailableError
from ..settings import Settings
from .control import Attach, Publish
from .limits import duplicate
from .server import HubServer

ANSWER_SECONDS = 2.0

T = TypeVar("T")


class ThreadLink:
    """A ``Link`` to a hub in this process; it starts when it is used, and anew after a fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._thread: _HubThread | None = None

    def attach(self, descriptor: int, request: Attach) -> None:
        """See ``Link.attach``."""
        sock = socket.socket(fileno=duplicate(descriptor))
        try:
            self._call(lambda server: server.attach(sock, request))
        except HubUnavailableError:
            sock.close()
            raise

    def publish(self, channel: str, envelope: bytes) -> int:
        """See ``Link.publish``."""
        receivers = self._call(lambda server: server.publish(Publish(channel, envelope)))
        if receivers is None:
            raise HubUnavailableError("a thread", "it takes its events from a broker")
        return receivers

    def status(self) -> dict[str, object]:
        """See ``Link.status``."""
        return {**self._call(lambda server: server.status())}

    def close(self) -> None:
        """Say goodbye to all streams and end the thread."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive:
            thread.stop()

    def _call(self, action: Callable[[HubServer], T]) -> T:
        if self._pid != os.getpid():
            # A fork does not copy threads, but it copies locks that they hold.
            self._forget()
        with self._lock:
            if self._thread is None or not self._thread.is_alive:
                self._thread = _HubThread(self._settings)
            thread = self._thread
        return thread.call(action)


class _HubThread:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, HubServer]]
        self._started = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="flask-sse hub", daemon=True)
        self._thread.start()
        try:
            self._loop, self._server = self._started.result()
        except OSError as error:
            raise HubUnavailableError("a thread", error) from error

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def call(self, action: Callable[[HubServer], T]) -> T:
        result: concurrent.futures.Future[T] = concurrent.futures.Future()

        def act() -> None:
            if not result.set_running_or_notify_cancel():
                return
            try:
                result.set_result(action(self._server))
            except Exception as error:  # noqa: BLE001 - it is raised to the caller
                result.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(act)
            return result.result(ANSWER_SECONDS)
        except (RuntimeError, TimeoutError) as error:
            if result.cancel():
                raise HubUnavailableError("a thread", error) from error
            # It has begun, so it happens; what was given up must not happen later.
            return result.result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._server.stop, "closed")
        self._thread.join()

    def _run(self) -> None:
        try:
            # The proactor, which is the default on Windows, cannot watch sockets.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
        except Exception as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _serve(self) -> None:
        server = HubServer(
            self._settings.broker_url,
            max_event_bytes=self._settings.max_event_bytes,
            stream_limit=self._settings.max_streams,
        )
        self._started.set_result((asyncio.get_running_loop(), server))
        await server.run()
