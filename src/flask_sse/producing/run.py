"""A run: what a generator yields, published on a channel of its own, whoever listens.

It is the only one that publishes on its channel, so it sees there whether an event whose publication failed
has arrived nevertheless. That it is to end it sees on another one.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from ..channels import check_channel
from ..errors import BrokerError, HubError, InvalidChannelError, TooManyRunsError, UsageError
from ..wire.cursor import BEFORE_ALL, order, read_cursor
from ..wire.message import Message
from ..wire.run import (
    ALIVE_SECONDS,
    CANCELLED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUN_PREFIX,
    alive,
    begun,
    cancel_channel,
    ended,
    is_cancel_channel,
    is_run,
)
from .slots import runs
from .source import Source

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
# How long a run waits for a broker that is away, and how often it tries.
PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 0.5
_AWAY = (BrokerError, HubError)


class Published(Protocol):
    """What became of an event.

    Attributes:
        id: Its position, if it has no id of its own.
    """

    id: str | None


class Publishing(Protocol):
    """What a run asks of a publisher."""

    def publish(
        self,
        data: Any,
        type: str | None = None,  # noqa: A002 - as an application calls it
        id: str | int | None = None,  # noqa: A002 - as an application calls it
        retry: int | None = None,
        channel: str = ...,
    ) -> Published:
        """Publish one event."""
        ...

    def cursor(self, *channels: str) -> str:
        """Return the position behind the last event of a channel."""
        ...


def new_run(name: str | None = None) -> str:
    """Return the channel of a new run.

    Args:
        name: What it is to be called, as ``"export-7"``; ``None`` for a name that nobody can guess.

    Raises:
        InvalidChannelError: If the name cannot be that of a channel, is longer than 189 bytes or ends in
            ``:cancel``.
    """
    channel = f"{RUN_PREFIX}{secrets.token_urlsafe(16) if name is None else name}"
    if is_cancel_channel(channel):
        raise InvalidChannelError(channel, "a run of another name is cancelled there")
    # The longer one of the two that a run needs.
    check_channel(cancel_channel(channel))
    return channel


def start_run(producer: Producer, in_contexts: Callable[[Callable[[], None]], None], max_runs: int) -> None:
    """Let a producer work in a thread of its own.

    Args:
        producer: It has not begun.
        in_contexts: Calls a function, in another thread, with the contexts of the application.
        max_runs: How many runs this process may have at once.

    Raises:
        TooManyRunsError: If it has as many, or the system has no more threads; nothing was published.
    """

    def work() -> None:
        try:
            producer.work()
        except Exception:
            logger.exception("%s failed", ascii(producer.channel))

    def work_in_contexts() -> None:
        try:
            in_contexts(work)
        finally:
            runs.release()

    if not runs.take(max_runs):
        raise TooManyRunsError(max_runs, "the limit is SSE_MAX_RUNS")
    try:
        threading.Thread(target=work_in_contexts, name="flask-sse run", daemon=True).start()
    except RuntimeError as error:
        runs.release()
        raise TooManyRunsError(runs.taken, str(error)) from error


def cancel(publisher: Publishing, channel: str) -> None:
    """End a run, wherever it works: its pages are told at once, its generator ends where it yields next."""
    check_run(channel)
    _publish(publisher, ended(CANCELLED), cancel_channel(channel))
    _publish(publisher, ended(CANCELLED), channel)


def check_run(channel: str) -> str:
    """Return a channel if it is that of a run.

    Raises:
        UsageError: If not.
    """
    if not is_run(check_channel(channel)):
        raise UsageError(f"{channel!r} is no run: new_run() gives their channels")
    return new_run(channel.removeprefix(RUN_PREFIX))


class Producer:
    """Publishes what one source yields.

    Args:
        publisher: The way to the broker.
        channel: The run's.
        source: What is published: data, or messages.

    Attributes:
        channel: The run's.
    """

    def __init__(self, publisher: Publishing, channel: str, source: Source) -> None:
        self._publisher = publisher
        self.channel = check_run(channel)
        self._source = source
        self._lock = threading.Lock()
        self._position = ""
        self._published_at = 0.0
        self._over = threading.Event()
        self._pid = os.getpid()

    def work(self) -> str:
        """Publish all, in this thread; return how it ended.

        Raises:
            UsageError: If the channel has no history.
            BrokerUnavailableError: If the broker stays away.
            Exception: What the source raised; pages are told that it failed.
        """
        _producers.add(self)
        try:
            self._begin()
            threading.Thread(target=self._keep_alive, name="flask-sse run", daemon=True).start()
            self._source.send_to(self._take)
        except BaseException as error:
            self._end(FAILED if isinstance(error, Exception) else INTERRUPTED)
            raise
        finally:
            _producers.discard(self)
        return self._end(FINISHED)

    def interrupt(self) -> None:
        """Tell that this process ends, and the run with it."""
        self._source.stop()
        self._end(INTERRUPTED)

    def _begin(self) -> None:
        self._position = self._publisher.cursor(self.channel)
        if not self._position:
            raise UsageError("a run needs a history, and SSE_HISTORY_RULES gives its channel none")
        if self._is_cancelled():
            self._stop()
        self._publish(begun())

    def _end(self, reason: str) -> str:
        """Publish the end, unless there is one; return it."""
        if os.getpid() != self._pid:
            return reason  # a process that was forked from the one that works on it
        with self._lock:
            if self._over.is_set():
                return CANCELLED
            self._over.set()
            try:
                self._publish_once(ended(reason))
            except _AWAY as error:
                logger.error(  # noqa: TRY400 - the text says it all
                    "%s is %s, as its pages learn from its silence: %s", ascii(self.channel), reason, error
                )
        return reason

    def _take(self, item: Any) -> bool:
        self._publish(item if isinstance(item, Message) else Message(item))
        return True

    def _publish(self, message: Message) -> None:
        with self._lock:
            if not self._over.is_set():
                self._publish_once(message)

    def _publish_once(self, message: Message) -> None:
        """Publish, once also if the broker is away for a while."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                published = _publish(self._publisher, message, self.channel)
                own_id = message.id is not None
                self._position = self._publisher.cursor(self.channel) if own_id else published.id or ""
            except _AWAY:
                if time.monotonic() > deadline or self._source.is_stopped:
                    raise
                time.sleep(RETRY_SECONDS)
                if not self._has_arrived():
                    continue
            self._published_at = time.monotonic()
            return

    def _has_arrived(self) -> bool:
        """Tell whether something was published since the last event that is known to be there; know it."""
        known = self._position
        try:
            self._position = self._publisher.cursor(self.channel)
        except _AWAY:
            return False
        before, now = read_cursor(known), read_cursor(self._position)
        if before is None or now is None or before.epoch != now.epoch:
            return False  # the history was lost, which the hub tells
        return order(now.id) > order(before.id)

    def _is_cancelled(self) -> bool:
        cursor = read_cursor(self._publisher.cursor(cancel_channel(self.channel)))
        return cursor is not None and cursor.id != BEFORE_ALL

    def _stop(self) -> None:
        self._over.set()
        self._source.stop()

    def _keep_alive(self) -> None:
        """Say that the run is alive while it is silent, and end it if it is cancelled."""
        while not self._over.wait(CHECK_SECONDS):
            with self._lock, contextlib.suppress(*_AWAY):
                if self._over.is_set():
                    return
                if self._is_cancelled():
                    self._stop()
                elif time.monotonic() - self._published_at >= ALIVE_SECONDS:
                    self._publish_once(alive())


def _publish(publisher: Publishing, message: Message, channel: str) -> Published:
    return publisher.publish(message.data, message.type, message.id, message.retry, channel)


_producers: weakref.WeakSet[Producer] = weakref.WeakSet()


@atexit.register
def _interrupt_all() -> None:
    for producer in list(_producers):
        producer.interrupt()
