"""Two origins, cookies, a ticket and a revocation, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, request, session
from playwright.sync_api import Page
from tests.support.access import Serve
from tests.support.local import LocalServer

from flask_sse import ServerSentEventsBlueprint

Blueprint = ServerSentEventsBlueprint

LISTEN = """
([url, credentials]) => {
  window.seen = [];
  window.source = new EventSource(url, {withCredentials: credentials});
  for (const type of ["open", "error"]) source.addEventListener(type, () => seen.push(type));
  for (const type of ["message", "stream-end"]) {
    source.addEventListener(type, (event) => seen.push(event.data));
  }
}
"""
CLOSED = "() => source.readyState === EventSource.CLOSED"


@pytest.fixture
def shop() -> Iterator[LocalServer]:
    """An application of another origin: a page and nothing else."""
    app = Flask("shop")
    app.add_url_rule("/", view_func=lambda: "<!doctype html><title>shop</title>")
    with LocalServer(app) as server:
        yield server


def with_login(server: LocalServer) -> LocalServer:
    """Add views that sign in and out, and a page."""

    @server.app.get("/login/<user>")
    def login(user: str) -> Response:
        session["user"] = user
        return Response("<!doctype html><title>here</title>")

    return server


def url_of(server: LocalServer, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def listen(page: Page, url: str, *, credentials: bool = False) -> None:
    page.evaluate(LISTEN, [url, credentials])


def wait_for(page: Page, seen: str) -> None:
    page.wait_for_function("(text) => seen.includes(text)", arg=seen)


def publish(server: LocalServer, blueprint: Blueprint, data: str, channel: str) -> None:
    with server.app.app_context():
        blueprint.publish(data, channel=channel)


def with_rules(blueprint: Blueprint) -> None:
    blueprint.authorize(lambda channel: channel == f"user-{session.get('user')}")
    blueprint.identify(lambda: session.get("user"))


def test_a_rule_looks_at_the_cookie_and_a_revocation_stops_the_page(
    blueprint: Blueprint, start: Serve, chromium: Page
) -> None:
    with_rules(blueprint)
    server = with_login(start(SSE_RETRY_MS=100))
    chromium.goto(url_of(server, "/login/ann"))
    listen(chromium, "/stream?channel=user-bob")
    chromium.wait_for_function(CLOSED)

    listen(chromium, "/stream?channel=user-ann")
    wait_for(chromium, "open")
    publish(server, blueprint, "for ann", "user-ann")
    wait_for(chromium, "for ann")
    with server.app.app_context():
        blueprint.disconnect(subject="ann", reason="signed out")
    chromium.wait_for_function(CLOSED)
    assert chromium.evaluate("() => seen") == [
        "open",
        "for ann",
        '{"reason": "signed out"}',
        "error",
        "error",
    ]


@pytest.mark.parametrize("listed", [True, False])
def test_a_page_of_another_origin_listens_where_it_is_listed(
    blueprint: Blueprint, start: Serve, shop: LocalServer, chromium: Page, listed: bool
) -> None:
    origins: dict[str, Any] = {"SSE_CORS_ORIGINS": [f"http://127.0.0.1:{shop.port}"]} if listed else {}
    with_rules(blueprint)
    server = with_login(start(**origins))
    # One site, two origins: the cookie goes along, and only the list lets the page read.
    chromium.goto(url_of(server, "/login/ann"))
    chromium.goto(url_of(shop))
    listen(chromium, url_of(server, "/stream?channel=user-ann"), credentials=True)
    if listed:
        wait_for(chromium, "open")
        publish(server, blueprint, "for ann", "user-ann")
        wait_for(chromium, "for ann")
    else:
        chromium.wait_for_function(CLOSED)
        assert chromium.evaluate("() => seen") == ["error"]


def test_a_ticket_opens_a_stream_from_another_site_and_stops_the_page_when_it_is_over(
    blueprint: Blueprint, start: Serve, shop: LocalServer, chromium: Page
) -> None:
    blueprint.authorize(lambda channel: False)
    origin = f"http://localhost:{shop.port}"
    server = start(SSE_CORS_ORIGINS=[origin], SSE_RETRY_MS=100)
    with server.app.test_request_context("/"):
        address = url_of(server, blueprint.url("a", subject="ann"))
    chromium.goto(origin)
    listen(chromium, address)
    wait_for(chromium, "open")
    publish(server, blueprint, "for shops", "a")
    wait_for(chromium, "for shops")
    with server.app.app_context():
        blueprint.disconnect(subject="ann")
    chromium.wait_for_function(CLOSED)
    assert '{"reason": "disconnected"}' in chromium.evaluate("() => seen")

    listen(chromium, address)
    chromium.wait_for_function(CLOSED)
    assert '{"reason": "disconnected"}' in chromium.evaluate("() => seen")

    with server.app.test_request_context("/"):
        address = url_of(server, blueprint.url("a", expires_in=1))
    listen(chromium, address)
    chromium.wait_for_function(CLOSED)
    assert '{"reason": "expired"}' in chromium.evaluate("() => seen")


def test_a_page_of_another_site_goes_on_with_a_long_last_event_id(
    blueprint: Blueprint, start: Serve, shop: LocalServer, chromium: Page
) -> None:
    """The standard has browsers ask first (preflight) above 128 bytes; Chromium does not."""
    settings = {"SSE_RETRY_MS": 100, "SSE_MAX_STREAM_SECONDS": 1, "SSE_MAX_CHANNELS_PER_STREAM": 8}
    server = start(SSE_CORS_ORIGINS=[f"http://localhost:{shop.port}"], **settings)
    chromium.goto(f"http://localhost:{shop.port}")
    channels = [f"channel-{number}" for number in range(8)]
    query = "&".join(f"channel={name}" for name in channels)
    listen(chromium, url_of(server, f"/stream?{query}"))
    wait_for(chromium, "open")
    publish(server, blueprint, "first", channels[0])
    wait_for(chromium, "first")
    chromium.wait_for_function("() => seen.filter((type) => type === 'open').length > 1")
    publish(server, blueprint, "second", channels[7])
    wait_for(chromium, "second")


FETCH = """
async ([url, token]) => {
  try {
    const headers = token ? {Authorization: token} : {};
    const answer = await fetch(url, {headers});
    const text = answer.status === 200 ? "" : await answer.text();
    if (answer.body) await answer.body.cancel().catch(() => {});
    return [answer.status, text];
  } catch (error) {
    return ["blocked", ""];
  }
}
"""


@pytest.mark.parametrize("own_view", [False, True])
def test_a_page_of_another_site_sends_authorization_and_reads_the_status(
    blueprint: Blueprint, start: Serve, shop: LocalServer, chromium: Page, own_view: bool
) -> None:
    """A browser asks first, keeps the answer, and lets the page read what a guard answers (14.34)."""
    asked: list[str] = []

    def guard() -> tuple[str, int] | None:
        asked.append(request.method)
        return None if request.headers.get("Authorization") == "Bearer right" else ("who are you?", 401)

    if own_view:
        blueprint.authorize(lambda channel: guard() is None)
    else:
        blueprint.before_request(guard)
    listed = start(SSE_CORS_ORIGINS=[f"http://localhost:{shop.port}"])
    listed.app.add_url_rule("/mine", "mine", lambda: blueprint.stream("a"), methods=["GET", "OPTIONS"])
    path = "/mine" if own_view else "/stream"
    chromium.goto(f"http://localhost:{shop.port}")

    def fetch(server: LocalServer, token: str) -> object:
        return chromium.evaluate(FETCH, [url_of(server, path), token])

    assert fetch(listed, "Bearer right") == [200, ""]
    if not own_view:
        assert fetch(listed, "") == [401, "who are you?"]
        assert fetch(listed, "Bearer wrong") == [401, "who are you?"]
    assert "OPTIONS" not in asked
    others = start(SSE_CORS_ORIGINS=["https://other.example"])
    others.app.add_url_rule("/mine", "mine", lambda: blueprint.stream("a"), methods=["GET", "OPTIONS"])
    assert fetch(others, "Bearer right") == ["blocked", ""]
    anybody = start(SSE_CORS_ORIGINS="*")
    anybody.app.add_url_rule("/mine", "mine", lambda: blueprint.stream("a"), methods=["GET", "OPTIONS"])
    assert fetch(anybody, "Bearer right") == ["blocked", ""]
