"""Probe events: published by the application, recognized on the stream, each with the time it took."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from ..wire.decode import Event
from .application import EVENT_TYPE, Application
from .observations import ProbeEvent
from .probed_stream import ProbedStream

PROBE_EVENTS = 5


class ProbeEvents:
    """The probe events of one stream.

    Args:
        application: Publishes them.
        channel: The channel of the stream.
    """

    def __init__(self, application: Application, channel: str) -> None:
        self._application = application
        self._channel = channel
        self._token = uuid.uuid4().hex
        self._sent: dict[str, tuple[ProbeEvent, float]] = {}
        self._is_flushing = False

    @property
    def all(self) -> Sequence[ProbeEvent]:
        """Those that were published, in this order."""
        return [event for event, _ in self._sent.values()]

    @property
    def failed(self) -> bool:
        """Whether the broker did not accept one."""
        return any(event.error for event in self.all)

    def have_arrived(self) -> bool:
        """Tell whether all that the broker accepted have arrived."""
        return all(event.error or event.arrival_seconds is not None for event in self.all)

    def publish(self, stream: ProbedStream, timeout_seconds: float) -> None:
        """Publish one after the other and wait for each; once one is late, publish the rest without waiting.

        Args:
            stream: Where they must arrive.
            timeout_seconds: For the arrival of one event, and of all late ones together.
        """
        is_late = False
        for number in range(PROBE_EVENTS):
            if stream.ending is not None:
                return
            data, published_at = f"{self._token}-{number}", time.monotonic()
            self._sent[data] = self._application.publish(data, self._channel), published_at
            if self.failed:
                return
            is_late = is_late or not stream.wait_for(self.have_arrived, timeout_seconds)
        if is_late:
            stream.wait_for(self.have_arrived, timeout_seconds)

    def take(self, event: Event, now: float) -> None:
        """Take an event of the stream, and note its arrival if it is a probe event."""
        if event.type != EVENT_TYPE or event.data not in self._sent:
            return
        probe_event, published_at = self._sent[event.data]
        if probe_event.arrival_seconds is None:
            probe_event.arrival_seconds = now - published_at
            probe_event.was_flushed = self._is_flushing
            probe_event.has_id = bool(event.last_event_id)

    def flush(self) -> None:
        """End the stream, so that a proxy releases the events that it has buffered."""
        self._is_flushing = True
        self._application.disconnect(self._channel)
