"""The page on lost connections: its snippets miss nothing, or fetch their state again."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from tests.stories.docs.snippets import FlaskRun, lay, post, read, run
from tests.support.client import StreamClient, get
from tests.support.local import LocalServer, serve
from tests.support.processes import wait_until

from flask_sse.hub.client.hub_client import HubClient
from flask_sse.hub.client.open_client import open_hub_client
from flask_sse.settings import Settings

FILES = {
    "app.py": "resume/app.py",
    "templates/index.html": "resume/index.html",
    "static/live.html": "resume/live.html",
}
# The application of the page, with pages that come back sooner.
SOONER = """
from app import app

app.config["SSE_RETRY_MS"] = 100
"""
RESET_SECONDS = 20


@pytest.fixture
def shop(tmp_path: Path, runtime_directory: str) -> Iterator[FlaskRun]:
    """The application of the page, served."""
    lay(tmp_path, FILES)
    (tmp_path / "sooner.py").write_text(SOONER)
    with FlaskRun(tmp_path, {"FLASK_APP": "sooner"}) as server:
        yield server


@pytest.fixture
def hub_client(shop: FlaskRun) -> Iterator[HubClient]:
    """A way to ask the hub of the shop."""
    hub_client = open_hub_client(Settings("memory://", application="app"))
    yield hub_client
    hub_client.close()


def wait_for_stock(page: Page, **wanted: int) -> None:
    page.wait_for_function(
        "wanted => document.querySelector('pre').textContent === JSON.stringify(wanted)",
        arg=wanted,
        timeout=RESET_SECONDS * 1000,
    )


def kill_the_hub(hub_client: HubClient) -> None:
    pid = hub_client.status()["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("path", ["/", "/live.html"])
def test_a_page_follows_events_and_fetches_its_state_again_when_the_history_is_gone(
    path: str, shop: FlaskRun, hub_client: HubClient, chromium: Page
) -> None:
    chromium.goto(shop.url + path)
    wait_for_stock(chromium, apples=3, pears=5)
    wait_until(lambda: hub_client.status()["streams"] == 1, what="the stream")
    post(f"{shop.url}/stock/apples/4")
    wait_for_stock(chromium, apples=4, pears=5)
    kill_the_hub(hub_client)
    post(f"{shop.url}/stock/pears/6")
    wait_for_stock(chromium, apples=4, pears=6)
    # It listens again.
    wait_until(lambda: hub_client.status()["streams"] == 1, what="the stream")
    post(f"{shop.url}/stock/pears/7")
    wait_for_stock(chromium, apples=4, pears=7)


def test_an_event_waits_while_a_page_fetches_its_state(shop: FlaskRun, chromium: Page) -> None:
    held: list[Route] = []
    chromium.route("**/stock", lambda route: held.append(route))  # noqa: PLW0108 - it asks its handlers for names
    with chromium.expect_request("**/stock"):
        chromium.goto(f"{shop.url}/live.html")
    chromium.evaluate("events.addEventListener('stock', () => { window.hasCome = true; })")
    post(f"{shop.url}/stock/apples/4")
    chromium.wait_for_function("window.hasCome")
    assert chromium.locator("pre").inner_text() == ""
    held[0].fulfill(json={"apples": 3, "pears": 5})
    wait_for_stock(chromium, apples=4, pears=5)


def test_a_page_fetches_its_state_later_if_the_web_server_fails(shop: FlaskRun, chromium: Page) -> None:
    chromium.route("**/stock", lambda route: route.fulfill(status=502, body="<h1>down</h1>"), times=1)
    chromium.goto(f"{shop.url}/live.html")
    wait_for_stock(chromium, apples=3, pears=5)


def test_nothing_falls_between_a_page_and_its_stream(shop: FlaskRun) -> None:
    page = get(shop.port, "/").body.decode()
    assert '{"apples": 3, "pears": 5}' in page
    [url] = re.findall(r'EventSource\("(.*?)"\)', page)
    post(f"{shop.url}/stock/apples/4")
    with StreamClient(shop.port, url) as stream:
        event = stream.next_event()
        assert (event.type, event.data) == ("stock", '{"apples": 4}')
    post(f"{shop.url}/stock/apples/5")
    # The URL is the same when the page comes back; what it has seen last counts.
    with StreamClient(shop.port, url, {"Last-Event-ID": event.last_event_id}) as stream:
        assert stream.next_event().data == '{"apples": 5}'


def test_a_log_begins_with_all_that_is_kept(chromium: Page) -> None:
    with serve(SSE_BROKER_URL="memory://log", SSE_HUB="thread") as server:
        for line in ("one", "two"):
            server.publish(line, channel="log")
        server.app.add_url_rule("/", "log", lambda: read("resume/log.html"))
        chromium.goto(f"http://127.0.0.1:{server.port}/")
        expect(chromium.locator("pre")).to_have_text("one\ntwo\n")
        server.publish("three", channel="log")
        expect(chromium.locator("pre")).to_have_text("one\ntwo\nthree\n")


def test_a_page_sees_the_id_of_the_application_and_comes_back_with_the_position() -> None:
    app = run("resume/own_id.py")["app"]
    app.config["SSE_HUB"] = "thread"
    client = app.test_client()
    with LocalServer(app) as server:
        with server.stream("/stream?channel=orders") as stream:
            stream.wait_for_bytes(b"stream-open")
            client.post("/orders/7/sent")
            client.post("/orders/8/sent")
            ids = [event.last_event_id for event in stream.events(3)]
            seen = stream.reading.body.decode()
        assert ids[1:] == ["order-7", "order-8"]
        seen = "event:sent" + seen.split("event:sent")[1]
        [position] = re.findall(r"^id:(\w+\.\d+-\d+)$", seen, re.MULTILINE)
        assert seen.replace(position, "kqzvhdmx.1795384602853-0") == read("resume/own_id.txt")
        for known in ("order-7", position):
            with server.stream(f"/stream?channel=orders&last_event_id={known}") as stream:
                assert stream.next_event().last_event_id == "order-8"
        with server.stream("/stream?channel=orders&last_event_id=order-6") as stream:
            assert stream.next_event().type == "stream-reset"
