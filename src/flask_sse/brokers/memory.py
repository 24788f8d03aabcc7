"""``memory://``: the broker that lives in the hub, for every process of one user on one machine.

Nothing to install. Events do not leave the machine. Without a name it belongs to one application;
``memory://shop`` is shared by all programs that write the same name. What is kept ends with the hub.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import BrokerUnavailableError, HubError
from ..wire.cursor import Cursor
from .base import Carrier, Page, Publication, Receipt, Sink
from .deadline import deadline
from .memory_history import SLOT_SECONDS, MemoryHistory

# The hub ends a connection whose answers are not read, and so many answers fit into the buffer of any socket.
BATCH = 100


class MemoryPublisher:
    """Submits to the hub, over a control connection."""

    def __init__(self, url: str, carrier: Carrier) -> None:
        self._url = url
        self._carrier = carrier

    def submit(self, publications: Sequence[Publication]) -> list[Receipt]:
        """See ``BrokerPublisher.submit``."""
        receipts: list[Receipt] = []
        try:
            with deadline():
                for start in range(0, len(publications), BATCH):
                    receipts += self._carrier.submit(publications[start : start + BATCH])
        except HubError as error:
            raise BrokerUnavailableError(self._url, error, receipts) from error
        return receipts

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """See ``BrokerPublisher.cursors``."""
        try:
            with deadline():
                return self._carrier.cursors(channels)
        except HubError as error:
            raise BrokerUnavailableError(self._url, error) from error

    def read(self, channel: str, since: str) -> Page:
        """See ``BrokerPublisher.read``."""
        try:
            with deadline():
                return self._carrier.read(channel, since)
        except HubError as error:
            raise BrokerUnavailableError(self._url, error) from error

    def close(self) -> None:
        """Do nothing: the connections are the carrier's."""


class MemoryFeed:
    """Keeps what is submitted to the hub and delivers it at once."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._history = MemoryHistory()

    def submit(self, publication: Publication) -> Receipt:
        """Deliver at once."""
        now = time.time()
        first = self._history.receipt(publication, now)
        if first is not None:
            return first
        stamp = self._history.append(publication, now)
        receivers = self._sink.deliver(publication.channel, stamp, publication.envelope)
        self._sink.flush_soon()
        receipt = Receipt(receivers, stamp.cursor if stamp else None, publication.own_id)
        self._history.remember(publication, receipt, now)
        return receipt

    def cursor(self, channel: str) -> Cursor:
        """Return the position behind the last event of a channel."""
        return self._history.cursor(channel, time.time())

    def page(self, channel: str, since: str) -> Page:
        """Return a piece of the history of a channel, nothing of which is older than was asked for."""
        now = time.time()
        self._history.expire_channel(channel, now)
        return self._history.read(channel, since, now)

    def dump(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield what is kept, in pieces, for another hub."""
        return self._history.dump()

    def load(self, fields: dict[str, Any], body: bytes) -> None:
        """Take a piece of what another hub kept."""
        self._history.load(fields, body)

    def subscribe(self, channel: str) -> None:
        """See ``BrokerFeed.subscribe``; it holds at once."""
        self._history.pin(channel)
        self._sink.subscribed(channel)

    def unsubscribe(self, channel: str) -> None:
        """See ``BrokerFeed.unsubscribe``."""
        self._history.unpin(channel, time.time())

    def read(self, number: int, channel: str, since: str) -> None:
        """See ``BrokerFeed.read``; it is answered at once."""
        self._sink.page(number, self._history.read(channel, since, time.time()))

    def cancel(self, number: int) -> None:
        """Do nothing: what was asked for is answered."""

    async def run(self) -> None:
        """Remove what has expired, until cancelled."""
        pause_seconds = SLOT_SECONDS
        while True:
            await asyncio.sleep(pause_seconds)
            # The rest waits for the next turn of the loop, so that streams are served in between.
            pause_seconds = SLOT_SECONDS if self._history.expire(time.time()) else 0.0
