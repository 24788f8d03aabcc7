"""What the doctor asks of the application, in its context; nothing else here knows Flask."""

from __future__ import annotations

import contextlib
import time
from typing import Any
from urllib.parse import urlsplit

from ..errors import SSEError
from .observations import Facts, Mark, printable

EVENT_TYPE = "flask-sse-doctor"
_TICKET_SECONDS = 600


class Application:
    """The current application; used within its context only.

    Raises:
        KeyError: If it has no URL of a broker.
        InvalidSettingError: If a setting of it cannot be used.
    """

    def __init__(self) -> None:
        # Whoever has the context has loaded Flask.
        from flask import current_app  # noqa: PLC0415 - see above

        from ..blueprint import sse  # noqa: PLC0415 - see above
        from ..extension import settings_of  # noqa: PLC0415 - see above

        self._sse: Any = sse
        self._settings = settings_of(current_app)

    def facts(self, channel: str) -> Facts:
        """Return what is set."""
        settings, rules = self._settings, self._settings.rules
        return Facts(
            urlsplit(settings.broker_url).scheme,
            rules.heartbeat_seconds,
            rules.max_stream_seconds,
            settings.takeover,
            bool(settings.history_of(channel).size),
        )

    def publish(self, data: str, channel: str) -> Mark:
        """Publish an event that nobody but a doctor listens to, and tell how that went."""
        began = time.monotonic()
        try:
            receivers = int(self._sse.publish(data, type=EVENT_TYPE, channel=channel))
        except (SSEError, OSError) as error:
            return Mark(time.monotonic() - began, error=printable(str(error)))
        return Mark(time.monotonic() - began, receivers)

    def ticket(self, channel: str) -> str | None:
        """Return a ticket for a channel; ``None`` where nothing signs it."""
        from ..access import make_ticket  # noqa: PLC0415 - it needs Flask

        with contextlib.suppress(SSEError):
            return make_ticket((channel,), None, _TICKET_SECONDS)
        return None

    def end(self, channel: str) -> None:
        """End the streams of a channel, so that whatever was held back of them must come."""
        with contextlib.suppress(SSEError, OSError):
            self._sse.disconnect(channel=channel, reason="the doctor has seen enough")

    def status(self) -> dict[str, Any] | None:
        """Return what the hub of this machine says of itself; ``None`` if none is there. It starts none."""
        from ..hub.client.hub_client import announce  # noqa: PLC0415 - it loads asyncio

        if self._settings.hub == "auto" and announce(self._settings) is None:
            return None
        with contextlib.suppress(SSEError, OSError):
            return dict(self._sse.status())
        return None
