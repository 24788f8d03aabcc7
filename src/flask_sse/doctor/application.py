"""Application under test: what the doctor needs of it, in its context. No other module here uses Flask."""

from __future__ import annotations

import contextlib
import time
from typing import Any
from urllib.parse import urlsplit

from ..errors import SSEError
from .observations import AppSettings, ProbeEvent, printable

EVENT_TYPE = "flask-sse-doctor"
_TICKET_SECONDS = 600


class Application:
    """The current application; used within its context only.

    Raises:
        KeyError: If it has no broker URL.
        InvalidSettingError: If one of its settings is not valid.
    """

    def __init__(self) -> None:
        # Flask is loaded by the time there is a context; the command itself must not load it.
        from flask import current_app  # noqa: PLC0415 - see above

        from ..blueprint import sse  # noqa: PLC0415 - see above
        from ..extension import settings_of  # noqa: PLC0415 - see above

        self._sse: Any = sse
        self._settings = settings_of(current_app)

    def settings(self, channel: str) -> AppSettings:
        """Return the settings that matter for a stream of this channel."""
        settings, rules = self._settings, self._settings.rules
        return AppSettings(
            urlsplit(settings.broker_url).scheme,
            rules.heartbeat_seconds,
            rules.max_stream_seconds,
            settings.takeover,
            bool(settings.history_of(channel).size),
        )

    def publish(self, data: str, channel: str) -> ProbeEvent:
        """Publish an event of a type that no page listens to."""
        began = time.monotonic()
        try:
            receivers = int(self._sse.publish(data, type=EVENT_TYPE, channel=channel))
        except (SSEError, OSError) as error:
            return ProbeEvent(time.monotonic() - began, error=printable(str(error)))
        return ProbeEvent(time.monotonic() - began, receivers)

    def ticket(self, channel: str) -> str | None:
        """Return a ticket for a channel; ``None`` if the application has no key to sign it."""
        from ..access import make_ticket  # noqa: PLC0415 - it needs Flask

        with contextlib.suppress(SSEError):
            return make_ticket((channel,), None, _TICKET_SECONDS)
        return None

    def disconnect(self, channel: str) -> None:
        """End the streams of a channel, which makes a proxy release what it has buffered of them."""
        with contextlib.suppress(SSEError, OSError):
            self._sse.disconnect(channel=channel, reason="flask sse doctor has finished")

    def hub_status(self) -> dict[str, Any] | None:
        """Return the status of the hub of this machine; ``None`` if none runs. It starts none."""
        from ..hub.client.open_client import announce  # noqa: PLC0415 - it loads asyncio

        if self._settings.hub == "auto" and announce(self._settings) is None:
            return None
        with contextlib.suppress(SSEError, OSError):
            return dict(self._sse.status())
        return None
