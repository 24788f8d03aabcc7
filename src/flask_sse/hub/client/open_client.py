"""Choice of the hub client that the settings ask for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ...errors import InvalidSettingError
from ...settings import Settings
from ...urls import memory_name
from .hub_client import HubClient
from .thread_hub_client import ThreadHubClient

if sys.platform != "win32" or TYPE_CHECKING:
    from .announcement import Announcement
    from .auto_hub_client import AutoHubClient
    from .process_hub_client import ProcessHubClient

_NO_NAME = (
    "without a name it belongs to one Flask application, and this program is none; write memory://NAME, with "
    "the same name here and in SSE_BROKER_URL of the application"
)


def open_hub_client(settings: Settings) -> HubClient:
    """Return the hub client that the settings ask for; it connects when it is used.

    Raises:
        InvalidSettingError: If nothing says which hub it is: ``memory://`` without a name belongs to an
            application, and there is none.
    """
    is_named = settings.application is not None or memory_name(settings.broker_url) != ""
    if settings.hub == "auto" and not is_named:
        raise InvalidSettingError("SSE_BROKER_URL", settings.broker_url, _NO_NAME)
    if settings.hub == "thread" or sys.platform == "win32":
        return ThreadHubClient(settings)
    if settings.hub == "auto":
        return AutoHubClient(settings)
    return ProcessHubClient(settings)


def reaches_this_process_only(settings: Settings, hub_client: HubClient) -> bool:
    """Tell whether events of this process reach the streams of no other one."""
    return isinstance(hub_client, ThreadHubClient) and memory_name(settings.broker_url) is not None


def announce(settings: Settings) -> object:
    """Announce an application to the automatic hub, if it runs, so that the hub does not end for lack of one.

    A hub that does not run is not started.

    Returns:
        What announces it for as long as it is kept; ``None`` where no hub runs.
    """
    if settings.hub != "auto" or sys.platform == "win32":
        return None
    announcement = Announcement(settings)
    return announcement if announcement.is_known else None
