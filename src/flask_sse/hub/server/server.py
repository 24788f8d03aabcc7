"""The hub on asyncio: sockets in, the core's decisions out. Runs in one thread, on one loop.

A client's socket is watched for reading (to see it leave) and, only while it has a backlog, for
writing. What was delivered in one turn of the loop is written at its end, and what would make a turn long is
continued in the next one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from ...brokers.base import Page, Publication, Receipt
from ...brokers.memory import MemoryFeed
from ...brokers.registry import open_feed
from ...brokers.tasks import end_all
from ...channels import CONTROL_CHANNEL, STATUS_CHANNEL
from ...jitter import draw, draw_ms
from ...settings import MAX_TOTAL_BACKLOG_BYTES
from ...wire.cursor import Cursor, Stamp
from ...wording import counted
from ..core.actions import (
    Cancel,
    CheckAll,
    Continue,
    End,
    Order,
    Read,
    ReportDropped,
    Revoke,
    Subscribe,
    Unsubscribe,
    WarnRevocationsLost,
    Write,
)
from ..core.core import Core
from ..core.timer_wheel import TICK_SECONDS
from ..handover.peer_credentials import peer_pid
from ..handover.sender import send_snapshot
from ..handover.snapshot import Snapshot
from ..protocol.hub_events import REJECTED_RETRY_MS, goodbye, rejection
from ..protocol.revocation import REMEMBERED_SECONDS, Arrival, Revocation
from ..protocol.stream_request import StreamRequest
from .app_connection import AppConnection
from .applications import Applications
from .backlogs import Backlogs
from .crash_report import log_crash
from .descriptors import has_memory, has_room, memory_is_limited, release_memory
from .fan_out import FanOut
from .loop import HubLoop
from .revocation_journal import Journal
from .statistics import Statistics
from .stream import Stream

logger = logging.getLogger(__name__)

LOG_EVERY_SECONDS = 60.0
# A broker that lost nothing has revocations for a day; the last hour of it is left out, for clocks differ.
EXPECTED_SECONDS = REMEMBERED_SECONDS - 3600.0
LOST_REVOCATIONS = (
    "the broker has lost %s of the last day. This hub knows them from its file; "
    "tickets that were revoked elsewhere may be valid again"
)
CENSUS_SECONDS = 1.0
# What must be free where memory is limited: a piece of input, and what is made of it on its way. As much
# less in backlogs is worth a call that gives it back to the system.
SPARE_BYTES = 8 * 1024 * 1024


class HubServer:
    """Streams of one hub and the applications that hand them over.

    Args:
        broker_url: Where events come from.
        max_event_bytes: Largest event that a publisher may send.
        stream_limit: Most streams; ``None`` for 90 % of the descriptor limit.
        channel_limit: Most channels.
        drain_seconds: How long to take to end all streams.
        max_total_backlog_bytes: Most unsent bytes of all streams together.
        processes: How many hubs share the streams of these applications; told to them.

    Attributes:
        max_event_bytes: As given.
        processes: As given.
        applications: Those that are connected.
        is_replaced: Whether another hub took over.
        successor: The process that did; ``None`` if it cannot be known.
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
        self._stream_limit = stream_limit
        self._drain_seconds = drain_seconds
        self._rejected = 0
        self._ended_slow = 0
        self._flush_scheduled = False
        self._carrying_out = False
        self._logged_at: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        if not isinstance(loop, HubLoop):
            raise TypeError(loop)
        self._loop = loop
        self._feed = open_feed(broker_url, self)
        self._core: Core[Stream] = Core(max_event_bytes, channel_limit, draw)
        self._max_total_backlog_bytes = max_total_backlog_bytes
        self._backlogs = Backlogs()
        self._fan_out = FanOut(self._core, loop.turns, self._send, self._give_up)
        # Orders that bring about more, or of which one cause may bring thousands.
        self._later: deque[Order] = deque()
        self._continues = False
        self._statistics = Statistics(self._core, self._backlogs, loop.turns, self._loop.time())
        self._stopped: asyncio.Future[str] = self._loop.create_future()
        self._census_at = 0.0
        self._drained = ""
        self._is_signalled = False
        self._is_deaf = False
        self._doing: tuple[str, ...] = ("start",)
        self._journal: Journal | None = None
        self.is_replaced = False
        self.successor: int | None = None
        self.applications = Applications(self, self.stop)

    async def run(self) -> str:
        """Serve until ``stop``; return the reason."""
        self._loop.set_exception_handler(self._failed_on_loop)
        work = [self._loop.create_task(self._work_on(each)) for each in (self._listen, self._tick_on)]
        self._core.channels.obey()
        # What came before in this turn, such as the import of redis-py, held nobody up.
        self._loop.turns.begin()
        self._carry_out()
        try:
            return await self._stopped
        finally:
            self._close()
            await end_all(work)

    async def _work_on(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do work for ever: whatever fails in it, streams go on."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - no failure may end all streams
                self.failed(error)
            await asyncio.sleep(TICK_SECONDS)

    async def _listen(self) -> None:
        try:
            await self._feed.run()
        except Exception:
            # What it had in its hands is lost, as if its connection had been.
            self.broker_lost("listening failed")
            raise

    def failed(self, error: BaseException | None) -> None:
        """Write down what failed; of the same kind once a minute."""
        topic = f"crash {type(error).__name__} {self._doing[0]}"
        if self._may_log(topic):
            log_crash(logger, error, " ".join(map(ascii, self._doing)), self.status())

    def _failed_on_loop(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failed(context.get("exception"))

    def stop(self, reason: str) -> None:
        """Say goodbye to all streams and end ``run``."""
        if not self._stopped.done():
            self._stopped.set_result(reason)

    def drain(self, reason: str) -> None:
        """End all streams one after the other, and then ``run``."""
        if self._drained:
            return
        self._drained = reason
        # Whoever needs a hub from here on finds or starts another one.
        self.applications.close()
        if not len(self._core):
            self.stop(reason)
            return
        streams = counted(len(self._core), "stream")
        logger.info("%s: ending %s within %g s", reason, streams, self._drain_seconds)
        self._core.drain(self._drain_seconds, self._loop.time())
        self._loop.call_later(self._drain_seconds + TICK_SECONDS, self.stop, reason)

    def drain_on_signals(self) -> None:
        """End on SIGTERM and SIGINT: the first one drains, the second one ends at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signalled, number.name)

    def _signalled(self, name: str) -> None:
        if self._is_signalled:
            self.stop(name)
        self._is_signalled = True
        self.drain(name)

    def _close(self) -> None:
        self.applications.close()
        self._finish()
        for stream in self.streams:
            self._send(stream, goodbye(stream.mode, draw_ms(stream.rules.retry_ms)))
            self._drop(stream)

    # -- handover --------------------------------------------------------------------------------

    def hand_over(self, sock: socket.socket) -> None:
        """Hand everything over to the successor at the other end of ``sock``; continue if it fails."""
        with sock:
            listener = self.applications.listener
            if listener is None or self._stopped.done():
                return
            self._finish()
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
                    arrivals=list(self._core.admission.arrivals),
                    history=self._feed.dump() if isinstance(self._feed, MemoryFeed) else (),
                    streams=[stream.snapshot(now) for stream in self.streams],
                    apps=self.applications.snapshots(),
                ),
            )
        if is_handed_over:
            self.is_replaced = True
            self._release()
            self.stop("another hub took over")

    def _release(self) -> None:
        """Close this process's copies of all descriptors and write nothing; the successor has its own."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self.applications.release()
        for stream in self.streams:
            self._unwatch(stream)
            stream.sock.close()
            self._core.remove(stream, self._loop.time())

    def restore(self, snapshot: Snapshot) -> None:
        """Restore the state of the predecessor, before ``run``; nothing is written yet."""
        now = self._loop.time()
        if isinstance(self._feed, MemoryFeed):
            for fields, body in snapshot.history:
                self._feed.load(fields, body)
        self._core.restore_channels(snapshot.positions, snapshot.runs, snapshot.arrivals)
        # Those that wait for a place come last, when those that have one are counted.
        for each in sorted(snapshot.streams, key=lambda each: not each.subscriber.has_begun):
            stream = Stream(socket.socket(fileno=each.descriptor), each.request)
            stream.restore_backlog(each.backlog)
            self._core.restore(stream, each.subscriber, now)
            self._watch(stream)
            self._backlogs.note(stream)
        self.applications.restore(snapshot.apps)

    # -- revocations -------------------------------------------------------------------------------

    def keep_revocations(self, journal: Journal) -> None:
        """Keep revocations in a file, and take those that are there; call it before ``run``."""
        try:
            lines = journal.open()
        except OSError as error:
            self._cannot_keep_revocations(error)
            return
        self._journal = journal
        now = time.time()
        expected_since = now if isinstance(self._feed, MemoryFeed) else now - EXPECTED_SECONDS
        for line in lines:
            self._core.revoke_again(line.revocation, now, is_expected=line.noted_at > expected_since)

    def _cannot_keep_revocations(self, error: OSError) -> None:
        self.log("journal", "revocations do not outlive this hub, its file cannot be used: %s", error)

    def _revoke(self, revocation: Revocation, *, is_news: bool) -> None:
        now = time.time()
        self._core.revoke(Arrival(revocation, now, is_news))
        if self._journal is not None:
            try:
                self._journal.append(revocation, now)
            except OSError as error:
                self._cannot_keep_revocations(error)

    def _prune_revocations(self) -> None:
        if self._journal is not None:
            try:
                self._journal.prune(time.time())
            except OSError as error:
                self._cannot_keep_revocations(error)

    # -- applications ------------------------------------------------------------------------------

    def listener_descriptor(self) -> int | None:
        """See ``Hub``."""
        listener = self.applications.listener
        return listener.sock.fileno() if listener is not None else None

    def app_introduced(self, linger_seconds: float) -> None:
        """See ``Hub``."""
        self.applications.introduced(linger_seconds)

    def app_gone(self, app: AppConnection) -> None:
        """See ``Hub``."""
        self.applications.gone(app)

    def count_rejected(self, limit: str) -> None:
        """See ``Hub``."""
        self._core.admission.rejected[limit] += 1

    def details(self) -> dict[str, Any]:
        """Return counts, and what is going on; see ``Statistics.details``."""
        return {**self.status(), **self._statistics.details(self._loop.time())}

    def status(self) -> dict[str, Any]:
        """Return counts of what is open now and of what happened since the start."""
        counters = self._core.counters
        return {
            "pid": os.getpid(),
            "streams": len(self._core),
            "channels": self._core.channels.busy_count,
            "apps": len(self.applications),
            "broker_away": self._core.broker_away,
            "opened": counters.opened,
            "resumed": counters.resumed,
            "resets": counters.resets,
            "events": counters.events,
            "deliveries": counters.deliveries,
            "foreign_dropped": counters.foreign_dropped,
            "rejected": self._rejected + sum(self._core.admission.rejected.values()),
            **{f"rejected_{what}": count for what, count in self._core.admission.rejected.items()},
            "revoked": counters.revoked,
            "lost_runs": counters.lost_runs,
            "ended_slow": self._ended_slow,
            **self._statistics.turns,
        }

    # -- streams -----------------------------------------------------------------------------------

    @property
    def streams(self) -> frozenset[Stream]:
        """All of them, also those that have not begun."""
        return self._core.subscribers

    def limit(self, streams: int | None, channels: int) -> None:
        """Let in no more than this from now on; what is open stays so. As in ``HubServer``."""
        self._stream_limit = streams
        self._core.max_channels = channels

    @property
    def has_time(self) -> bool:
        """See ``brokers.base.Sink``."""
        return self._loop.turns.has_time

    def write_behind(self, stream: Stream, data: bytes) -> None:
        """Write to one stream, behind all that was published so far."""
        self._finish()
        self._send(stream, data)

    def attach(self, sock: socket.socket, request: StreamRequest) -> None:
        """Take a stream over; ``sock`` is the hub's from here on."""
        try:
            stream = Stream(sock, request)
        except OSError:
            sock.close()
            return
        self._doing = ("attach", *request.channels)
        body = self._refusal(stream)
        if body is not None:
            stream.send(request.head + body)
            stream.close()
            return
        self._watch(stream)
        try:
            self._core.add(stream, self._loop.time())
        except Exception as error:  # noqa: BLE001 - see _give_up
            self._give_up([stream], error)
        self._carry_out()

    def _refusal(self, stream: Stream) -> bytes | None:
        if not self._has_room(stream.sock):
            self._rejected += 1
            self.log("limit", "rejected a stream: the hub has %s", counted(len(self._core), "stream"))
            return rejection(stream.mode, "too many streams", draw_ms(REJECTED_RETRY_MS))
        body = self._core.refusal(stream)
        if body is not None:
            self.log("admission", "rejected a stream: %s", ascii(body[:100]))
        return body

    def _has_room(self, sock: socket.socket) -> bool:
        streams = len(self._core)
        if self._stream_limit is not None:
            return streams < self._stream_limit
        return has_room(sock.fileno(), streams)

    def _watch(self, stream: Stream) -> None:
        # By number: asyncio looks a socket up in vain first, and writes a text about it each time.
        self._loop.add_reader(stream.sock.fileno(), self._readable, stream)
        if stream.has_backlog:
            self._loop.add_writer(stream.sock.fileno(), self._writable, stream)

    def _unwatch(self, stream: Stream) -> None:
        self._loop.remove_reader(stream.sock.fileno())
        self._loop.remove_writer(stream.sock.fileno())

    def _readable(self, stream: Stream) -> None:
        if not stream.discard_input():
            self._drop(stream)

    def _send(self, stream: Stream, data: bytes) -> None:
        if stream.sock.fileno() < 0:
            return
        head, stream.head = stream.head, b""
        had_backlog = stream.has_backlog
        if not stream.send(head + data if head else data) and not self._let_skip(stream):
            if stream.has_backlog:
                self._ended_slow += 1
            self._drop(stream)
        elif stream.has_backlog:
            if not had_backlog:
                self._loop.add_writer(stream.sock.fileno(), self._writable, stream)
            self._backlogs.note(stream)
            self._bound_backlogs(self._max_total_backlog_bytes)

    def _bound_backlogs(self, most_bytes: int) -> None:
        """End streams, those with the largest backlogs first, until all backlogs together take no more."""
        while self._backlogs.total_bytes > most_bytes:
            stream = self._backlogs.largest()
            if stream is None:
                return
            total, largest = self._backlogs.total_bytes, stream.backlog_cost
            self.log(
                "backlogs", "the backlogs of all streams take %d bytes; the largest ends: %d", total, largest
            )
            if self._let_skip(stream) and stream.backlog_cost < largest:
                self._backlogs.note(stream)
            else:
                self._ended_slow += 1
                self._drop(stream)

    def free_memory(self) -> None:
        """See ``Hub``: backlogs give way before a publication fails."""
        if not self._backlogs.total_bytes or not memory_is_limited():
            return
        while (total := self._backlogs.total_bytes) and not has_memory(SPARE_BYTES):
            self._bound_backlogs(max(0, total - SPARE_BYTES))

    def _let_skip(self, stream: Stream) -> bool:
        """Have a client that is too slow go on with what comes from now on, where it may; tell it so."""
        if not stream.has_backlog or not stream.rules.may_skip:
            return False
        resets = self._core.skip(stream)
        return bool(resets) and stream.skip_to(resets)

    def _writable(self, stream: Stream) -> None:
        if not stream.send_backlog():
            self._drop(stream)
            return
        self._backlogs.note(stream)
        if not stream.has_backlog:
            self._loop.remove_writer(stream.sock.fileno())
            self._core.continue_stream(stream, self._loop.time())
            self._carry_out()

    def _drop(self, stream: Stream) -> None:
        if stream.sock.fileno() >= 0:
            self._unwatch(stream)
            stream.close()
            self._backlogs.note(stream)
        self._core.remove(stream, self._loop.time())

    def _carry_out(self) -> None:
        """Do what the core has ordered, and what that brings about as far as this turn has time for it."""
        if self._carrying_out:
            return
        self._carrying_out = True
        try:
            self._do_ordered()
            while self._later and self._loop.turns.has_time:
                self._do_later()
        finally:
            self._carrying_out = False
        if self._later and not self._continues:
            self._continues = True
            self._loop.call_soon(self._continue)
        self.flush_soon()

    def _continue(self) -> None:
        self._continues = False
        if self._later:
            # However late it is: the rest would never be done on a loop whose every turn is long.
            self._do_later()
        self._carry_out()

    def _do_ordered(self) -> None:
        # All of it at once: a stream that the core takes for up to date must have been written to before
        # the next event is.
        while self._core.outbox:
            order = self._core.outbox.popleft()
            if isinstance(order, Continue | Read | End):
                self._later.append(order)
            else:
                self._do(order)
            if isinstance(order, End):
                # It gets no event from here on, also if many end before it.
                self._core.remove(order.subscriber, self._loop.time())

    def _do_later(self) -> None:
        self._do(self._later.popleft())
        self._do_ordered()

    def _finish(self) -> None:
        """Do and write all that was begun, however long it takes."""
        while self._core.outbox or self._later:
            self._do_ordered()
            if self._later:
                self._do(self._later.popleft())
        self._fan_out.write_all(self._loop.time())

    def flush_soon(self) -> None:
        """See ``brokers.base.Sink``."""
        if self._fan_out.has_pending and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)

    def _do(self, order: Order) -> None:
        match order:
            case Write(stream, data):
                self._fan_out.write_first_to(stream)
                self._send(stream, data)
            case Continue(stream):
                self._go_on(stream)
            case End(stream, data):
                self._fan_out.write_first_to(stream)
                self._send(stream, data)
                self._drop(stream)
            case ReportDropped(channel, reason):
                self.log("foreign", "dropped what came on channel %s: %s", ascii(channel), reason)
            case Revoke(revocation, is_news):
                self._revoke(revocation, is_news=is_news)
            case _:
                self._ask_broker(order)

    def _go_on(self, stream: Stream) -> None:
        if stream.has_backlog:
            return
        try:
            self._core.continue_stream(stream, self._loop.time())
        except Exception as error:  # noqa: BLE001 - see _give_up
            self._give_up([stream], error)

    def _ask_broker(self, order: Order) -> None:
        match order:
            case CheckAll():
                self._core.check_all()
            case WarnRevocationsLost(count):
                logger.warning(LOST_REVOCATIONS, counted(count, "revocation"))
            case Subscribe(channel):
                self._feed.subscribe(channel)
            case Unsubscribe(channel):
                self._feed.unsubscribe(channel)
            case Read(number, channel, since) if self._core.channel_read(number) is not None:
                self._feed.read(number, channel, since)
            case Cancel(number):
                self._feed.cancel(number)

    # -- events ------------------------------------------------------------------------------------

    def submit(self, publication: Publication) -> Receipt | None:
        """Deliver for the broker that lives in the hub; ``None`` if this hub has another."""
        return self._feed.submit(publication) if isinstance(self._feed, MemoryFeed) else None

    def cursor(self, channel: str) -> Cursor | None:
        """Return where a channel of the broker in this hub stands; ``None`` if this hub has another."""
        return self._feed.cursor(channel) if isinstance(self._feed, MemoryFeed) else None

    def has_streams(self, channel: str) -> bool:
        """See ``brokers.base.Sink``."""
        return self._core.channels.has_streams(channel)

    def read(self, channel: str, since: str) -> Page | None:
        """Return a piece of a history of the broker in this hub; ``None`` if this hub has another."""
        return self._feed.page(channel, since) if isinstance(self._feed, MemoryFeed) else None

    def deliver(self, channel: str, stamp: Stamp | None, envelope: bytes) -> int:
        """See ``brokers.base.Sink``."""
        self._doing = ("deliver", channel)
        try:
            receivers = self._core.deliver(channel, stamp, envelope)
        except Exception as error:  # noqa: BLE001 - see _give_up
            self._give_up(self._core.streams_of(channel), error)
            return 0
        if self._core.outbox:
            self._carry_out()
        return receivers

    def subscribed(self, channel: str) -> None:
        """See ``brokers.base.Sink``."""
        if self._core.broker_away:
            logger.info("the broker is back")
        self._core.subscribed(channel)
        self._carry_out()

    def page(self, number: int, page: Page) -> None:
        """See ``brokers.base.Sink``."""
        channel = self._core.channel_read(number)
        if channel is None:
            return  # it was asked for by streams that have left
        self._doing = ("page", channel)
        try:
            self._core.page(number, page, self._loop.time())
        except Exception as error:  # noqa: BLE001 - see _give_up
            self._give_up(self._core.streams_of(channel), error)
        self._carry_out()

    def top(self, channel: str, cursor: Cursor) -> None:
        """See ``brokers.base.Sink``."""
        self._core.top(channel, cursor)
        self._carry_out()

    def refused(self, channel: str, reason: str) -> None:
        """See ``brokers.base.Sink``; its streams open late and say that no events come."""
        if channel == CONTROL_CHANNEL:
            if not self._is_deaf:
                logger.warning("sse.disconnect() does not reach this hub, the broker refuses it: %s", reason)
            self._is_deaf = True
            return
        self.log("refused", "the broker refuses channel %s: %s", ascii(channel), reason)

    def broker_lost(self, reason: str) -> None:
        """See ``brokers.base.Sink``."""
        self.log("broker", "the broker cannot be reached: %s", reason)
        self._core.lost(self._loop.time())
        self._carry_out()

    def flush(self) -> None:
        """See ``brokers.base.Sink``."""
        self._flush_scheduled = False
        self._doing = ("flush",)
        self._fan_out.write(self._loop.time())
        self.flush_soon()

    def _give_up(self, streams: Collection[Stream], error: Exception) -> None:
        """End streams that may have missed something; their clients come back and get it."""
        self.failed(error)
        for stream in list(streams):
            self._drop(stream)

    async def _tick_on(self) -> None:
        while True:
            more = self.tick()
            await asyncio.sleep(0 if more else TICK_SECONDS)

    def tick(self) -> bool:
        """Do what is due now, or some of it; return whether more is."""
        self._doing = ("tick",)
        if self.applications.are_cut_off:
            self.stop("its socket was removed")
        stalled_seconds = self._loop.stalls.take_seconds()
        if stalled_seconds:
            self._core.stood_still(stalled_seconds)
        more = self._core.tick(self._loop.time())
        self._take_census()
        self._carry_out()
        if self._drained and not len(self._core):
            self.stop(self._drained)
        return more

    def next_due(self) -> float | None:
        """Return when ``tick`` has something to do for a stream; ``None`` if that is never so."""
        due = self._core.next_due()
        if not self._statistics.is_watched:
            return due
        return self._census_at if due is None else min(due, self._census_at)

    def _take_census(self) -> None:
        now = self._loop.time()
        if now < self._census_at:
            return
        self._census_at = now + CENSUS_SECONDS
        self._prune_revocations()
        if self._backlogs.have_fallen(SPARE_BYTES):
            release_memory()
        self._statistics.sample(now)
        if self._statistics.is_watched:
            self._core.tell(STATUS_CHANNEL, self._statistics.report(self.status(), now))
        else:
            self._statistics.rest()

    def log(self, topic: str, text: str, *details: object, level: int = logging.WARNING) -> None:
        """Log what may come often, at most once a minute a topic."""
        if self._may_log(topic):
            logger.log(level, text, *details)

    def _may_log(self, topic: str) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(topic, -LOG_EVERY_SECONDS) < LOG_EVERY_SECONDS:
            return False
        self._logged_at[topic] = now
        return True
