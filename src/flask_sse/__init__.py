"""Server-sent events for Flask.

The names here are loaded when they are first used, so that the hub, which is started with
``python -m flask_sse.hub``, does not load Flask.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blueprint import ServerSentEventsBlueprint, sse
    from .errors import (
        BrokerError,
        BrokerUnavailableError,
        HubError,
        HubUnavailableError,
        InvalidChannelError,
        InvalidMessageError,
        InvalidSettingError,
        MessageTooLargeError,
        SSEError,
        TooManyRunsError,
        UsageError,
    )
    from .extension import Message
    from .producing.run_name import new_run
    from .publisher import Publisher
    from .submitter import Published
    from .version import __version__ as __version__

_MODULES = {
    "Message": "extension",
    "ServerSentEventsBlueprint": "blueprint",
    "sse": "blueprint",
    "Published": "submitter",
    "Publisher": "publisher",
    "__version__": "version",
    "new_run": "producing.run_name",
}

__all__ = [
    "BrokerError",
    "BrokerUnavailableError",
    "HubError",
    "HubUnavailableError",
    "InvalidChannelError",
    "InvalidMessageError",
    "InvalidSettingError",
    "Message",
    "MessageTooLargeError",
    "Published",
    "Publisher",
    "RunInProgressError",
    "SSEError",
    "ServerSentEventsBlueprint",
    "TooManyRunsError",
    "UsageError",
    "new_run",
    "sse",
]


def __getattr__(name: str) -> Any:
    if name not in __all__ and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES.get(name, 'errors')}", __name__), name)
