"""Interfaces of a broker: the publisher's end, the hub's end, and the values between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..settings import History
from ..wire.cursor import Cursor, Stamp
from ..wire.run import RUN_CONTROL_PREFIX, RUN_PREFIX

# Events of one page; a page ends also with the event that brings it over so many bytes.
PAGE_EVENTS = 250
PAGE_BYTES = 256 * 1024
# How long the result of a publication with a key is remembered.
KEY_SECONDS = 300
# How long it is known of a channel which event was the last one, in lives of its events: an idle channel
# must not look like one whose events were lost.
REMEMBERED_LIVES = 168
# The same while a hub listens, however short the events live.
LISTENING_SECONDS = 24 * 3600.0
# How long the epoch of a channel is kept to which nothing was ever published. Visitors name channels, so it
# is short; a hub that has streams of the channel asks for its position more often than that.
UNUSED_SECONDS = 300.0

_OF_RUNS = (RUN_PREFIX, RUN_CONTROL_PREFIX)


class Publication(NamedTuple):
    """One event on its way to the broker.

    Attributes:
        channel: Where it goes.
        envelope: What the broker carries and keeps.
        history: How much of the channel is kept.
        own_id: The id that the application gave; ``None`` if it gave none.
        key: What makes the publication happen once; ``None`` for no such promise.
    """

    channel: str
    envelope: bytes
    history: History
    own_id: str | None = None
    key: str | None = None


class Receipt(NamedTuple):
    """What became of a publication.

    Attributes:
        receivers: Who got it: for ``memory://`` streams, for Redis hubs and streams of 1.0.
        cursor: Its position in the history; ``None`` where none is kept.
        own_id: The id that the application gave, the first time if the publication has a key; ``None`` if it
            gave none.
    """

    receivers: int
    cursor: Cursor | None
    own_id: str | None = None


class Entry(NamedTuple):
    """One event in the history; ``previous`` is empty where another program appended it."""

    id: str
    previous: str
    envelope: bytes


class Page(NamedTuple):
    """A piece of the history of a channel.

    Attributes:
        epoch: Of the history.
        top: The id of the last event of all.
        since: The id behind which the entries follow; ``None`` if what was asked for is not known.
        entries: In their order.
        complete: Whether nothing follows.
    """

    epoch: str
    top: str
    since: str | None
    entries: Sequence[Entry]
    complete: bool

    @property
    def end(self) -> Cursor:
        """The position behind this page."""
        if self.since is None or not self.entries:
            return Cursor(self.epoch, self.top)
        return Cursor(self.epoch, self.entries[-1].id)

    @property
    def is_proven(self) -> bool:
        """Whether nothing is missing between ``since`` and the end of the page."""
        reached = self.since
        if reached is None:
            return False
        for entry in self.entries:
            if entry.previous != reached:
                return False
            reached = entry.id
        return not self.complete or reached == self.top


def remembered_seconds(channel: str, history: History) -> float:
    """Return how long the position of a channel is kept after its last event.

    Each run has channels of its own, and many end every day, so nothing of them outlives their events.
    """
    return history.seconds * (1 if channel.startswith(_OF_RUNS) else REMEMBERED_LIVES)


def listening_seconds(channel: str) -> float:
    """Return how long the position of a channel with events is kept after a hub has asked for it."""
    return UNUSED_SECONDS if channel.startswith(_OF_RUNS) else LISTENING_SECONDS


class BrokerPublisher(Protocol):
    """The application's end: blocking, safe to call from any thread, greenlet or forked process."""

    def submit(self, publications: Sequence[Publication]) -> list[Receipt]:
        """Give envelopes to every hub that listens to their channels, in one round trip for each hundred.

        Raises:
            BrokerUnavailableError: If the broker did not confirm all within 2 seconds; it has the receipts
                of those that were taken. Nothing is queued: the caller decides whether to publish again.
        """
        ...

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """Return the position behind the last event of each channel.

        Raises:
            BrokerUnavailableError: If the broker did not answer within 2 seconds.
        """
        ...

    def read(self, channel: str, since: str) -> Page:
        """Return a piece of the history of a channel.

        Args:
            channel: Which one; its history begins now if it has none.
            since: What to resume from, as ``wire.cursor`` has it.

        Raises:
            BrokerUnavailableError: If the broker did not answer within 2 seconds.
        """
        ...

    def close(self) -> None:
        """Give back all connections; a later call of ``submit`` opens new ones."""
        ...


class BrokerFeed(Protocol):
    """The hub's end: every call happens on the hub's event loop, and none of them waits but ``run``."""

    def subscribe(self, channel: str) -> None:
        """Begin to listen to ``channel``; ``Sink.subscribed`` tells when that holds."""
        ...

    def unsubscribe(self, channel: str) -> None:
        """Stop listening to ``channel``."""
        ...

    def read(self, number: int, channel: str, since: str) -> None:
        """Ask for the history of ``channel``; ``Sink.page`` brings it, as soon as the broker is there.

        Args:
            number: What names the answer.
            channel: Which one; its history begins now if it has none.
            since: What to resume from, as ``wire.cursor`` has it.
        """
        ...

    def cancel(self, number: int) -> None:
        """Ask for a page no longer. ``Sink.page`` may bring it nevertheless, if it was on its way."""
        ...

    async def run(self) -> None:
        """Keep the connection and feed the sink until cancelled."""
        ...


class Sink(Protocol):
    """What a feed tells the hub, on the hub's event loop."""

    @property
    def has_time(self) -> bool:
        """Whether this turn of the loop may take more; if not, the rest follows in the next one."""
        ...

    def has_streams(self, channel: str) -> bool:
        """Tell whether a channel has streams now; one without is kept subscribed for a while."""
        ...

    def deliver(self, channel: str, stamp: Stamp | None, envelope: bytes) -> int:
        """Take an envelope, to be written at the next ``flush``; return the number of streams that get it."""
        ...

    def flush(self) -> None:
        """Write what was delivered: nothing more is there for now."""
        ...

    def flush_soon(self) -> None:
        """Do so at the end of this turn of the loop, together with what is delivered until then."""
        ...

    def subscribed(self, channel: str) -> None:
        """Take note that events of ``channel`` that are published from now on will come.

        Called again after each lost connection: what was published meanwhile is missing.
        """
        ...

    def page(self, number: int, page: Page) -> None:
        """Take the answer to ``read``."""
        ...

    def top(self, channel: str, cursor: Cursor) -> None:
        """Take note of the position behind the last event, asked for from time to time."""
        ...

    def refused(self, channel: str, reason: str) -> None:
        """Take note that the broker refuses something about ``channel``; others are not affected."""
        ...

    def broker_lost(self, reason: str) -> None:
        """Take note that no events come until channels are ``subscribed`` again."""
        ...


class Carrier(Protocol):
    """Brings publications to the hub of this machine, for the broker that lives in it."""

    def submit(self, publications: Sequence[Publication]) -> list[Receipt]:
        """Deliver.

        Raises:
            HubError: If no hub took them.
        """
        ...

    def cursors(self, channels: Sequence[str]) -> list[Cursor]:
        """Return the position behind the last event of each channel.

        Raises:
            HubError: If no hub answered.
        """
        ...

    def read(self, channel: str, since: str) -> Page:
        """Return a piece of the history of a channel.

        Raises:
            HubError: If no hub answered.
        """
        ...
