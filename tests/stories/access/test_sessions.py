"""A stream sets no cookie and saves no session, wherever sessions are kept (13.9)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import flask
import flask_login
import pytest
from flask import abort, session
from flask_session import Session  # type: ignore[import-untyped]
from playwright.sync_api import Page
from redis import Redis
from tests.support.access import Serve, opened
from tests.support.brokers import Broker
from tests.support.client import Answer
from tests.support.local import LocalServer
from tests.support.patience import PATIENT_SECONDS

from flask_sse import ServerSentEventsBlueprint, sse
from flask_sse.live import LivePage

Blueprint = ServerSentEventsBlueprint

TAKEOVER = pytest.mark.parametrize("takeover", ["auto", "off"])
LISTEN = """
() => {
  window.seen = [];
  window.source = new EventSource("/stream");
  source.addEventListener("stream-open", () => seen.push("open"));
}
"""


def add_views(server: LocalServer) -> None:
    """Add a view that begins a permanent session, one that changes it, and one that ends it."""

    @server.app.get("/login")
    def login() -> str:
        session.permanent = True
        session["user"] = "ann"
        return "<!doctype html>"

    @server.app.get("/set/<name>")
    def change(name: str) -> str:
        session[name] = "set"
        return ""

    @server.app.get("/session")
    def show() -> dict[str, Any]:
        return dict(session)

    @server.app.get("/logout")
    def logout() -> str:
        session.clear()
        return ""


def cookies_of(answer: Answer) -> dict[str, str]:
    pairs = (line.partition(";")[0] for line in answer.headers.get_all("Set-Cookie", []))
    return {"Cookie": "; ".join(pairs)}


@pytest.fixture(params=["cookie", "store"])
def kept(request: pytest.FixtureRequest) -> str:
    """Where sessions are kept: in Flask's cookie, or in a store of Flask-Session."""
    return str(request.param)


@pytest.fixture
def started(kept: str, start: Serve, valkey: Broker) -> Iterator[Serve]:
    """Start a server whose sessions are kept there, and whose views use them."""
    with closing(Redis.from_url(valkey.url)) as client:

        def serving(**config: Any) -> LocalServer:
            server = start(**config)
            if kept == "store":
                # After the blueprint was registered: it sets another interface.
                server.app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
                Session(server.app)
            add_views(server)
            return server

        yield serving


@TAKEOVER
def test_the_stream_of_a_permanent_session_sets_no_cookie(
    blueprint: Blueprint, started: Serve, takeover: str
) -> None:
    blueprint.authorize(lambda channel: session.get("user") == "ann")
    server = started(SSE_TAKEOVER=takeover)
    cookie = cookies_of(server.get("/login"))
    # The views of the same application still do.
    assert cookies_of(server.get("/set/x", cookie))["Cookie"].startswith("session=")
    with opened(server, "/stream", cookie) as stream:
        assert stream.headers["Set-Cookie"] is None
        assert "Cookie" in stream.headers["Vary"]


@TAKEOVER
@pytest.mark.parametrize("status", [200, 403, 401])
def test_what_a_rule_writes_into_the_session_is_dropped(
    blueprint: Blueprint, started: Serve, takeover: str, status: int
) -> None:
    @blueprint.authorize
    def may_listen(channel: str) -> bool:
        session["from the rule"] = "x"
        session.pop("user", None)
        return status == 200 or (status == 401 and abort(401))

    server = started(SSE_TAKEOVER=takeover)

    @server.app.before_request
    def count() -> None:
        if flask.request.path == "/stream":
            session["from a hook"] = session.get("from a hook", 0) + 1

    cookie = cookies_of(server.get("/login"))
    before = server.get("/session", cookie).body
    with server.stream("/stream", cookie) as stream:
        assert stream.status == status
        assert stream.headers["Set-Cookie"] is None
    assert server.get("/session", cookie).body == before


def test_a_slow_stream_undoes_no_update_of_the_session(
    blueprint: Blueprint, start: Serve, valkey: Broker
) -> None:
    entered, may_go_on = threading.Event(), threading.Event()

    @blueprint.authorize
    def may_listen(channel: str) -> bool:
        session["asked"] = "yes"
        entered.set()
        return may_go_on.wait(PATIENT_SECONDS)

    server = start()
    with closing(Redis.from_url(valkey.url)) as client:
        server.app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
        Session(server.app)
        add_views(server)
        cookie = cookies_of(server.get("/login"))
        with server.stream("/stream", cookie) as stream:
            assert entered.wait(PATIENT_SECONDS)
            server.get("/set/meanwhile", cookie)
            may_go_on.set()
            stream.wait_opened()
        kept = server.get("/session", cookie).body
        assert b"meanwhile" in kept
        assert b"asked" not in kept


def test_a_store_forgets_an_idle_session_though_its_page_reconnects(start: Serve, valkey: Broker) -> None:
    server = start(PERMANENT_SESSION_LIFETIME=1000)
    with closing(Redis.from_url(valkey.url)) as client:
        server.app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
        Session(server.app)
        add_views(server)
        cookie = cookies_of(server.get("/login"))
        key = f"session:{cookie['Cookie'].partition('=')[2]}"
        client.expire(key, 500)
        with opened(server, "/stream", cookie):
            assert 0 < client.ttl(key) <= 500
        server.get("/session", cookie)
        assert client.ttl(key) > 500


def test_signing_out_while_a_rule_is_slow_is_not_undone(
    blueprint: Blueprint, start: Serve, chromium: Page
) -> None:
    """In Chromium, whose cookies count: the stream's head comes behind the answer to the sign-out."""
    entered, may_go_on = threading.Event(), threading.Event()

    @blueprint.authorize
    def may_listen(channel: str) -> bool:
        session["asked"] = "yes"
        entered.set()
        return may_go_on.wait(PATIENT_SECONDS)

    server = start()
    add_views(server)
    chromium.goto(f"http://127.0.0.1:{server.port}/login")
    chromium.evaluate(LISTEN)
    assert entered.wait(PATIENT_SECONDS)
    chromium.evaluate("() => fetch('/logout')")
    may_go_on.set()
    chromium.wait_for_function("() => seen.includes('open')")
    assert chromium.context.cookies() == []


@TAKEOVER
@pytest.mark.parametrize("path", ["/stream", "/stream?channel=%00", "/stream?channel=secret", "/live/stream"])
def test_no_hook_of_the_application_sets_a_cookie_with_a_stream(
    blueprint: Blueprint, start: Serve, takeover: str, path: str
) -> None:
    """Flask-Login's "remember me" is such a hook."""
    blueprint.authorize(lambda channel: channel != "secret")
    server = start(SSE_TAKEOVER=takeover, REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True)
    server.app.register_blueprint(LivePage(may_see=lambda: True), url_prefix="/live")
    manager = flask_login.LoginManager(server.app)

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load(user_id: str) -> flask_login.UserMixin:
        user = flask_login.UserMixin()
        user.id = user_id
        return user

    @server.app.get("/login")
    def login() -> str:
        flask_login.login_user(load("ann"), remember=True)
        return ""

    @server.app.after_request
    def more(response: flask.Response) -> flask.Response:
        response.set_cookie("more", "1")
        response.headers["X-More"] = "1"
        return response

    cookie = cookies_of(server.get("/login"))
    assert "remember_token" in cookie["Cookie"]
    with server.stream(path, cookie) as stream:
        assert stream.headers["Set-Cookie"] is None
        assert stream.headers["X-More"] == "1"


@contextmanager
def answering(start: Serve, takeover: str) -> Iterator[LocalServer]:
    server = start(SSE_TAKEOVER=takeover)

    @server.app.get("/answer")
    def answer() -> Any:
        session["asked"] = session.get("asked", 0) + 1
        return sse.response(iter(["a", "b"]))

    add_views(server)
    yield server


@TAKEOVER
def test_the_answer_of_a_view_saves_its_session_as_any_other(start: Serve, takeover: str) -> None:
    """``sse.response`` is what a view of the application answers with, once, and no stream."""
    with answering(start, takeover) as server, server.stream("/answer") as stream:
        assert stream.next_event().data == "a"
        cookie = {"Cookie": str(stream.headers["Set-Cookie"]).partition(";")[0]}
        assert server.get("/session", cookie).body.strip() == b'{"asked":1}'


def test_sessions_of_tests_are_saved_in_the_request_of_a_stream_that_is_open(
    blueprint: Blueprint, start: Serve
) -> None:
    """A request within another one, as tests make it, has a session of its own."""
    server = start(SSE_TAKEOVER="off")
    add_views(server)
    with server.app.test_request_context("/stream"):
        blueprint.stream()
        client = server.app.test_client()
        with client.session_transaction() as changed:
            changed["user"] = "bob"
        assert client.get("/session").json == {"user": "bob"}
