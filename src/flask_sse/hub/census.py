"""Census: what a hub tells of itself in detail, when it is asked and to who watches it. No I/O, no clock."""

from __future__ import annotations

import heapq
import json
from collections import deque
from typing import Any

from ..channels import STATUS_CHANNEL
from ..errors import InvalidMessageError
from ..wire.encode import encode_event
from ..wire.envelope import unpack
from .core import Core
from .stream import Stream

MOST_CHANNELS = 50
MOST_SLOW = 20
MOST_EVENTS = 20
DATA_CHARACTERS = 200
RATE_SECONDS = 10.0
STATUS = "status"


class Census:
    """Looks at one hub, on its loop.

    Args:
        core: What it looks at.
        now: The time, in seconds.
    """

    def __init__(self, core: Core[Stream], now: float) -> None:
        self._core = core
        self._samples: deque[tuple[float, int, int]] = deque()
        self.sample(now)

    def sample(self, now: float) -> None:
        """Note how much has happened; call it about once a second."""
        counters = self._core.counters
        self._samples.append((now, counters.events, counters.deliveries))
        while now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()

    @property
    def is_watched(self) -> bool:
        """Whether a stream listens to what the hub tells of itself."""
        channel = self._core.directory.get(STATUS_CHANNEL)
        return channel is not None and channel.streams > 0

    def details(self, now: float) -> dict[str, Any]:
        """Return what is going on.

        Args:
            now: The time, in seconds.

        Returns:
            ``events_per_second`` and ``deliveries_per_second`` over the last 10 seconds; ``backlog_bytes``
            that wait for all clients together; ``busiest``, the channels with most streams, and ``slowest``,
            the clients with most bytes waiting.
        """
        slow = [stream for stream in self._core.members if stream.has_backlog]
        events, deliveries = self._rates(now)
        return {
            "events_per_second": events,
            "deliveries_per_second": deliveries,
            "backlog_bytes": sum(stream.backlog_bytes for stream in slow),
            "busiest": self._busiest(),
            "slowest": [
                {
                    "channels": list(stream.channels),
                    "subject": stream.claim.subject,
                    "backlog_bytes": stream.backlog_bytes,
                    "max_backlog_bytes": stream.rules.max_backlog_bytes,
                }
                for stream in heapq.nlargest(MOST_SLOW, slow, key=lambda each: each.backlog_bytes)
            ],
        }

    def report(self, status: dict[str, Any], now: float) -> bytes:
        """Return the event for those who watch, and remember from now on what they are to see next time."""
        seen = self._core.seen or ()
        events = [_shown(channel, envelope) for channel, envelope in seen]
        self._core.seen = deque(maxlen=MOST_EVENTS)
        data = {**status, **self.details(now), "events_seen": events}
        return encode_event(json.dumps(data), event=STATUS)

    def rest(self) -> None:
        """Remember nothing any more, because nobody watches."""
        self._core.seen = None

    def _rates(self, now: float) -> tuple[float, float]:
        since, events, deliveries = self._samples[0]
        counters, seconds = self._core.counters, max(now - since, 1.0)
        return (counters.events - events) / seconds, (counters.deliveries - deliveries) / seconds

    def _busiest(self) -> list[dict[str, Any]]:
        channels = self._core.directory.of_application()
        busiest = heapq.nlargest(MOST_CHANNELS, channels, key=lambda each: (each.streams, each.events))
        return [
            {
                "channel": channel.name,
                "streams": channel.streams,
                "events": channel.events,
                "last_event_id": None if channel.sequencer is None else str(channel.sequencer.position or ""),
            }
            for channel in busiest
        ]


def _shown(channel: str, envelope: bytes) -> dict[str, Any]:
    try:
        message = unpack(envelope)
    except InvalidMessageError:
        return {"channel": channel, "type": None, "id": None, "bytes": len(envelope), "data": ""}
    data = message.payload()[:DATA_CHARACTERS]
    return {
        "channel": channel,
        "type": message.type or "message",
        "id": message.id,
        "bytes": len(envelope),
        "data": data,
    }
