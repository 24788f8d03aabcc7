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
            assert state["hub"]["streams"] == 1
            assert state["broker"]["milliseconds"] > 0


def test_without_a_broker_it_is_degraded_and_not_ready_and_well_again_when_it_is_back() -> None:
    with start_valkey() as broker, serve(broker.url) as server:
        assert ask(server, "/readyz")[0] == 200
        broker.kill()
        for path, expected in (("/healthz", 200), ("/readyz", 503)):
            status, state = ask(server, path)
            assert (status, state["status"]) == (expected, "degraded")
            assert str(broker.port) in state["broker"]["error"]
        broker.restart()
        wait_until(lambda: ask(server, "/readyz")[0] == 200, what="the broker to be back")


def test_without_a_hub_it_is_down(tmp_path: Any) -> None:
    with serve("memory://health", SSE_HUB=f"unix:{tmp_path}/none.sock") as server:
        for path in ("/healthz", "/readyz"):
            status, state = ask(server, path)
            assert (status, state["status"]) == (503, "down")
            assert "none.sock" in state["hub"]["error"]


def test_without_a_url_it_is_an_error() -> None:
    app = make_app()
    app.register_blueprint(health)
    app.testing = True
    with pytest.raises(KeyError):
        app.test_client().get("/healthz")
