"""Publishes again and again: ``publish.py KIND``, with ``REDIS_URL``. See ``harness.Commanded``.

A line ``N`` on standard input publishes N events and is answered by "ok NS_ELAPSED NS_OF_CPU".
Flask-SSE 1.0 is measured by the same file, so only what both have is imported for all.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

URL = os.environ["REDIS_URL"]
DATA = "x" * 90
BATCH = 100


def script() -> Callable[[int], object]:
    """Return a bare call of redis-py that runs the script which publishes with a history."""
    import redis

    from flask_sse import Message
    from flask_sse.brokers.base import Publication
    from flask_sse.brokers.redis import history
    from flask_sse.settings import Settings
    from flask_sse.wire.envelope import pack

    publication = Publication("sse", pack(Message(DATA)), Settings(URL).history_of("sse"))
    keys, args = history.append_args([publication])
    publish = redis.Redis.from_url(URL).register_script(history.script("append"))
    return lambda count: [publish(keys, args) for _ in range(count)]


def one() -> Callable[[int], object]:
    """Return ``publish``."""
    from flask_sse import Publisher

    publisher = Publisher(URL)
    return lambda count: [publisher.publish(DATA) for _ in range(count)]


def many() -> Callable[[int], object]:
    """Return ``publish_many`` with batches."""
    from flask_sse import Publisher

    publisher = Publisher(URL)
    batch = [{"data": DATA}] * BATCH
    return lambda count: [publisher.publish_many(batch) for _ in range(count // BATCH)]


def old() -> Callable[[int], object]:
    """Return ``publish`` of 1.0, in one application context for all."""
    from flask import Flask

    from flask_sse import sse

    app = Flask(__name__)
    app.config["REDIS_URL"] = URL

    def publish(count: int) -> None:
        with app.app_context():
            for _ in range(count):
                sse.publish(DATA)

    return publish


publish = {"script": script, "one": one, "many": many, "old": old}[sys.argv[1]]()
for line in sys.stdin:
    began, cpu = time.perf_counter_ns(), time.process_time_ns()
    publish(int(line))
    print("ok", time.perf_counter_ns() - began, time.process_time_ns() - cpu, flush=True)
