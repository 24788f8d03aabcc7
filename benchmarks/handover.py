"""How long do streams stand still when another hub takes over?

Somebody publishes every two milliseconds while a new hub takes the place of the old one. The longest time
without an answer is the time in which neither of the two hubs works.
"""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial
from itertools import pairwise
from typing import Self

from tests.support.bare_application import BareApplication, socket_pair
from tests.support.hubs import separate_hubs
from tests.support.successors import succeed
from tests.support.swarm import raise_descriptor_limit

from .harness import Report, in_turns

STREAMS = (0, 1000, 5000, 8000)
CHANNELS = 100
ROUNDS = 3
PAUSE_SECONDS = 0.002
AROUND_SECONDS = 0.3


class Asker:
    """Publishes again and again, and notes when it was answered."""

    def __init__(self, url: str) -> None:
        self.answered: list[float] = []
        self._url = url
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        time.sleep(AROUND_SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        time.sleep(AROUND_SECONDS)
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        with BareApplication(self._url) as client:
            while not self._enough.wait(PAUSE_SECONDS):
                client.publish("x", channel="nobody")
                self.answered.append(time.monotonic())


def longest_silence(streams: int) -> float:
    """Return seconds, the longest of those in which nobody was answered."""
    url = f"memory://handover-{streams}"
    with separate_hubs(), BareApplication(url) as client, contextlib.ExitStack() as stack:
        for number in range(streams):
            _, hubs = stack.enter_context(socket_pair())
            client.hand_over(hubs, f"channel-{number % CHANNELS}")
            hubs.close()
        with Asker(url) as asker:
            succeed(client.settings)
        assert client.status()["streams"] == streams
    return max(later - earlier for earlier, later in pairwise(asker.answered))


def main() -> None:
    """Measure with several numbers of streams."""
    raise_descriptor_limit()
    report = Report("Handover: another hub takes over", f"streams of {CHANNELS} channels, {ROUNDS} rounds")
    silences = in_turns({streams: partial(longest_silence, streams) for streams in STREAMS}, ROUNDS)
    base = silences[0].median
    report.table(
        ["streams", "seconds without an answer", "µs a stream"],
        [
            (str(streams), silence, f"{(silence.median - base) / streams * 1e6:.0f}" if streams else "")
            for streams, silence in silences.items()
        ],
    )


if __name__ == "__main__":
    main()
