"""The settings that a hub reads, and therefore those that tell one hub from another."""

from __future__ import annotations

from typing import Any

from ...settings import Settings

# Arguments of ``HubServer`` and the settings that they have their values from. All other settings stay in
# the application or travel with each stream and each connection.
HUB_SETTINGS = {
    "max_event_bytes": "max_event_bytes",
    "stream_limit": "max_streams",
    "channel_limit": "max_channels",
    "max_total_backlog_bytes": "max_total_backlog_bytes",
    "drain_seconds": "drain_seconds",
}


def hub_config(settings: Settings) -> dict[str, Any]:
    """Return the arguments of a hub's ``HubServer``."""
    read = {argument: getattr(settings, name) for argument, name in HUB_SETTINGS.items()}
    return {"broker_url": settings.broker_url, **read}
