"""What a generator yields arrives as it is yielded, on every web server, and stops when the client leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import webservers
from tests.support.processes import wait_until
from tests.support.webservers import WEB_SERVERS

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
