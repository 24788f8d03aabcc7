"""A page in a real browser does not notice that everything behind it is restarted."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page
from tests.support.brokers import Broker
from tests.support.successors import succeed

from flask_sse import Publisher

from .site import Site

LISTEN = """
(channel) => {
    window.opened = 0;
    window.heard = [];
    const source = new EventSource(`/stream?channel=${channel}`);
    source.onopen = () => { window.opened += 1; };
    source.onmessage = (event) => { window.heard.push(event.data); };
    return new Promise((resolve) => source.addEventListener("stream-open", resolve)).then(() => true);
}
"""


def test_an_event_source_opens_once_and_hears_all_while_application_and_hub_are_replaced(
    chromium: Page, valkey: Broker, channel: str, runtime_directory: str
) -> None:
    publisher = Publisher(valkey.url)
    with Site(valkey.url, config={}) as site:
        chromium.goto(f"http://127.0.0.1:{site.port}/ordinary")
        assert chromium.evaluate(LISTEN, channel)

        def upgrade() -> None:
            succeed(site.settings)

        acts: list[Callable[[], None]] = [site.reload, upgrade, site.restart, upgrade]
        for number, act in enumerate(acts):
            publisher.publish(f"{number} before", channel=channel)
            act()
            publisher.publish(f"{number} after", channel=channel)
        chromium.wait_for_function("window.heard.length >= 8")
        words = [f"{number} {word}" for number in range(4) for word in ("before", "after")]
        assert chromium.evaluate("window.heard") == words
        assert chromium.evaluate("window.opened") == 1
    publisher.close()
