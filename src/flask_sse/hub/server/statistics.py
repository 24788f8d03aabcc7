"""Statistics of a hub: counts, rates, its busiest channels and slowest clients. No I/O, no clock."""

from __future__ import annotations

import json
import os
from collections import deque
from typing import Any

from ...channels import STATUS_CHANNEL
from ...errors import InvalidMessageError
from ...wire.encode import encode_event
from ...wire.envelope import unpack
from ..core.core import Core
from .hub_loop import Turns
from .stream import Stream
from .stream_io import StreamIO

MOST_CHANNELS = 50
MOST_SLOW = 20
MOST_EVENTS = 20
DATA_CHARACTERS = 200
RATE_SECONDS = 10.0
# One per second.
TURN_SAMPLES = 60
STATUS = "status"


class Statistics:
    """Collects the statistics of one hub, on its loop.

    Args:
        core: Of the hub.
        io: Of its streams.
        turns: Of its loop.
        now: The time, in seconds.
    """

    def __init__(self, core: Core[Stream], io: StreamIO, turns: Turns, now: float) -> None:
        self._core = core
        self._io = io
        self._loop_turns = turns
        # The longest turns of the loop in each of the last seconds: by the clock, and of the CPU.
        self._longest: deque[tuple[float, float]] = deque(maxlen=TURN_SAMPLES)
        self._samples: deque[tuple[float, int, int]] = deque()
        self.sample(now)

    def sample(self, now: float) -> None:
        """Note how much has happened; call it about once a second."""
        counters = self._core.counters
        self._longest.append(self._loop_turns.take_longest())
        self._samples.append((now, counters.events, counters.deliveries))
        while now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()

    def status(self, apps: int) -> dict[str, Any]:
        """Return counts of what is open now and of what happened since the start.

        Args:
            apps: How many applications are connected.
        """
        counters, rejected = self._core.counters, self._core.admission.rejected
        return {
            "pid": os.getpid(),
            "streams": len(self._core),
            "channels": self._core.channels.busy_count,
            "apps": apps,
            "broker_away": self._core.broker_away,
            "opened": counters.opened,
            "resumed": counters.resumed,
            "resets": counters.resets,
            "events": counters.events,
            "deliveries": counters.deliveries,
            "foreign_dropped": counters.foreign_dropped,
            "rejected": self._io.rejected + sum(rejected.values()),
            **{f"rejected_{limit}": count for limit, count in rejected.items()},
            "revoked": counters.revoked,
            "lost_runs": counters.lost_runs,
            "ended_slow": self._io.ended_slow,
            **self.turns,
        }

    @property
    def turns(self) -> dict[str, float]:
        """The longest turn of the loop in the last minute, in milliseconds by the clock and of the CPU."""
        longest = *self._longest, self._loop_turns.take_longest()
        seconds, cpu_seconds = (max(column) for column in zip(*longest, strict=True))
        # It counts for the current second.
        self._longest[-1] = max(self._longest[-1], longest[-1])
        return {
            "longest_turn_ms": round(1000 * seconds, 3),
            "longest_turn_cpu_ms": round(1000 * cpu_seconds, 3),
        }

    @property
    def is_watched(self) -> bool:
        """Whether a stream listens to the reports of the hub."""
        channel = self._core.channels.get(STATUS_CHANNEL)
        return channel is not None and channel.streams > 0

    def details(self, now: float) -> dict[str, Any]:
        """Return rates, and the busiest channels and slowest clients.

        Args:
            now: The time, in seconds.

        Returns:
            ``events_per_second`` and ``deliveries_per_second`` over the last 10 seconds; ``backlog_bytes``
            that wait for all clients together; ``busiest``, the channels with most streams, and ``slowest``,
            the clients with most bytes waiting.
        """
        events, deliveries = self._rates(now)
        return {
            "events_per_second": events,
            "deliveries_per_second": deliveries,
            "backlog_bytes": self._io.backlogs.total_bytes,
            "busiest": self._busiest(),
            "slowest": [
                {
                    "channels": list(stream.channels),
                    "subject": stream.grant.subject,
                    "backlog_bytes": stream.backlog_bytes,
                    "max_backlog_bytes": stream.rules.max_backlog_bytes,
                }
                for stream in self._io.backlogs.slowest(MOST_SLOW)
            ],
        }

    def report(self, status: dict[str, Any], now: float) -> bytes:
        """Return the event for the live page, and collect from now on what the next one shows."""
        seen = self._core.seen or ()
        events = [_shown(channel, envelope) for channel, envelope in seen]
        self._core.seen = deque(maxlen=MOST_EVENTS)
        data = {**status, **self.details(now), "events_seen": events}
        return encode_event(json.dumps(data), event=STATUS)

    def rest(self) -> None:
        """Collect no events any more, because no page shows them."""
        self._core.seen = None

    def _rates(self, now: float) -> tuple[float, float]:
        since, events, deliveries = self._samples[0]
        counters, seconds = self._core.counters, max(now - since, 1.0)
        return (counters.events - events) / seconds, (counters.deliveries - deliveries) / seconds

    def _busiest(self) -> list[dict[str, Any]]:
        return [
            {
                "channel": channel.name,
                "streams": channel.streams,
                "events": channel.events,
                "last_event_id": None if channel.sequencer is None else str(channel.sequencer.position or ""),
            }
            for channel in self._core.channels.busiest(MOST_CHANNELS)
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
