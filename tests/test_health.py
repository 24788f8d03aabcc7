"""What load balancers and people are told: ok, degraded, down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.brokers import start_valkey
from tests.support.local import LocalServer, make_app
from tests.support.processes import wait_until

from flask_sse.health import health


def ask(server: LocalServer, path: str) -> tuple[int, dict[str, Any]]:
    answer = server.get(path)
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status, json.loads(answer.body)


def serve(url: str, **config: Any) -> LocalServer:
    app = make_app(SSE_BROKER_URL=url, **{"SSE_HUB": "thread", **config})
    app.register_blueprint(health)
    return LocalServer(app)


def test_all_is_well() -> None:
    with serve("memory://health") as server, server.stream("/stream") as stream:
        stream.wait_opened()
        for path in ("/healthz", "/readyz"):
            status, state = ask(server, path)
            assert status == 200
            assert state["status"] == "ok"
            assert state["hub"] == {"reachable": True, "streams": 1, "broker_away": False}
            assert state["broker"].keys() == {"reachable", "milliseconds"}
            assert state["broker"]["milliseconds"] > 0


def test_without_a_broker_it_is_degraded_and_not_ready_and_well_again_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where the broker is, and what it said, is for the log alone (13.12)."""
    with start_valkey() as broker, serve(broker.url) as server:
        assert ask(server, "/readyz")[0] == 200
        broker.kill()
        for path, expected in (("/healthz", 200), ("/readyz", 503)):
            status, state = ask(server, path)
            assert (status, state["status"]) == (expected, "degraded")
            assert state["broker"] == {"reachable": False}
            assert state["hub"].keys() == {"reachable", "streams", "broker_away"}
        (line,) = [record for record in caplog.records if record.name == "flask_sse.health"]
        assert f":{broker.port}" in line.getMessage()
        broker.restart()
        wait_until(lambda: ask(server, "/readyz")[0] == 200, what="the broker to be back")


def test_without_a_hub_it_is_down(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the path of its socket nor the error is shown (13.12)."""
    with serve("memory://health", SSE_HUB=f"unix:{tmp_path}/none.sock") as server:
        for path in ("/healthz", "/readyz"):
            status, state = ask(server, path)
            assert (status, state["status"]) == (503, "down")
            assert state["hub"] == state["broker"] == {"reachable": False}
    lines = [record.getMessage() for record in caplog.records if record.name == "flask_sse.health"]
    assert len(lines) == 2
    assert all("none.sock" in line for line in lines)


def test_without_a_url_it_is_an_error() -> None:
    app = make_app()
    app.register_blueprint(health)
    app.testing = True
    with pytest.raises(KeyError):
        app.test_client().get("/healthz")
