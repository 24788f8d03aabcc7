"""Announcement of an application to an automatic hub that runs, so that the hub stays for it."""

from __future__ import annotations

import os

from ...errors import HubError
from ...settings import Settings
from ..handover.peer_credentials import connect
from ..protocol.hello import Hello
from .hub_connection import owned_socket
from .runtime_directory import hub_path


class Announcement:
    """Keeps an automatic hub running, if one runs, for as long as this object is kept. Does not block.

    Attributes:
        is_known: Whether a hub was reached.
    """

    def __init__(self, settings: Settings) -> None:
        self.is_known = False
        try:
            sock = owned_socket(self)
            sock.setblocking(False)
            connect(sock, hub_path(settings, make=False))
            sock.send(Hello(os.getpid(), settings.hub_linger_seconds).packet().encode())
            self.is_known = True
        except (OSError, HubError):
            pass  # none runs, or its backlog of connections is full
