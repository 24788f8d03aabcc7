"""Events that are published to be found again, and when each of them was there."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace

from ..wire.decode import Event
from .application import EVENT_TYPE, Application
from .listener import Listener
from .observations import Mark

MARKS = 5


class Delivery:
    """The marks of one examination.

    Args:
        application: Publishes them.
        channel: Where.
    """

    def __init__(self, application: Application, channel: str) -> None:
        self._application = application
        self._channel = channel
        self._token = uuid.uuid4().hex
        self._sent: list[tuple[Mark, float]] = []
        self._flushed_at: float | None = None

    def is_ours(self, event: Event) -> bool:
        """Tell whether an event is one of them."""
        return event.type == EVENT_TYPE and event.data.startswith(self._token)

    def publish(self, listener: Listener, seconds: float) -> None:
        """Publish them one after the other; once one was late, the others without waiting.

        Args:
            listener: Where they should arrive.
            seconds: How long to wait for one.
        """
        is_late = False
        for number in range(MARKS):
            if listener.ending is not None:
                return
            published_at = time.monotonic()
            mark = self._application.publish(self._text(number), self._channel)
            self._sent.append((mark, published_at))
            if mark.error:
                return
            if not is_late:
                is_late = not listener.until(lambda: self.are_there(listener), seconds)
        if is_late:
            listener.until(lambda: self.are_there(listener), seconds)

    def are_there(self, listener: Listener) -> bool:
        """Tell whether all that were taken have arrived."""
        there = {event.data for event, _ in listener.events}
        return all(
            self._text(number) in there for number, (mark, _) in enumerate(self._sent) if not mark.error
        )

    def flush(self, listener: Listener, seconds: float) -> bool:
        """End the stream, so that what was held back on the way must come; return whether it ended."""
        self._flushed_at = time.monotonic()
        self._application.end(self._channel)
        return listener.until(lambda: listener.ending, seconds)

    def marks(self, listener: Listener) -> tuple[Mark, ...]:
        """Return what became of each."""
        found: dict[str, tuple[Event, float]] = {}
        for event, at in listener.events:
            found.setdefault(event.data, (event, at))
        marks = []
        for number, (mark, published_at) in enumerate(self._sent):
            if (arrived := found.get(self._text(number))) is not None:
                event, at = arrived
                mark = replace(  # noqa: PLW2901 - the same mark, seen
                    mark,
                    arrival_seconds=at - published_at,
                    was_flushed=self._flushed_at is not None and at > self._flushed_at,
                    has_id=bool(event.last_event_id),
                )
            marks.append(mark)
        return tuple(marks)

    def _text(self, number: int) -> str:
        return f"{self._token}-{number}"
