"""Applications: the control connections of one hub, and the time that it outlives the last of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable

from ..handover.snapshot import ConnectionSnapshot
from .app_connection import AppConnection
from .control_listener import ControlListener
from .hub import Hub

ACCEPT_PAUSE_SECONDS = 1.0
FIRST_APP_SECONDS = 10.0


class Applications:
    """Control connections; used on the hub's loop only.

    Args:
        hub: Answers their requests.
        stop: Is called with the reason when no application has been connected for long enough.

    Attributes:
        listener: Where they connect; ``None`` where the hub does not listen, or no longer.
        linger_seconds: How long the hub outlives the last of them; ``None`` for ever.
    """

    def __init__(self, hub: Hub, stop: Callable[[str], None]) -> None:
        self.listener: ControlListener | None = None
        self.linger_seconds: float | None = None
        self._hub = hub
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._connections: set[AppConnection] = set()
        self._linger: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._connections)

    def listen(self, listener: ControlListener, *, linger_seconds: float | None) -> None:
        """Accept applications of this user.

        Args:
            listener: Where; it is closed at the end.
            linger_seconds: How long to wait without any; the longest that one of them asks for in its hello
                counts. ``None`` for ever.
        """
        self.listener = listener
        self.linger_seconds = linger_seconds
        self._accept_again()
        if linger_seconds is not None and not self._connections:
            self._start_linger(max(linger_seconds, FIRST_APP_SECONDS))

    def listener_descriptor(self) -> int | None:
        """Return the descriptor of the listening socket; ``None`` if the hub does not listen any more."""
        return self.listener.sock.fileno() if self.listener is not None else None

    @property
    def are_cut_off(self) -> bool:
        """Whether the socket was removed, so that no application finds this hub or may start another one."""
        return self.linger_seconds is not None and self.listener is not None and not self.listener.is_found

    def close(self) -> None:
        """Accept no more of them, answer what they have requested before, and close their connections."""
        if self.listener is not None:
            self._loop.remove_reader(self.listener.sock)
            self.listener.close()
            self.listener = None
        for connection in list(self._connections):
            connection.finish()
        if self._linger is not None:
            self._linger.cancel()

    # -- handover --------------------------------------------------------------------------------

    def snapshots(self) -> list[ConnectionSnapshot]:
        """Return what a successor needs of all of them."""
        return [connection.snapshot() for connection in self._connections]

    def restore(self, snapshots: Iterable[ConnectionSnapshot]) -> None:
        """Continue the connections of the predecessor."""
        for snapshot in snapshots:
            self._keep(AppConnection.restore(snapshot, self._hub, self))

    def release(self) -> None:
        """Close this process's copies of all descriptors; the successor has its own."""
        for connection in self._connections:
            connection.release()
        self._connections.clear()
        if self.listener is not None:
            self._loop.remove_reader(self.listener.sock)
            self.listener.release()
            self.listener = None

    # -- connections ---------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Whatever it is, mostly a lack of descriptors: left readable, the listener would wake the loop
            # without end.
            self._hub.log.throttled_warning("accept", "cannot accept an application: %s", error)
            self._loop.remove_reader(listener)
            self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._accept_again)
            return
        self._keep(AppConnection(sock, self._hub, self))

    def _accept_again(self) -> None:
        if self.listener is not None:
            self._loop.add_reader(self.listener.sock, self._accept, self.listener.sock)

    def _keep(self, connection: AppConnection) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._connections.add(connection)

    def introduced(self, linger_seconds: float) -> None:
        """Note what an application has sent in its hello."""
        if self.linger_seconds is not None:
            self.linger_seconds = max(self.linger_seconds, linger_seconds)

    def closed(self, connection: AppConnection) -> None:
        """Forget a control connection that was closed."""
        self._connections.discard(connection)
        if not self._connections and self.linger_seconds is not None and self.listener is not None:
            text = "no application is connected; the hub ends in %g s unless one connects"
            # So ends every application that is stopped, too.
            self._hub.log.throttled_info("linger", text, self.linger_seconds)
            self._start_linger(self.linger_seconds)

    def _start_linger(self, seconds: float) -> None:
        self._linger = self._loop.call_later(seconds, self._stop, f"no application for {seconds:g} s")
