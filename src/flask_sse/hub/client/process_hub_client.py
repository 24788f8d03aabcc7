"""Client of a hub in a process of its own, or of several that share the streams.

Nothing is shared while it is in use: a call takes an idle control connection or opens one, and returns it to
the pool; a forked process has none of its parent's.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from ...brokers.base import Page, Publication, Receipt
from ...brokers.deadline import deadline
from ...errors import HubUnavailableError, ProtocolError
from ...jitter import draw
from ...settings import Settings
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
from .hub_connection import HubConnection
from .hub_finder import HubFinder

_MAX_IDLE = 16
_ANY_TURN = 1000


class ProcessHubClient:
    """A ``HubClient`` with a pool of control connections."""

    def __init__(self, settings: Settings) -> None:
        self._finder = HubFinder(settings)
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
                # What was sent may have been done, so a second attempt could do it twice.
                if is_fresh or sent:
                    raise HubUnavailableError("its control socket", error) from error
                # The hub ended while this connection was idle, so all idle ones are dead.
                self.close()
                continue
            except BaseException:
                # Such as KeyboardInterrupt or gevent.Timeout: the answer that is still on its way must not be
                # taken for that of the next request.
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
