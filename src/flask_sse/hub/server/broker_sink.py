"""Broker sink: the receiver of events, pages and states that the broker's feed delivers."""

from __future__ import annotations

import logging

from ...brokers.base import Page
from ...channels import CONTROL_CHANNEL
from ...wire.cursor import Cursor, Stamp
from ..core.core import Core
from .action_runner import ActionRunner
from .hub_log import HubLog
from .hub_loop import HubLoop
from .stream import Stream
from .stream_io import StreamIO

logger = logging.getLogger(__name__)


class BrokerSink:
    """The hub as ``brokers.base.Sink`` has it; used on the hub's loop only.

    Args:
        core: Decides on the actions.
        actions: Carries them out.
        io: Ends streams that may have missed something.
        loop: Of the hub.
        log: Of the hub.
    """

    def __init__(
        self, core: Core[Stream], actions: ActionRunner, io: StreamIO, loop: HubLoop, log: HubLog
    ) -> None:
        self._core = core
        self._actions = actions
        self._io = io
        self._loop = loop
        self._log = log
        self._gets_no_revocations = False
        # No call in between: both are called for every event.
        self.flush = actions.flush
        self.flush_soon = actions.flush_soon

    @property
    def has_time(self) -> bool:
        """See ``Sink``."""
        return self._loop.turns.has_time

    def has_streams(self, channel: str) -> bool:
        """See ``Sink``."""
        return self._core.channels.has_streams(channel)

    def deliver(self, channel: str, stamp: Stamp | None, envelope: bytes) -> int:
        """See ``Sink``."""
        self._log.doing = ("deliver", channel)
        try:
            receivers = self._core.deliver(channel, stamp, envelope)
        except Exception as error:  # noqa: BLE001 - see StreamIO.give_up
            self._io.give_up(self._core.streams_of(channel), error)
            return 0
        if self._core.outbox:
            self._actions.carry_out()
        return receivers

    def subscribed(self, channel: str) -> None:
        """See ``Sink``."""
        if self._core.broker_away:
            logger.info("the broker is back")
        self._core.subscribed(channel)
        self._actions.carry_out()

    def page(self, number: int, page: Page) -> None:
        """See ``Sink``."""
        channel = self._core.channel_read(number)
        if channel is None:
            return  # it was read for streams that have left
        self._log.doing = ("page", channel)
        try:
            self._core.page(number, page, self._loop.time())
        except Exception as error:  # noqa: BLE001 - see StreamIO.give_up
            self._io.give_up(self._core.streams_of(channel), error)
        self._actions.carry_out()

    def top(self, channel: str, cursor: Cursor) -> None:
        """See ``Sink``."""
        self._core.top(channel, cursor)
        self._actions.carry_out()

    def refused(self, channel: str, reason: str) -> None:
        """See ``Sink``; its streams open late and say that no events come."""
        if channel == CONTROL_CHANNEL:
            if not self._gets_no_revocations:
                logger.warning("sse.disconnect() does not reach this hub, the broker refuses it: %s", reason)
            self._gets_no_revocations = True
            return
        self._log.throttled_warning("refused", "the broker refuses channel %s: %s", ascii(channel), reason)

    def broker_lost(self, reason: str) -> None:
        """See ``Sink``."""
        self._log.throttled_warning("broker", "the broker cannot be reached: %s", reason)
        self._core.lost(self._loop.time())
        self._actions.carry_out()
