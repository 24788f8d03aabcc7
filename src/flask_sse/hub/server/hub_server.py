"""Hub server: one hub on asyncio, in one thread and on one loop, which serves until it is stopped.

The core decides, ``ActionRunner`` carries its actions out, ``StreamIO`` reads and writes streams,
``BrokerSink`` brings events, ``Applications`` brings streams and publications.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from ...brokers.base import Page, Publication, Receipt
from ...brokers.memory import MemoryFeed
from ...brokers.registry import open_feed
from ...brokers.tasks import end_all
from ...channels import STATUS_CHANNEL
from ...jitter import draw, draw_ms
from ...settings import MAX_TOTAL_BACKLOG_BYTES
from ...wire.cursor import Cursor
from ...wording import counted
from ..core.core import Core
from ..core.timer_wheel import TICK_SECONDS
from ..handover.peer_credentials import peer_pid
from ..handover.sender import send_snapshot
from ..handover.snapshot import Snapshot
from ..protocol.hub_events import goodbye
from ..protocol.stream_request import StreamRequest
from .action_runner import ActionRunner
from .applications import Applications
from .broker_sink import BrokerSink
from .fan_out import FanOut
from .hub_log import HubLog
from .hub_loop import HubLoop
from .revocation_journal import RevocationJournal
from .statistics import Statistics
from .stream import Stream
from .stream_io import StreamIO

logger = logging.getLogger(__name__)

SAMPLE_SECONDS = 1.0


class HubServer:
    """Streams of one hub and the applications that hand them over.

    Args:
        broker_url: Where events come from.
        max_event_bytes: Largest event that a publisher may send.
        stream_limit: Most streams; ``None`` for 90 % of the descriptor limit.
        channel_limit: Most channels.
        drain_seconds: How long to take to end all streams.
        max_total_backlog_bytes: Most unsent bytes of all streams together.
        processes: How many hubs share the streams of these applications, which receive the number.

    Attributes:
        max_event_bytes: As given.
        processes: As given.
        log: Its log.
        applications: Those that are connected.
        is_replaced: Whether a successor has its streams.
        successor: The process of the successor; ``None`` if it cannot be known.
    """

    def __init__(
        self,
        broker_url: str,
        *,
        max_event_bytes: int,
        stream_limit: int | None,
        channel_limit: int,
        drain_seconds: float,
        # Not in the job of a parent that is of an older release.
        max_total_backlog_bytes: int = MAX_TOTAL_BACKLOG_BYTES,
        processes: int = 1,
    ) -> None:
        self.max_event_bytes = max_event_bytes
        self.processes = processes
        self._drain_seconds = drain_seconds
        loop = asyncio.get_running_loop()
        if not isinstance(loop, HubLoop):
            raise TypeError(loop)
        self._loop = loop
        self.log = HubLog(self.status)
        self._core: Core[Stream] = Core(max_event_bytes, channel_limit, draw)
        self._actions = ActionRunner(self._core, loop, self.log)
        carry_out = self._actions.carry_out
        self._io = StreamIO(
            self._core, loop, self.log, carry_out, max_total_backlog_bytes, stream_limit=stream_limit
        )
        self._sink = BrokerSink(self._core, self._actions, self._io, loop, self.log)
        self._feed = open_feed(broker_url, self._sink)
        fan_out = FanOut(self._core, loop.turns, self._io.send, self._io.give_up)
        self._actions.start(self._io, fan_out, self._feed)
        self._statistics = Statistics(self._core, self._io, loop.turns, loop.time())
        self._stopped: asyncio.Future[str] = loop.create_future()
        self._sample_at = 0.0
        self._drained = ""
        self.is_replaced = False
        self.successor: int | None = None
        self.applications = Applications(self, self.stop)

    async def run(self) -> str:
        """Serve until ``stop``; return the reason."""
        self._loop.set_exception_handler(self._failed_on_loop)
        work = [self._loop.create_task(self._work_on(each)) for each in (self._listen, self._tick_on)]
        self._core.channels.open_control_channel()
        self._loop.turns.begin()  # the import of redis-py before it held no stream up
        self._actions.carry_out()
        try:
            return await self._stopped
        finally:
            self._close()
            await end_all(work)

    async def _work_on(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do work for ever: whatever fails in it, streams continue."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - no failure may end all streams
                self.log.crash(error)
            await asyncio.sleep(TICK_SECONDS)

    async def _listen(self) -> None:
        try:
            await self._feed.run()
        except Exception:
            # What it had received and not delivered is lost, as if its connection had been.
            self._sink.broker_lost("listening failed")
            raise

    def _failed_on_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.log.crash(context.get("exception"))

    def stop(self, reason: str) -> None:
        """Write the last bytes to all streams and end ``run``."""
        if not self._stopped.done():
            self._stopped.set_result(reason)

    def drain(self, reason: str) -> None:
        """End all streams one after the other, and then ``run``."""
        if self._drained:
            return
        self._drained = reason
        # First, so that an application that needs a hub from here on finds or starts another one.
        self.applications.close()
        if not len(self._core):
            self.stop(reason)
            return
        streams = counted(len(self._core), "stream")
        logger.info("%s: ending %s within %g s", reason, streams, self._drain_seconds)
        self._core.drain(self._drain_seconds, self._loop.time())
        self._loop.call_later(self._drain_seconds + TICK_SECONDS, self.stop, reason)

    def _close(self) -> None:
        self.applications.close()
        self._actions.finish()
        for stream in self.streams:
            self._io.send(stream, goodbye(stream.mode, draw_ms(stream.rules.retry_ms)))
            self._io.drop(stream)

    # -- handover ------------------------------------------------------------------------------------

    def hand_over(self, sock: socket.socket) -> None:
        """Hand everything over to the successor at the other end of ``sock``; continue if it fails.

        Blocks, and is meant to: a hub that read or wrote meanwhile would no longer be what its snapshot says.
        """
        with sock:
            listener = self.applications.listener
            if listener is None or self._stopped.done():
                return
            # What is delivered is written or in a backlog, so that the snapshot has no third place for it.
            self._actions.finish()
            now = self._loop.time()
            self.successor = peer_pid(sock)
            is_handed_over = send_snapshot(
                sock,
                Snapshot(
                    listener=listener.sock.fileno(),
                    lock=listener.lock,
                    linger_seconds=self.applications.linger_seconds,
                    positions=self._core.positions(),
                    runs=self._core.channels.ended_runs(),
                    revocations=list(self._core.revocations.received),
                    history=self._feed.dump() if isinstance(self._feed, MemoryFeed) else (),
                    streams=[stream.snapshot(now) for stream in self.streams],
                    apps=self.applications.snapshots(),
                ),
            )
        if is_handed_over:
            self.is_replaced = True
            self._release()
            self.stop("handed over to another hub")

    def _release(self) -> None:
        """Close this process's copies of all descriptors and write nothing; the successor has its own."""
        self._actions.release_journal()
        self.applications.release()
        for stream in self.streams:
            self._io.release(stream)

    def restore(self, snapshot: Snapshot) -> None:
        """Restore the state of the predecessor, before ``run``; nothing is written yet."""
        if isinstance(self._feed, MemoryFeed):
            for fields, body in snapshot.history:
                self._feed.load(fields, body)
        self._core.restore_channels(snapshot.positions, snapshot.runs, snapshot.revocations)
        self._io.restore(snapshot.streams)
        self.applications.restore(snapshot.apps)

    def keep_revocations(self, journal: RevocationJournal) -> None:
        """Restore revocations from a file and keep new ones in it; call it before ``run``."""
        self._actions.keep_revocations(journal)

    # -- requests of applications --------------------------------------------------------------------

    def attach(self, sock: socket.socket, request: StreamRequest) -> None:
        """See ``Hub``."""
        self._io.attach(sock, request)

    def submit(self, publication: Publication) -> Receipt | None:
        """See ``Hub``."""
        return self._feed.submit(publication) if isinstance(self._feed, MemoryFeed) else None

    def cursor(self, channel: str) -> Cursor | None:
        """See ``Hub``."""
        return self._feed.cursor(channel) if isinstance(self._feed, MemoryFeed) else None

    def read(self, channel: str, since: str) -> Page | None:
        """See ``Hub``."""
        return self._feed.page(channel, since) if isinstance(self._feed, MemoryFeed) else None

    def count_rejected(self, limit: str) -> None:
        """See ``Hub``."""
        self._core.admission.rejected[limit] += 1

    def status(self) -> dict[str, Any]:
        """Return counts of what is open now and of what happened since the start."""
        return self._statistics.status(len(self.applications))

    def details(self) -> dict[str, Any]:
        """Return counts, rates, and the busiest channels and slowest clients."""
        return {**self.status(), **self._statistics.details(self._loop.time())}

    def free_memory(self) -> None:
        """See ``Hub``."""
        self._io.free_memory()

    @property
    def has_time(self) -> bool:
        """Whether this turn of the loop may do more."""
        return self._loop.turns.has_time

    # -- hubs for tests ------------------------------------------------------------------------------

    @property
    def streams(self) -> frozenset[Stream]:
        """All of them, also those that have not begun."""
        return self._core.subscribers

    def limit(self, streams: int | None, channels: int) -> None:
        """Let in no more than this from now on; what is open stays so. As in ``HubServer``."""
        self._io.stream_limit = streams
        self._core.max_channels = channels

    def write_behind(self, stream: Stream, data: bytes) -> None:
        """Write to one stream, behind all that was published so far."""
        self._actions.finish()
        self._io.send(stream, data)

    def flush(self) -> None:
        """Write what was delivered."""
        self._actions.flush()

    async def _tick_on(self) -> None:
        while True:
            more = self.tick()
            await asyncio.sleep(0 if more else TICK_SECONDS)

    def tick(self) -> bool:
        """Do what is due now, or some of it; return whether more is."""
        self.log.doing = ("tick",)
        if self.applications.are_cut_off:
            self.stop("its socket was removed")
        stalled_seconds = self._loop.stalls.take_seconds()
        if stalled_seconds:
            self._core.exclude_pause(stalled_seconds)
        more = self._core.tick(self._loop.time())
        self._take_sample()
        self._actions.carry_out()
        if self._drained and not len(self._core):
            self.stop(self._drained)
        return more

    def next_due(self) -> float | None:
        """Return when ``tick`` has something to do for a stream; ``None`` if that is never so."""
        due = self._core.next_due()
        if not self._statistics.is_watched:
            return due
        return self._sample_at if due is None else min(due, self._sample_at)

    def _take_sample(self) -> None:
        now = self._loop.time()
        if now < self._sample_at:
            return
        self._sample_at = now + SAMPLE_SECONDS
        self._actions.prune_revocations()
        self._io.release_memory()
        self._statistics.sample(now)
        if self._statistics.is_watched:
            self._core.write_to_channel(STATUS_CHANNEL, self._statistics.report(self.status(), now))
        else:
            self._statistics.rest()
