"""Publishers that write down what was acknowledged, while everything around them fails."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Sequence
from typing import Self

from flask_sse import BrokerUnavailableError, Published, Publisher

from .records import Publication

# Every so many events come in one call, and every so many others have a key and are tried until taken.
MANY_EVERY, MANY = 20, 5
KEY_EVERY = 3
MAX_TRIES = 20


class LoggingPublisher:
    """A thread that publishes to each channel in turn until the end of its ``with`` block.

    Args:
        name: Tells its events from those of others.
        url: The broker.
        channels: Where to.
        pause_seconds: Between two calls.

    Attributes:
        log: What it published, in its order.
        failed: How many calls raised an error.
    """

    def __init__(self, name: str, url: str, channels: Sequence[str], pause_seconds: float) -> None:
        self.log: list[Publication] = []
        self.failed = 0
        self._name = name
        self._publisher = Publisher(url)
        self._channels = itertools.cycle(channels)
        self._pause_seconds = pause_seconds
        self._number = itertools.count(1)
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._publisher.close()

    def stop(self) -> None:
        """Publish no more."""
        self._enough.set()
        self._thread.join()

    def publish_once(self, channel: str) -> None:
        """Publish one more event, from the test's own thread after ``stop``."""
        self._publish([self._event(channel)], key=None)

    def _run(self) -> None:
        for turn in itertools.count(1):
            if self._enough.wait(self._pause_seconds):
                return
            channel = next(self._channels)
            count = MANY if turn % MANY_EVERY == 0 else 1
            events = [self._event(channel) for _ in range(count)]
            with_key = turn % KEY_EVERY == 0 and count == 1
            self._publish(events, key=f"{self._name}-{turn}" if with_key else None)

    def _event(self, channel: str) -> tuple[str, str]:
        data = {"channel": channel, "publisher": self._name, "number": next(self._number)}
        return channel, json.dumps(data)

    def _publish(self, events: list[tuple[str, str]], key: str | None) -> None:
        taken: list[Published] = []
        for _ in range(1 if key is None else MAX_TRIES):
            try:
                taken = self._publisher.publish_many(
                    [{"data": data, "channel": channel, "key": key} for channel, data in events]
                )
                break
            except BrokerUnavailableError as error:
                self.failed += 1
                taken = error.published
        ids = [published.id for published in taken]
        for (channel, data), event_id in itertools.zip_longest(events, ids):
            self.log.append(Publication(channel, data, event_id))
