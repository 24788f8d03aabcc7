"""A stream that has begun holds nothing of its application: no context, no database session."""

from __future__ import annotations

import contextlib
import gc
import json
import uuid
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import flask
import pytest
from tests.support import webservers
from tests.support.local import LocalServer, make_app
from tests.support.processes import wait_until
from tests.support.webservers import RunningServer

from flask_sse import Publisher

APPS = Path(__file__).parent / "apps"
STREAMS = 50


@pytest.fixture
def broker_url() -> str:
    return f"memory://contexts-{uuid.uuid4().hex}"


@pytest.fixture(params=["takeover", "relay"])
def server(request: pytest.FixtureRequest, tmp_path: Path, broker_url: str) -> Iterator[RunningServer]:
    """One sync worker by takeover; by relay a stream holds a thread, and still nothing else."""
    servers = {"takeover": ("gunicorn-sync", "auto"), "relay": ("flask-threaded", "off")}
    name, takeover = servers[request.param]
    env = {
        "DATABASE": str(tmp_path / "database.sqlite"),
        "FLASK_SSE_BROKER_URL": broker_url,
        "FLASK_SSE_TAKEOVER": takeover,
        "FLASK_SSE_HEARTBEAT_SECONDS": "0.25",  # so that the relay soon sees a client leave
    }
    with webservers.start(name, "database:app", APPS, env) as running:
        yield running


def ran(server: RunningServer) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads(server.get("/ran").body)
    return counts


def test_open_streams_hold_no_context_and_no_database_session(
    server: RunningServer, broker_url: str, channel: str
) -> None:
    path = f"/stream?channel={channel}"
    with ExitStack() as stack:
        publisher = stack.enter_context(contextlib.closing(Publisher(broker_url)))
        streams = [stack.enter_context(server.stream(path)) for _ in range(STREAMS)]
        for stream in streams:
            stream.wait_opened()

        # The pool has one connection, so each of these would fail if a stream had kept it.
        for _ in range(20):
            assert server.get("/user").body == b"alice"
        assert server.get(f"{path}&user=mallory").status == 403
        counts = ran(server)
        assert counts["let in"] == STREAMS
        assert counts["teardown_request"] == counts["teardown_appcontext"] == STREAMS + 1
        assert counts["connections"] == 1

        assert publisher.publish("to all", channel=channel) == STREAMS
        for stream in streams:
            assert stream.next_event().data == "to all"
        assert server.get("/user").body == b"alice"

        for stream in streams:
            stream.close()
        wait_until(lambda: ran(server)["closed"] == STREAMS + 1, what="the end of all responses")
        counts = ran(server)
        assert counts["closed in a context"] == 0
        assert counts["teardown_request"] == counts["teardown_appcontext"] == STREAMS + 1
        assert "Traceback" not in server.process.output()


@pytest.mark.parametrize("takeover", ["auto", "off"])
def test_what_a_request_kept_for_itself_is_freed_while_its_stream_is_open(
    takeover: str, broker_url: str, channel: str
) -> None:
    kept: list[weakref.ref[Upload]] = []
    app = make_app(SSE_BROKER_URL=broker_url, SSE_TAKEOVER=takeover)

    @app.before_request
    def load() -> None:
        flask.g.upload = Upload()
        kept.append(weakref.ref(flask.g.upload))

    with LocalServer(app) as server, server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        wait_until(lambda: gc.collect() >= 0 and kept[0]() is None, what="what the request kept to be freed")
        assert server.publish("goes on", channel=channel) == 1
        assert stream.next_event().data == "goes on"
    assert len(kept) == 1


class Upload:
    """Something large that a request keeps in ``flask.g``."""
