"""The application's end: hand a socket to the hub, publish into it, ask how it is.

Safe from every thread and greenlet, and after a fork: nothing is shared while it is in use. A call takes
an idle control connection or opens one, and gives it back; a forked process forgets what it inherited.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..brokers.base import Publication, Receipt
from ..errors import HubStartError, HubUnavailableError, ProtocolError
from ..settings import Settings
from ..wire.cursor import Cursor
from .control import Attach, Packet, cursor_request, publish_packet, read_receipt, status_request
from .thread import ThreadLink

if sys.platform != "win32" or TYPE_CHECKING:
    from .lifecycle import Finder, HubConnection

logger = logging.getLogger(__name__)

_MAX_IDLE = 16

T = TypeVar("T")


class Link(Protocol):
    """What an application can ask of its hub; blocking, for at most a few seconds."""

    def attach(self, descriptor: int, request: Attach) -> None:
        """Hand a connection over. The hub gets a copy; the caller closes its own.

        Raises:
            HubUnavailableError: If no hub took it; then nothing was written to it.
        """
        ...

    def publish(self, publications: Sequence[Publication]) -> list[Receipt]:
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

    def status(self) -> dict[str, object]:
        """Return counts of what is open and of what happened.

        Raises:
            HubUnavailableError: If no hub answered.
        """
        ...

    def close(self) -> None:
        """Give all connections back; later calls open new ones."""
        ...


class ProcessLink:
    """Control connections to a hub in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        self._finder = Finder(settings)
        self._idle: deque[HubConnection] = deque()
        self._pid = os.getpid()

    def attach(self, descriptor: int, request: Attach) -> None:
        """See ``Link.attach``."""
        self._ask([request.packet()], descriptor)

    def publish(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``Link.publish``."""
        return [read_receipt(fields) for fields in self._ask([*map(publish_packet, publications)])]

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """See ``Link.cursors``."""
        return [Cursor.of(fields["cursor"]) for fields in self._ask([*map(cursor_request, channels)])]

    def status(self) -> dict[str, object]:
        """See ``Link.status``."""
        return self._ask([status_request()])[0]

    def close(self) -> None:
        """See ``Link.close``."""
        while self._idle:
            self._idle.popleft().close()

    def _ask(self, packets: Sequence[Packet], descriptor: int | None = None) -> list[dict[str, Any]]:
        """Send requests; wait for their answers unless a descriptor is handed over."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self.close()
        while True:
            connection, is_fresh = self._take()
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
            self._give_back(connection)
            return answers

    def _take(self) -> tuple[HubConnection, bool]:
        try:
            return self._idle.pop(), False
        except IndexError:
            return self._finder.connect(), True

    def _give_back(self, connection: HubConnection) -> None:
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()


class AutoLink:
    """A hub process, or a thread of this process where none can be started."""

    def __init__(self, settings: Settings) -> None:
        self._link: Link = ProcessLink(settings)
        self._instead = ThreadLink(settings)
        self._unsaid = threading.Lock()

    def attach(self, descriptor: int, request: Attach) -> None:
        """See ``Link.attach``."""
        self._try(lambda link: link.attach(descriptor, request))

    def publish(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``Link.publish``."""
        return self._try(lambda link: link.publish(publications))

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """See ``Link.cursors``."""
        return self._try(lambda link: link.cursors(channels))

    def status(self) -> dict[str, object]:
        """See ``Link.status``."""
        return self._try(lambda link: link.status())

    def close(self) -> None:
        """See ``Link.close``."""
        self._link.close()

    def _try(self, call: Callable[[Link], T]) -> T:
        try:
            return call(self._link)
        except HubStartError as error:
            # Taken once and never given back: of all threads that come here, one says so.
            if self._unsaid.acquire(blocking=False):
                logger.warning(
                    "%s; the hub runs in a thread of this process, so streams end with it and "
                    "memory:// reaches this process only",
                    error,
                )
            self._link = self._instead
            return call(self._link)


def open_link(settings: Settings) -> Link:
    """Return the link that the settings ask for; it connects when it is used."""
    if settings.hub == "thread" or sys.platform == "win32":
        return ThreadLink(settings)
    if settings.hub == "auto":
        return AutoLink(settings)
    return ProcessLink(settings)
