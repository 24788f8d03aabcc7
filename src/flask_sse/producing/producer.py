"""Producer: publishes what a generator yields, as a run on a channel of its own, with or without readers.

Only one attempt at a time publishes there (``attempt``), so it sees whether an event whose publication failed
has arrived nevertheless.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..brokers.base import Publication
from ..errors import BrokerError, HubError, RunInProgressError, UsageError
from ..hub.client.override import active_override, keeping_override
from ..settings import History
from ..wire.cursor import Cursor, order
from ..wire.message import Message
from ..wire.run import (
    ALIVE_SECONDS,
    CANCELLED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    OWN_TYPES,
    alive,
    begun,
    check_type,
    ended,
)
from .attempt import Attempt, Broker, Verdict
from .run_name import check_run
from .source import Source

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
# How long a run waits for a broker that is away, and how often it tries.
PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 0.5
# How long the end of a process waits for the ends of all its runs.
END_SECONDS = 3.0
_AWAY = (BrokerError, HubError)
_REPLACED = "replaced"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunBackend:
    """What a run needs of a publisher.

    Attributes:
        broker: Returns the way to the broker.
        checked: Makes a publication of a message, if it can be sent on a channel.
        history_of: Returns how much of a channel is kept.
    """

    broker: Broker
    checked: Callable[[Message, str], Publication]
    history_of: Callable[[str], History]


class Producer:
    """Publishes what one source yields.

    Args:
        backend: The way to the broker.
        channel: The run's.
        source: What is published: data, or messages.

    Attributes:
        channel: The run's.

    Raises:
        UsageError: If the channel is not that of a run, or keeps no history.
    """

    def __init__(self, backend: RunBackend, channel: str, source: Source) -> None:
        self._backend = backend
        self.channel = check_run(channel)
        self._history = backend.history_of(self.channel)
        if not self._history.size:
            raise UsageError("a run needs a history, and SSE_HISTORY_RULES gives its channel none")
        self._attempt = Attempt(backend.broker, self.channel, self._history)
        self._is_ours: bool | None = None  # ``None`` while it is unknown whether it has begun
        self._source = source
        self._lock = threading.Lock()
        self._position: Cursor | None = None
        self._published_at = 0.0
        # When the run last published that it begins or lives, and how many events it has published since.
        self._marked_at = 0.0
        self._unmarked = 0
        self._over = threading.Event()
        self._outcome: str | None = None
        self._end_of_items = FINISHED
        self._pid = os.getpid()
        self._is_abandoned = False
        self._override = active_override()
        if self._override is not None:
            self._override.abandon_at_end(self)

    def begin_if_reachable(self) -> None:
        """Begin the attempt here, if the broker can be reached; else ``work`` does.

        Raises:
            RunInProgressError: If another producer works on this run.
        """
        with contextlib.suppress(*_AWAY):
            self._is_ours = self._attempt.begin()

    def undo_begin(self) -> None:
        """Undo ``begin_if_reachable``."""
        if self._is_ours:
            with contextlib.suppress(*_AWAY):
                self._attempt.end()

    def work(self, *, waits: bool) -> str:
        """Publish all, in this thread; return how it ended.

        Args:
            waits: Whether to wait where another producer may have died.

        Raises:
            RunInProgressError: If another producer works on this run, or took it over because this one was
                silent for too long.
            BrokerUnavailableError: If the broker stays away.
            Exception: What the source raised; pages receive that it failed.
        """
        try:
            with keeping_override(self._override):
                return self._work(waits=waits)
        except Exception:
            if self._is_abandoned:
                return CANCELLED
            raise

    def _work(self, *, waits: bool) -> str:
        if self._over.is_set():
            return CANCELLED
        _producers.add(self)
        try:
            if not self._begin(waits=waits):
                return CANCELLED
            threading.Thread(target=self._keep_alive, name="flask-sse run", daemon=True).start()
            self._source.send_to(self._take)
        except BaseException as error:
            self._end(INTERRUPTED if _ends_process(error) else FAILED)
            raise
        finally:
            _producers.discard(self)
        if (outcome := self._end(self._end_of_items)) == _REPLACED:
            raise RunInProgressError(self.channel)
        return outcome

    def fail(self) -> None:
        """Publish that it failed, unless it has ended."""
        self._end(FAILED)

    def interrupt(self) -> None:
        """Publish that this process ends, and the run with it."""
        self._end_of_items = INTERRUPTED  # first, for the thread that works on them may publish the end
        self._source.stop()
        self._end(INTERRUPTED)

    def abandon(self) -> None:
        """End without an event, because no reader is left; the test that began it is over."""
        self._is_abandoned = True
        # First, so that a thread that waits for a broker with the lock waits no longer.
        self._source.stop()
        with self._lock:
            self._over.set()

    def _begin(self, *, waits: bool) -> bool:
        if self._is_ours is None:
            try:
                self._is_ours = self._persistently(self._attempt.begin)
            except RunInProgressError:
                if not waits:
                    raise
                self._persistently(self._attempt.wait_until_free)
                self._is_ours = self._persistently(self._attempt.begin)
        if self._is_ours:
            self._position = self._persistently(self._read_position)
            self._publish(begun())
        return self._is_ours

    def _end(self, reason: str) -> str:
        """Publish the end, unless there is one; return it."""
        if os.getpid() != self._pid:
            return reason  # a process that was forked from the one that works on it
        with self._lock:
            self._over.set()
            if self._is_abandoned:
                return CANCELLED
            if self._outcome is None:
                self._outcome = self._end_attempt(reason) if self._is_ours else reason
            return self._outcome

    def _end_attempt(self, reason: str) -> str:
        try:
            match self._persistently(self._attempt.end):
                case Verdict.CANCELLED:
                    return CANCELLED
                case Verdict.REPLACED:
                    return _REPLACED
            self._publish_once(ended(reason))
        except _AWAY as error:
            logger.error(  # noqa: TRY400 - the text says it all
                "%s is %s, as its pages notice by its silence: %s", ascii(self.channel), reason, error
            )
        return reason

    def _take(self, item: Any) -> bool:
        message = item if isinstance(item, Message) else Message(item)
        check_type(message.type, self.channel)
        self._publish(message)
        return True

    def _publish(self, message: Message) -> None:
        with self._lock:
            if not self._over.is_set():
                self._publish_once(message)
                if self._is_mark_due():
                    self._publish_once(alive())

    def _is_mark_due(self) -> bool:
        """Tell whether what is kept may soon have no mark of the run: by that a hub knows it for one."""
        # In a history of one event there is no room besides what was yielded.
        return (
            0 < self._history.size // 2 <= self._unmarked
            or time.monotonic() - self._marked_at >= self._history.seconds / 2
        )

    def _publish_once(self, message: Message) -> None:
        """Publish, once also if the broker is away for a while."""
        publication = self._backend.checked(message, self.channel)
        has_failed = False

        def publish() -> None:
            nonlocal has_failed
            if has_failed and self._has_arrived():
                return
            has_failed = True
            (receipt,) = self._backend.broker().submit([publication])
            self._position = receipt.cursor

        self._persistently(publish)
        self._published_at = time.monotonic()
        if message.type in OWN_TYPES:
            self._marked_at, self._unmarked = self._published_at, 0
        else:
            self._unmarked += 1

    def _persistently(self, ask: Callable[[], T]) -> T:
        """Ask the broker, also if it is away for a while."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return ask()
            except _AWAY:
                if time.monotonic() > deadline or self._source.is_stopped:
                    raise
                time.sleep(RETRY_SECONDS)

    def _has_arrived(self) -> bool:
        """Tell whether something was published since the last event that is known to be there; know it."""
        before, now = self._position, self._read_position()
        self._position = now
        if before is None or before.epoch != now.epoch:
            return False  # the history was lost, which the hub tells
        return order(now.id) > order(before.id)

    def _read_position(self) -> Cursor:
        (position,) = self._backend.broker().cursors([self.channel])
        return position

    def _keep_alive(self) -> None:
        """Publish that the run is alive while it is silent, and end it if it is cancelled."""
        while not self._over.wait(CHECK_SECONDS):
            with contextlib.suppress(*_AWAY), keeping_override(self._override):
                if self._attempt.check() is not Verdict.GOES_ON:
                    self._over.set()
                    self._source.stop()
                elif time.monotonic() - self._published_at >= ALIVE_SECONDS:
                    self._publish(alive())


def _ends_process(error: BaseException) -> bool:
    """Tell whether it ends the process, as far as can be known here: others end a thread or a greenlet."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and isinstance(error, SystemExit | KeyboardInterrupt)


_producers: weakref.WeakSet[Producer] = weakref.WeakSet()


@atexit.register
def _interrupt_all() -> None:
    """Publish the end of all runs of this process, at the same time and for a few seconds at most."""
    threads = [
        threading.Thread(target=each.interrupt, name="flask-sse interrupt", daemon=True)
        for each in list(_producers)
    ]
    deadline = time.monotonic() + END_SECONDS
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:
        logger.error("pages notice by silence that runs ended with the process: %s", error)  # noqa: TRY400
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
