"""The hub on asyncio: sockets in, the core's decisions out. Runs in one thread, on one loop.

A client's socket is watched for reading (to see it leave) and, only while it has a backlog, for
writing. What was delivered in one turn of the loop is written at its end.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import time
from pathlib import Path

from ..brokers.base import Page, Publication, Receipt
from ..brokers.memory import MemoryFeed
from ..brokers.registry import open_feed
from ..brokers.tasks import end_all
from ..wire.cursor import Cursor, Stamp
from .agenda import TICK_SECONDS
from .connection import AppConnection
from .control import Attach
from .core import Core
from .limits import default_stream_limit
from .listener import Listener
from .notices import goodbye, refused
from .orders import Complain, End, GoOn, Order, Read, Subscribe, Unsubscribe, Write
from .stream import Stream

logger = logging.getLogger(__name__)

ACCEPT_PAUSE_SECONDS = 1.0
LOG_EVERY_SECONDS = 60.0
FIRST_APP_SECONDS = 10.0
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class HubServer:
    """Streams of one hub and the applications that hand them over.

    Args:
        broker_url: Where events come from.
        max_event_bytes: Largest event that a publisher may send.
        stream_limit: Most streams; ``None`` for 90 % of the descriptor limit.
    """

    def __init__(self, broker_url: str, *, max_event_bytes: int, stream_limit: int | None) -> None:
        self.max_event_bytes = max_event_bytes
        self._stream_limit = stream_limit or default_stream_limit()
        self._refused = 0
        self._ended_slow = 0
        self._flush_scheduled = False
        self._carrying_out = False
        self._logged_at: dict[str, float] = {}
        self._apps: set[AppConnection] = set()
        self._loop = asyncio.get_running_loop()
        self._feed = open_feed(broker_url, self)
        self._core: Core[Stream] = Core(max_event_bytes)
        self._stopped: asyncio.Future[str] = self._loop.create_future()
        self._linger_seconds: float | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._listener: Listener | None = None

    async def run(self) -> str:
        """Serve until ``stop``; return the reason."""
        feed = self._loop.create_task(self._feed.run())
        ticks = self._loop.create_task(self._tick())
        try:
            done, _ = await asyncio.wait((feed, ticks, self._stopped), return_when=asyncio.FIRST_COMPLETED)
            # The feed and the clock run for ever: one that is done has failed, and says why here.
            return next(iter(done)).result() or ""
        finally:
            self._close()
            await end_all((feed, ticks))

    def stop(self, reason: str) -> None:
        """Say goodbye to all streams and end ``run``."""
        if not self._stopped.done():
            self._stopped.set_result(reason)

    def stop_on_signals(self) -> None:
        """End on SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop, number.name)

    def _close(self) -> None:
        self._stop_listening()
        for stream in self._core.members:
            self._send(stream, goodbye(stream.form, stream.rules.retry_ms))
            self._drop(stream)
        for app in list(self._apps):
            app.close()

    # -- applications ----------------------------------------------------------------------------

    def listen(self, path: Path, *, linger: bool) -> None:
        """Accept applications of this user.

        Args:
            path: Where; the socket is removed at the end.
            linger: Whether to stop when no application is connected for as long as one of them said
                in its hello; the longest counts.

        Raises:
            OSError: If somebody else listens there or the path cannot be used.
        """
        self._listener = Listener(path)
        self._accept_again()
        if linger:
            self._linger_seconds = 0.0
            self._start_linger(FIRST_APP_SECONDS)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener.sock)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                # Left readable, the listener would wake the loop without end.
                self._log("accept", "cannot accept an application: %s", error)
                self._loop.remove_reader(listener)
                self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._accept_again)
            return
        self.connect(sock)

    def _accept_again(self) -> None:
        if self._listener is not None:
            self._loop.add_reader(self._listener.sock, self._accept, self._listener.sock)

    def connect(self, sock: socket.socket) -> None:
        """Take a control connection of an application."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._apps.add(AppConnection(sock, self))

    def app_introduced(self, linger_seconds: float) -> None:
        """Note what an application said in its hello."""
        if self._linger_seconds is not None:
            self._linger_seconds = max(self._linger_seconds, linger_seconds)

    def app_gone(self, app: AppConnection) -> None:
        """Forget a control connection that was closed."""
        self._apps.discard(app)
        if not self._apps and self._linger_seconds is not None:
            self._start_linger(self._linger_seconds)

    def _start_linger(self, seconds: float) -> None:
        reason = f"no application for {seconds:g} s"
        self._linger = self._loop.call_later(seconds, self.stop, reason)

    def status(self) -> dict[str, int | bool]:
        """Return counts of what is open now and of what happened since the start."""
        counters = self._core.counters
        return {
            "pid": os.getpid(),
            "streams": len(self._core),
            "channels": len(self._core.channels),
            "apps": len(self._apps),
            "broker_away": self._core.broker_away,
            "opened": counters.opened,
            "resumed": counters.resumed,
            "resets": counters.resets,
            "events": counters.events,
            "foreign_refused": counters.foreign_refused,
            "refused": self._refused,
            "ended_slow": self._ended_slow,
        }

    # -- streams -----------------------------------------------------------------------------------

    def attach(self, sock: socket.socket, request: Attach) -> None:
        """Take a stream over; ``sock`` is the hub's from here on."""
        try:
            stream = Stream(sock, request)
        except OSError:
            sock.close()
            return
        if len(self._core) >= self._stream_limit:
            self._refused += 1
            self._log("limit", "refused a stream: %d are open", self._stream_limit)
            stream.send(request.head + refused(request.form, "too many streams"))
            stream.close()
            return
        self._loop.add_reader(sock, self._readable, stream)
        self._core.add(stream, self._loop.time())
        self._carry_out()

    def _readable(self, stream: Stream) -> None:
        if not stream.discard_input():
            self._drop(stream)

    def _send(self, stream: Stream, data: bytes) -> None:
        head, stream.head = stream.head, b""
        had_backlog = stream.has_backlog
        if not stream.send(head + data):
            if stream.has_backlog:
                self._ended_slow += 1
            self._drop(stream)
        elif stream.has_backlog and not had_backlog:
            self._loop.add_writer(stream.sock, self._writable, stream)

    def _writable(self, stream: Stream) -> None:
        if not stream.send_backlog():
            self._drop(stream)
        elif not stream.has_backlog:
            self._loop.remove_writer(stream.sock)
            self._core.go_on(stream, self._loop.time())
            self._carry_out()

    def _drop(self, stream: Stream) -> None:
        if stream.sock.fileno() >= 0:
            self._loop.remove_reader(stream.sock)
            self._loop.remove_writer(stream.sock)
            stream.close()
        self._core.remove(stream, self._loop.time())

    def _carry_out(self) -> None:
        """Do what the core has ordered; what that brings about is done in its turn."""
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            while self._core.outbox:
                self._do(self._core.outbox.popleft())
        finally:
            self._carrying_out = False
        if self._core.has_pending and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _do(self, order: Order) -> None:
        match order:
            case Write(stream, data):
                self._send(stream, data)
            case GoOn(stream):
                if not stream.has_backlog:
                    self._core.go_on(stream, self._loop.time())
            case End(stream, data):
                self._send(stream, data)
                self._drop(stream)
            case Complain(channel, reason):
                self._log("foreign", "dropped what came on channel %s: %s", ascii(channel), reason)
            case _:
                self._ask_broker(order)

    def _ask_broker(self, order: Order) -> None:
        match order:
            case Subscribe(channel):
                self._feed.subscribe(channel)
            case Unsubscribe(channel):
                self._feed.unsubscribe(channel)
            case Read(number, channel, since):
                self._feed.read(number, channel, since)

    # -- events ------------------------------------------------------------------------------------

    def publish(self, publication: Publication) -> Receipt | None:
        """Deliver for the broker that lives in the hub; ``None`` if this hub has another."""
        return self._feed.publish(publication) if isinstance(self._feed, MemoryFeed) else None

    def cursor(self, channel: str) -> Cursor | None:
        """Return where a channel of the broker in this hub stands; ``None`` if this hub has another."""
        return self._feed.cursor(channel) if isinstance(self._feed, MemoryFeed) else None

    def deliver(self, channel: str, stamp: Stamp | None, envelope: bytes) -> int:
        """See ``brokers.base.Sink``."""
        receivers = self._core.deliver(channel, stamp, envelope)
        self._carry_out()
        return receivers

    def subscribed(self, channel: str) -> None:
        """See ``brokers.base.Sink``."""
        if self._core.broker_away:
            logger.info("the broker is back")
        self._core.subscribed(channel, self._loop.time())
        self._carry_out()

    def page(self, number: int, page: Page) -> None:
        """See ``brokers.base.Sink``."""
        self._core.page(number, page, self._loop.time())
        self._carry_out()

    def top(self, channel: str, cursor: Cursor) -> None:
        """See ``brokers.base.Sink``."""
        self._core.top(channel, cursor)
        self._carry_out()

    def refused(self, channel: str, reason: str) -> None:
        """See ``brokers.base.Sink``; its streams open late and say that no events come."""
        self._log("refused", "the broker refuses channel %s: %s", ascii(channel), reason)

    def broker_lost(self, reason: str) -> None:
        """See ``brokers.base.Sink``."""
        self._log("broker", "the broker cannot be reached: %s", reason)
        self._core.lost(self._loop.time())
        self._carry_out()

    def _flush(self) -> None:
        self._flush_scheduled = False
        for data, streams in self._core.flush(self._loop.time()):
            for stream in tuple(streams):
                self._send(stream, data)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self._linger_seconds is not None and self._listener and not self._listener.is_found:
                # Nobody finds this hub any more, and its lock keeps others from starting one.
                self.stop("its socket was removed")
            self._core.tick(self._loop.time())
            self._carry_out()

    def _log(self, topic: str, text: str, *details: object) -> None:
        """Log a warning that may come often, at most once a minute a topic."""
        now = time.monotonic()
        if now - self._logged_at.get(topic, -LOG_EVERY_SECONDS) >= LOG_EVERY_SECONDS:
            self._logged_at[topic] = now
            logger.warning(text, *details)
