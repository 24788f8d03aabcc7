"""Test what an application publishes and streams: in process, with no broker, no port and no waiting.

With pytest, the fixture ``sse_events`` is there by itself; elsewhere use ``capture()``.
"""

from __future__ import annotations

from .capture import PublishedEvents, capture
from .events import PublishedEvent, containing, event
from .stream import LiveStream, StreamEvent, StreamRefusedError, open_stream

__all__ = [
    "LiveStream",
    "PublishedEvent",
    "PublishedEvents",
    "StreamEvent",
    "StreamRefusedError",
    "capture",
    "containing",
    "event",
    "open_stream",
]
