"""The quickstart of Flask-SSE 1.0, word for word, in a real browser on real web servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page
from tests.support import webservers
from tests.support.brokers import start_valkey
from tests.support.webservers import RunningServer

APPS = Path(__file__).parent / "apps"


@pytest.fixture(scope="module", params=["gunicorn-gevent", "flask-single", "gunicorn-sync"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    # A broker of its own, for everything here is on the default channel.
    with (
        start_valkey() as broker,
        webservers.start(request.param, "quickstart:app", APPS, {"REDIS_URL": broker.url}) as running,
    ):
        yield running


class Visitor:
    """A page of the quickstart; what it says in dialogs is in ``said``."""

    def __init__(self, page: Page) -> None:
        self.said: list[str] = []
        self._page = page
        page.on("dialog", self._answer)

    def visit(self, server: RunningServer) -> None:
        self._page.goto(server.url)
        self._page.wait_for_function("source.readyState === EventSource.OPEN")

    def hears(self, count: int) -> list[str]:
        while len(self.said) < count:
            self._page.wait_for_event("dialog", timeout=5000)
        self._page.evaluate("0")  # the page answers when it has nothing more to say
        return self.said

    def _answer(self, dialog: Dialog) -> None:
        self.said.append(dialog.message)
        dialog.accept()


def test_the_greeting_reaches_the_page(server: RunningServer, chromium: Page) -> None:
    visitor = Visitor(chromium)
    visitor.visit(server)
    for number in range(1, 4):
        assert server.get("/hello").body == b"Message sent!"
        assert visitor.hears(number) == ["The server says Hello!"] * number
    assert "Traceback" not in server.process.output()


def test_five_tabs_hear_one_greeting_that_another_page_asked_for(
    server: RunningServer, chromium: Page
) -> None:
    """A browser has six connections to a server: five streams leave one for all other requests."""
    visitors = [Visitor(chromium.context.new_page()) for _ in range(5)]
    for visitor in visitors:
        visitor.visit(server)
    chromium.goto(f"{server.url}/hello")
    assert chromium.inner_text("body") == "Message sent!"
    for visitor in visitors:
        assert visitor.hears(1) == ["The server says Hello!"]
