"""HTTP headers that every event stream has, and every answer in its place: neither is cached or held back."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STREAM_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Cache-Control": "no-store, no-cache, private, no-transform",
        "X-Accel-Buffering": "no",
    }
)
EVENT_STREAM = "text/event-stream; charset=utf-8"
