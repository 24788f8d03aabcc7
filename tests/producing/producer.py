"""A job that never comes to its end: ``producer.py URL CHANNEL``."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator

from flask_sse import Publisher
from flask_sse.producing import run


def work() -> Iterator[str]:
    yield "one"
    while True:
        time.sleep(1)


if __name__ == "__main__":
    vars(run).update(CHECK_SECONDS=0.05, ALIVE_SECONDS=0.2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Publisher(sys.argv[1]).produce(work(), sys.argv[2])
