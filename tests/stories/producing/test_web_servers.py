"""What a generator yields arrives as it is yielded, on every web server, and stops when the client leaves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.support import webservers
from tests.support.brokers import Broker
from tests.support.local import LocalServer, make_app
from tests.support.processes import wait_until
from tests.support.webservers import WEB_SERVERS

from flask_sse.hub.core import runs

APPS = Path(__file__).parent.parent / "integration" / "apps"
# uWSGI runs other threads only where it is told to.
OPTIONS = {name: ["--enable-threads"] for name in WEB_SERVERS if name.startswith("uwsgi")}
TAKEOVER = [name for name, server in WEB_SERVERS.items() if server.takeover]
RELAY = ["granian", "gunicorn-gthread", "gunicorn-tls"]
OFTEN = ["flask-single", "gunicorn-sync", "gunicorn-gevent", "uvicorn-asyncio", "uwsgi-http-socket"]


def cases() -> list[object]:
    long = pytest.mark.long
    servers = [pytest.param(name, "auto", marks=[] if name in OFTEN else long) for name in TAKEOVER]
    return [*servers, *(pytest.param(name, "off", marks=[] if name == "granian" else long) for name in RELAY)]


@pytest.mark.parametrize(("name", "takeover"), cases())
def test_items_arrive_as_they_are_yielded_and_stop_when_the_client_leaves(name: str, takeover: str) -> None:
    env = {
        "STORY_BROKER_URL": "memory://letters",
        "STORY_TAKEOVER": takeover,
        "STORY_MAX_RESPONSES": "1",
    }
    with webservers.start(name, "story:app", APPS, env, OPTIONS.get(name, ())) as server:
        with server.stream("/letters?who=reader") as stream:
            assert stream.next_event().data == "a for reader"
            assert stream.headers["X-Accel-Buffering"] == "no"
            assert stream.headers["X-After"] == "yes"
            stream.wait_for_bytes(b"\n:\n\n")
            if takeover == "auto":
                # The only worker is free, and may have one generator (13.17).
                with server.stream("/letters?who=another") as rejected:
                    rejected.wait_closed()
                    assert rejected.status == 200
                    assert b"\n:too many responses (SSE_MAX_RESPONSES)\n\nretry:" in rejected.raw
                    assert rejected.headers["X-Who"] == "another"
                assert server.get("/go-on").body == b"yes"
                assert stream.next_event().data == "b"
        if takeover == "auto":
            wait_until(lambda: b"reader" in server.get("/endings").body, what="the end of the generator")
        assert "Traceback" not in server.process.output()


def test_where_threads_stand_still_the_error_says_how_they_run() -> None:
    env = {"STORY_BROKER_URL": "memory://letters"}
    with webservers.start("uwsgi-http-socket", "story:app", APPS, env) as server:
        assert server.get("/letters?who=nobody").status == 500
        assert "start it with --enable-threads" in server.process.output()


# What docs/howto/produce.rst says. The hubs of pages hear nothing of a run whose process the signal ends.
ENDED_BY_SIGTERM = ["flask-single", "waitress", "cheroot", "gevent-pywsgi", "uvicorn-asyncio"]
EXITS = [
    "gunicorn-sync",
    "gunicorn-gthread",
    "gunicorn-gevent",
    "gunicorn-asgi",
    "uwsgi-http-socket",
    "hypercorn",
]


def ends() -> list[object]:
    """Servers, the signal that ends them, and what becomes of a run."""
    found = [(name, signal.SIGTERM, "lost") for name in ENDED_BY_SIGTERM]
    found += [(name, signal.SIGTERM, "interrupted") for name in EXITS]
    found += [("granian", signal.SIGTERM, "lost"), ("granian", signal.SIGINT, "lost")]
    found += [(name, signal.SIGINT, "interrupted") for name in [*ENDED_BY_SIGTERM, *EXITS]]
    long = [pytest.mark.long]
    return [
        pytest.param(*each, marks=[] if each[0] in {"flask-single", "gunicorn-sync"} else long)
        for each in found
    ]


@pytest.mark.parametrize(("name", "number", "reason"), ends())
def test_the_signal_that_ends_a_web_server_decides_what_pages_get_of_its_runs(
    name: str, number: signal.Signals, reason: str, valkey: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 14.43
    if reason == "lost":
        monkeypatch.setattr(runs, "LOST_SECONDS", 3.0)
    env = {"STORY_BROKER_URL": valkey.url}
    with (
        LocalServer(make_app(SSE_BROKER_URL=valkey.url, SSE_HUB="thread")) as pages,
        webservers.start(name, "story:app", APPS, env, OPTIONS.get(name, ())) as server,
        pages.stream(f"/stream?channel={server.get('/run').body.decode()}") as page,
    ):
        page.wait_for_bytes(b"working")
        os.kill(server.process.pid, number)
        page.wait_for_bytes(b'"reason": "')
        assert f'"reason": "{reason}"'.encode() in page.raw
