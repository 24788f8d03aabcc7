"""Publishers, clients and applications while a nemesis breaks one thing after the other; then the checker."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self

from tests.support.brokers import Broker

from .checker import check
from .clients import RawClient
from .publishers import LoggingPublisher
from .records import ClientLog, Publication
from .report import Behind, Report

Action = Callable[[], object]

POLL_SECONDS = 0.25


class Chaos:
    """A run; leaving the ``with`` block ends all that it started.

    Args:
        broker: What the nemesis plays with.
        servers: Addresses of applications with that broker, without a slash at the end.
        channels: Of which each client takes one, or all.
        clients: How many there are.
        publish_seconds: Between two calls of each of the two publishers.
        seed: Of the random numbers.

    Attributes:
        actions: What may happen, with how often.
        clients: Those that listen now.
        rng: For everything that is left to chance.
        done: How often each action happened.
    """

    def __init__(
        self,
        broker: Broker,
        servers: Sequence[str],
        channels: Sequence[str],
        *,
        clients: int,
        publish_seconds: float = 0.01,
        seed: int | None = None,
    ) -> None:
        self.broker = broker
        self.channels = channels
        self.rng = random.Random(seed)
        self.actions: dict[str, tuple[float, Action]] = {
            "listening connections killed": (4, lambda: self._kill("pubsub")),
            "publishing connections killed": (2, lambda: self._kill("normal")),
            "client leaves and comes back": (6, self._disconnect),
            "client stops to read for a moment": (2, self._pause_client),
            "history cut to 5 events": (2, self._trim),
        }
        self.done: dict[str, int] = {}
        self.clients: list[RawClient] = []
        self.more_logs: Callable[[], Sequence[ClientLog]] = lambda: ()
        self._gone: list[ClientLog] = []
        self._servers = servers
        self._stack = ExitStack()
        self._publishers = [
            LoggingPublisher(f"publisher {number}", broker.url, channels, publish_seconds)
            for number in range(2)
        ]
        for _ in range(clients):
            self.join()

    def __enter__(self) -> Self:
        for publisher in self._publishers:
            self._stack.enter_context(publisher)
        return self

    def __exit__(self, *error: object) -> None:
        for client in self.clients:
            client.stop()
        self._stack.close()

    def join(self) -> None:
        """Let one more client come."""
        number = len(self.clients) + len(self._gone)
        channels = self.channels if number % 3 == 0 else [self.channels[number % len(self.channels)]]
        query = "&".join(f"channel={name}" for name in channels)
        urls = [f"{server}/stream?{query}" for server in self._servers]
        first = number % len(urls)
        self.clients.append(
            RawClient([*urls[first:], *urls[:first]], channels, name=f"client {number}", patient=True)
        )

    def replace_a_client(self) -> None:
        """Let a client go for good, and another one come."""
        client = self.clients.pop(self.rng.randrange(len(self.clients)))
        client.stop()
        log = client.log()
        self._gone.append(ClientLog(log.name, log.channels, log.seen, connected=False))
        self.join()

    def run(self, seconds: float, pause_seconds: float = 0.25) -> None:
        """Let things happen, one after the other."""
        names = list(self.actions)
        weights = [weight for weight, _ in self.actions.values()]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            [name] = self.rng.choices(names, weights)
            self.actions[name][1]()
            self.done[name] = self.done.get(name, 0) + 1
            threading.Event().wait(pause_seconds * self.rng.uniform(0.2, 1.8))
        for client in self.clients:
            client.resume()

    def settle(self, seconds: float) -> Report:
        """Publish no more; wait until all clients have all, and return what the checker says."""
        for publisher in self._publishers:
            publisher.stop()
        deadline = time.monotonic() + seconds
        while True:
            report = check(self.publications(), self.logs(), self._tops())
            is_behind = any(isinstance(violation, Behind) for violation in report.violations)
            if not is_behind or time.monotonic() > deadline:
                return report
            threading.Event().wait(POLL_SECONDS)

    def publish_one_more(self) -> None:
        """Publish one more event to each channel, after the others have stopped."""
        for publisher in self._publishers:
            publisher.stop()
        for channel in self.channels:
            self._publishers[0].publish_once(channel)

    def publications(self) -> list[Publication]:
        """Return what was published, the last one of each channel last."""
        logs = [publication for publisher in self._publishers for publication in publisher.log]
        return sorted(logs, key=lambda each: _milliseconds(each.cursor))

    def logs(self) -> list[ClientLog]:
        """Return what all clients have seen."""
        return [*self._gone, *(client.log() for client in self.clients), *self.more_logs()]

    @property
    def failed_calls(self) -> int:
        """How many calls of ``publish_many`` raised an error."""
        return sum(publisher.failed for publisher in self._publishers)

    def _tops(self) -> dict[str, str]:
        tops = {}
        for channel in self.channels:
            known: Any = self.broker.client().hmget(f"flask-sse:{{{channel}}}:m", "e", "t")
            if all(known):
                tops[channel] = b".".join(known).decode()
        return tops

    def _kill(self, kind: str) -> None:
        self.broker.client().client_kill_filter(_type=kind, skipme=True)

    def _disconnect(self) -> None:
        self.rng.choice(self.clients).disconnect(reset=self.rng.random() < 0.5)

    def _pause_client(self) -> None:
        client = self.rng.choice(self.clients)
        client.pause()
        timer = threading.Timer(self.rng.uniform(0.5, 2), client.resume)
        timer.start()
        self._stack.callback(timer.cancel)

    def _trim(self) -> None:
        self.broker.client().xtrim(f"flask-sse:{{{self.rng.choice(self.channels)}}}:s", 5)


def _milliseconds(cursor: str | None) -> int:
    return int(cursor.partition(".")[2].partition("-")[0]) if cursor else 0
