"""What was published, caught by a hub that stands in for every hub and every broker of this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload
from unittest.mock import ANY

from ..brokers.base import Publication
from ..channels import is_reserved
from ..hub.client.override import Override, installed_override
from .events import PublishedEvent, event, read_event
from .hub import HubClientForTests, HubForTests


class PublishedEvents(Sequence[PublishedEvent]):
    """What was published since the test began, in its order."""

    def __init__(self) -> None:
        self._events: list[PublishedEvent] = []
        self._hub = HubForTests(self._note)

    def _note(self, publication: Publication) -> None:
        if not is_reserved(publication.channel):
            self._events.append(read_event(publication))

    @overload
    def __getitem__(self, index: int) -> PublishedEvent: ...

    @overload
    def __getitem__(self, index: slice) -> list[PublishedEvent]: ...

    def __getitem__(self, index: int | slice) -> PublishedEvent | list[PublishedEvent]:
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    __hash__ = None  # type: ignore[assignment] # it changes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return self._events == list(other)

    def __repr__(self) -> str:
        return repr(self._events)

    def of(self, channel: str) -> list[PublishedEvent]:
        """Return those of one channel."""
        return [each for each in self._events if each.channel == channel]

    def one(
        self,
        *,
        channel: Any = ANY,
        data: Any = ANY,
        type: Any = ANY,  # noqa: A002 - as in publish
        id: Any = ANY,  # noqa: A002 - as in publish
        retry: Any = ANY,
        key: Any = ANY,
        collapse: Any = ANY,
    ) -> PublishedEvent:
        """Return the only event with these fields; see ``event``.

        Raises:
            AssertionError: If there is none, or more than one.
        """
        wanted = event(channel=channel, data=data, type=type, id=id, retry=retry, key=key, collapse=collapse)
        found = [each for each in self._events if each == wanted]
        if len(found) != 1:
            there = "\n".join(f"    {each!r}" for each in self._events) or "    nothing"
            raise AssertionError(f"{len(found)} events are {wanted!r}; what was published:\n{there}")
        return found[0]

    def clear(self) -> None:
        """Forget what was published so far; it stays in the history of its channel."""
        self._events.clear()

    def advance(self, seconds: float) -> None:
        """Set the hub's clock forward. What became due has been done on return: heartbeats, ends of streams.

        The application's own clock stays where it is, and so does the age of what is in the history.

        Args:
            seconds: How far, from 0 to a year.

        Raises:
            UsageError: If it is negative, not a number, or more than a year.
        """
        self._hub.advance(seconds)


@contextmanager
def capture() -> Iterator[PublishedEvents]:
    """Catch what is published meanwhile by any application or ``Publisher`` of this process.

    All of them meet in one hub with a memory of its own, whatever broker and hub their settings name, also
    none, and whenever they were made. Their other settings hold. Streams that are open in the end are closed,
    and generators of runs and responses that were started meanwhile are stopped.

    A capture within another one catches alone, but for what a run publishes: that belongs to the capture in
    which it was started.

    Yields:
        What was published, as it grows. An event is there before any stream gets it.
    """
    events = PublishedEvents()
    hub = events._hub  # noqa: SLF001 - it is made there, and ended here
    try:
        with installed_override(Override(lambda settings: HubClientForTests(hub, settings))):
            yield events
    finally:
        hub.end()
