"""All others: those who must not notice what one client does."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Self

from tests.support.client import StreamClient

from flask_sse import Publisher
from flask_sse.errors import SSEError

from .one_client import FLOOD

CHANNEL = "others"
PUBLISH_SECONDS = 0.02
NEWCOMER_SECONDS = 0.1
LARGE = "x" * 100_000


class Others:
    """A page that stays, pages that come anew, and a publisher; leaving the ``with`` block ends them.

    Args:
        port: Of the application.
        publisher: The way to the broker.
        floods: Whether it publishes large events as well, on another channel.
        come_anew: Whether new pages come.

    Attributes:
        complaints: What they have noticed.
        delays: From publication to arrival, in seconds.
        newcomers: How many pages have come anew.
    """

    def __init__(
        self, port: int, publisher: Publisher, *, floods: bool = False, come_anew: bool = True
    ) -> None:
        self.complaints: list[str] = []
        self.delays: list[float] = []
        self.newcomers = 0
        self._port = port
        self._publisher = publisher
        self._floods = floods
        self._over = threading.Event()
        self._page = StreamClient(port, f"/stream?channel={CHANNEL}")
        self._page.wait_opened()
        work = [self._publish, self._read, *([self._come_anew] if come_anew else [])]
        self._threads = [threading.Thread(target=self._complain_of, args=(each,)) for each in work]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._page.close()

    @property
    def p99_seconds(self) -> float:
        """The delay that one of a hundred events exceeds."""
        return statistics.quantiles(self.delays, n=100)[-1]

    def _complain_of(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
            self.complaints.append(f"{work}: {error!r}"[:500])

    def _publish(self) -> None:
        number = 0
        while not self._over.wait(PUBLISH_SECONDS):
            try:
                self._publisher.publish([number, time.monotonic()], channel=CHANNEL)
            except SSEError as error:
                self.complaints.append(f"not published: {error}")
                continue
            number += 1
            if self._floods:
                self._publisher.publish(LARGE, channel=FLOOD)
        self._publisher.publish([number, None], channel=CHANNEL)

    def _read(self) -> None:
        for expected in itertools.count():
            event = self._page.next_event()
            if event.type != "message" or json.loads(event.data)[0] != expected:
                self.complaints.append(f"instead of event {expected}: {event}"[:300])
                return
            published_at = json.loads(event.data)[1]
            if published_at is None:
                return
            self.delays.append(time.monotonic() - published_at)

    def _come_anew(self) -> None:
        while not self._over.wait(NEWCOMER_SECONDS):
            with contextlib.closing(StreamClient(self._port, f"/stream?channel={CHANNEL}")) as page:
                page.wait_opened()
            self.newcomers += 1
