"""A page in a real browser on a bad connection: slow, cut, silent, reset, and good again."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Page
from tests.support.local import LocalServer, make_app
from tests.support.proxy import Proxy

LAST = 1000
PUBLISH_SECONDS = 0.004
SLOW_BYTES_PER_SECOND = 30_000
PAGE = """<!doctype html><title>numbers</title><script>
window.numbers = []; window.opened = 0; window.told = [];
const events = new EventSource("/stream");
events.onopen = () => { window.opened += 1; };
events.onmessage = event => window.numbers.push(Number(event.data));
for (const name of ["stream-open", "stream-reset"])
  events.addEventListener(name, () => window.told.push(name));
</script>"""


def make_page_app(broker_url: str) -> Flask:
    app = make_app(SSE_BROKER_URL=broker_url, SSE_RETRY_MS="50-150", SSE_HEARTBEAT_SECONDS=0.5)
    app.add_url_rule("/", view_func=lambda: PAGE)
    return app


@pytest.fixture(params=[pytest.param("memory", marks=pytest.mark.long), "valkey"])
def server(request: pytest.FixtureRequest, channel: str) -> Iterator[LocalServer]:
    url = f"memory://{channel}" if request.param == "memory" else request.getfixturevalue("valkey").url
    with LocalServer(make_page_app(url)) as server:
        yield server


def publish_numbers(server: LocalServer, done: threading.Event) -> None:
    for number in range(1, LAST + 1):
        server.publish(number)
        threading.Event().wait(PUBLISH_SECONDS)
    done.set()


def test_a_page_on_a_bad_connection_shows_every_number_in_order(server: LocalServer, chromium: Page) -> None:
    done = threading.Event()
    publisher = threading.Thread(target=publish_numbers, args=(server, done))
    with Proxy(server.port) as proxy:
        chromium.goto(f"http://127.0.0.1:{proxy.port}/")
        chromium.wait_for_function("told.length > 0")
        publisher.start()
        faults = itertools.cycle(["cut", "reset", "slow", "silent"])
        seen = 0
        while not done.is_set():
            chromium.wait_for_function(f"numbers.length >= {min(seen + 20, LAST)}")
            fault = next(faults)
            if fault == "cut":
                proxy.cut()
            elif fault == "reset":
                proxy.reset()
            elif fault == "slow":
                proxy.bandwidth(SLOW_BYTES_PER_SECOND)
            else:
                proxy.black_hole()
            # How long it stays: some sixty numbers are published meanwhile.
            done.wait(60 * PUBLISH_SECONDS)
            if fault == "silent":
                # A cable that is put back in: nobody remembers the old connections.
                proxy.reset()
            proxy.restore()
            seen = chromium.evaluate("numbers.length")
        chromium.wait_for_function(f"numbers.length >= {LAST}")
        publisher.join()
        assert chromium.evaluate("numbers") == list(range(1, LAST + 1))
        assert chromium.evaluate("told") == ["stream-open"]
        assert chromium.evaluate("opened") > 4
