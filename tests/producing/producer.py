"""A job that never comes to its end: ``producer.py URL CHANNEL [again | fast | ALIVE_SECONDS]``."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator

from flask_sse import Publisher
from flask_sse.producing import attempt, producer

OPTIONS = sys.argv[3:]


def work() -> Iterator[str]:
    yield "one"
    if OPTIONS == ["fast"]:
        yield from map(str, range(100))
        print("written", flush=True)
    while True:
        time.sleep(0.5)
        if OPTIONS == ["again"]:
            yield "again"


if __name__ == "__main__":
    if OPTIONS in ([], ["again"]):
        vars(producer).update(CHECK_SECONDS=0.05, ALIVE_SECONDS=0.2)
        vars(attempt).update(CHECK_SECONDS=0.05, RENEW_SECONDS=0.2, LEASE_SECONDS=1.0)
    elif OPTIONS == ["fast"]:
        vars(producer).update(ALIVE_SECONDS=60.0)
    else:
        vars(producer).update(CHECK_SECONDS=0.05, ALIVE_SECONDS=float(OPTIONS[0]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    rules = {"run:*": {"size": 10}} if OPTIONS == ["fast"] else {}
    Publisher(sys.argv[1], SSE_HISTORY_RULES=rules).produce(work(), sys.argv[2])
