"""The application's end: hand a socket to the hub, publish into it, ask how it is.

Safe from every thread and greenlet, and after a fork: nothing is shared while it is in use. A call takes
an idle control connection or opens one, and gives it back; a forked process has none of its parent's.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ...brokers.base import Page, Publication, Receipt
from ...brokers.deadline import deadline
from ...errors import HubError, HubStartError, HubUnavailableError, InvalidSettingError, ProtocolError
from ...jitter import backoff_seconds, draw
from ...settings import Settings
from ...urls import memory_name
from ...wire.cursor import Cursor
from ..protocol.packet import ANSWER_SECONDS, Packet
from ..protocol.requests import (
    cursor_request,
    read_page,
    read_receipt,
    read_request,
    rejected_request,
    status_request,
    submit_request,
)
from ..protocol.stream_request import StreamRequest
from .forks import forget_after_fork
from .hub_thread import ThreadHubClient

if sys.platform != "win32" or TYPE_CHECKING:
    from .discovery import Finder, HubConnection, Presence

logger = logging.getLogger(__name__)

# How soon a hub process is tried again where none could be started.
RETRY_FIRST_SECONDS = 5.0
RETRY_MAX_SECONDS = 600.0
_NO_NAME = (
    "without a name it belongs to one Flask application, and this program is none; write memory://NAME, with "
    "the same name here and in SSE_BROKER_URL of the application"
)
_MAX_IDLE = 16
_ANY_TURN = 1000

T = TypeVar("T")


class StreamServer(Protocol):
    """What takes streams; blocking, for at most a few seconds."""

    def attach(self, descriptor: int, request: StreamRequest) -> None:
        """Hand a connection over. The hub gets a copy; the caller closes its own.

        Raises:
            HubUnavailableError: If no hub took it; then nothing was written to it.
        """
        ...


class HubClient(StreamServer, Protocol):
    """What an application can ask of its hub; blocking, for at most a few seconds."""

    def submit(self, publications: Sequence[Publication]) -> list[Receipt]:
        """Deliver through the broker that lives in the hub.

        Raises:
            HubUnavailableError: If no hub took them, or it did not say that it did.
        """
        ...

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """Return the position behind the last event of each channel, of the broker that lives in the hub.

        Raises:
            HubUnavailableError: If no hub answered.
        """
        ...

    def read(self, channel: str, since: str) -> Page:
        """Return a piece of the history of a channel, of the broker that lives in the hub.

        Raises:
            HubUnavailableError: If no hub answered.
        """
        ...

    def count_rejected(self, limit: str) -> None:
        """Have the hub count a stream that the application rejected by a limit of its own.

        Raises:
            HubUnavailableError: If no hub answered.
        """
        ...

    def status(self) -> dict[str, object]:
        """Return counts of what is open and of what happened.

        Raises:
            HubUnavailableError: If no hub answered.
        """
        ...

    def details(self) -> dict[str, Any]:
        """Return counts, and what is going on: see ``Statistics.details``.

        Raises:
            HubUnavailableError: If no hub answered.
        """
        ...

    def close(self) -> None:
        """Give all connections back; later calls open new ones."""
        ...


class ProcessHubClient:
    """Control connections to a hub in a process of its own, or to several that share the streams."""

    def __init__(self, settings: Settings) -> None:
        self._finder = Finder(settings)
        self._idle: defaultdict[int, deque[HubConnection]] = defaultdict(deque)
        forget_after_fork(self)
        # How many hubs there are, as the first one said; which one gets the next stream.
        self._processes = 1
        self._turn = itertools.count(int(draw() * _ANY_TURN))

    def attach(self, descriptor: int, request: StreamRequest) -> None:
        """See ``HubClient.attach``."""
        number = next(self._turn) % self._processes
        self._ask([request.packet()], descriptor, number)

    def submit(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``HubClient.submit``."""
        return [read_receipt(fields) for fields in self._ask([*map(submit_request, publications)])]

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """See ``HubClient.cursors``."""
        return [Cursor.of(fields["cursor"]) for fields in self._ask([*map(cursor_request, channels)])]

    def read(self, channel: str, since: str) -> Page:
        """See ``HubClient.read``."""
        (fields,) = self._ask([read_request(channel, since)])
        return read_page(fields)

    def count_rejected(self, limit: str) -> None:
        """See ``HubClient.count_rejected``."""
        self._ask([rejected_request(limit)])

    def status(self) -> dict[str, object]:
        """See ``HubClient.status``."""
        return self._status(details=False)

    def details(self) -> dict[str, Any]:
        """See ``HubClient.details``."""
        return self._status(details=True)

    def _status(self, *, details: bool) -> dict[str, Any]:
        request = [status_request(details=details)]
        (first,) = self._ask(request)
        others = [self._ask(request, number=number)[0] for number in range(1, self._processes)]
        return {name: _together(name, [each[name] for each in (first, *others)]) for name in first}

    def close(self) -> None:
        """See ``HubClient.close``."""
        for idle in list(self._idle.values()):
            while idle:
                idle.popleft().close()

    def forget(self) -> None:
        """Give up the connections of the parent process, which uses them."""
        self.close()

    def _ask(
        self, packets: Sequence[Packet], descriptor: int | None = None, number: int = 0
    ) -> list[dict[str, Any]]:
        """Send requests to one hub; wait for their answers unless a descriptor is handed over."""
        with deadline(ANSWER_SECONDS):
            return self._ask_within(packets, descriptor, number)

    def _ask_within(
        self, packets: Sequence[Packet], descriptor: int | None, number: int
    ) -> list[dict[str, Any]]:
        while True:
            connection, is_fresh = self._take(number)
            sent = False
            try:
                connection.send(packets, descriptor)
                sent = True
                answers = [connection.receive() for _ in packets if descriptor is None]
            except (OSError, ProtocolError) as error:
                connection.close()
                if is_fresh or sent:
                    raise HubUnavailableError("its control socket", error) from error
                # The hub ended while this connection was idle, so all that were are of no use.
                self.close()
                continue
            except BaseException:
                # An answer that nobody waits for any more must not be taken for the next one's.
                connection.close()
                raise
            self._give_back(connection, number)
            return answers

    def _take(self, number: int) -> tuple[HubConnection, bool]:
        try:
            return self._idle[number].pop(), False
        except IndexError:
            connection = self._finder.connect(number)
            self._processes = connection.processes
            return connection, True

    def _give_back(self, connection: HubConnection, number: int) -> None:
        if len(self._idle[number]) < _MAX_IDLE:
            self._idle[number].append(connection)
        else:
            connection.close()


def _together(name: str, values: Sequence[Any]) -> object:
    """Return one value for several hubs: of counts the sum, of flags whether one has it, of lists all."""
    if name == "pid":
        return values[0]
    if isinstance(values[0], list):
        return [*itertools.chain(*values)]
    return any(values) if isinstance(values[0], bool) else sum(values)


class AutoHubClient:
    """A hub process, or a thread of this process while none can be started.

    Nothing tells for sure that a process can never be started: a full disk lets it end at once, too. So that
    is tried again, less and less often. When it succeeds, the streams of the thread are ended and reconnect.
    """

    def __init__(self, settings: Settings) -> None:
        self._process = ProcessHubClient(settings)
        self._thread = ThreadHubClient(settings)
        self._unsaid = threading.Lock()
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
            self._look_again()
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
        # Of all threads that come here, one says so.
        if self._unsaid.acquire(blocking=False):
            logger.warning(
                "%s; the hub runs in a thread of this process, so streams end with it and "
                "memory:// reaches this process only",
                error,
            )

    def _retry_after_backoff(self) -> None:
        seconds = backoff_seconds(self._failures, RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS)
        self._retry_at = time.monotonic() + seconds

    def _look_again(self) -> None:
        """See whether a process can be started now; other threads use the hub thread meanwhile."""
        self._failures += 1
        self._retry_after_backoff()
        try:
            self._process.status()
        except HubError:
            return
        logger.info("a hub process runs now; streams of the hub in a thread of this process are ended")
        self._retry_at, self._failures, self._unsaid = None, 1, threading.Lock()
        self._thread.close()


def open_hub_client(settings: Settings) -> HubClient:
    """Return the hub client that the settings ask for; it connects when it is used.

    Raises:
        InvalidSettingError: If nothing says which hub it is: ``memory://`` without a name belongs to an
            application, and there is none.
    """
    is_named = settings.application is not None or memory_name(settings.broker_url) != ""
    if settings.hub == "auto" and not is_named:
        raise InvalidSettingError("SSE_BROKER_URL", settings.broker_url, _NO_NAME)
    if settings.hub == "thread" or sys.platform == "win32":
        return ThreadHubClient(settings)
    if settings.hub == "auto":
        return AutoHubClient(settings)
    return ProcessHubClient(settings)


def reaches_this_process_only(settings: Settings, hub_client: HubClient) -> bool:
    """Tell whether events of this process reach the streams of no other one."""
    return isinstance(hub_client, ThreadHubClient) and memory_name(settings.broker_url) is not None


def announce(settings: Settings) -> object:
    """Tell an automatic hub that is there of an application that lives, so that it goes on for it.

    A hub that nobody has started yet stays so.

    Returns:
        What tells it for as long as it is kept; ``None`` where there is nobody to tell.
    """
    if settings.hub != "auto" or sys.platform == "win32":
        return None
    presence = Presence(settings)
    return presence if presence.is_known else None
