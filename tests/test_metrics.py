"""Prometheus reads what the hub counts."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from tests.support.local import LocalServer, make_app
from tests.support.processes import wait_until

from flask_sse.metrics import HubCollector, metrics


def serve(**config: object) -> LocalServer:
    app = make_app(**{"SSE_BROKER_URL": "memory://metrics", "SSE_HUB": "thread", **config})
    app.register_blueprint(metrics)
    return LocalServer(app)


def scrape(server: LocalServer) -> dict[str, float]:
    answer = server.get("/metrics")
    assert answer.status == 200
    families = text_string_to_metric_families(answer.body.decode())
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_they_count_what_happens() -> None:
    with (
        serve(SSE_MAX_STREAMS_PER_ADDRESS=2) as server,
        server.stream("/stream") as one,
        server.stream("/stream") as other,
    ):
        for stream in (one, other):
            stream.wait_opened()
        with server.stream("/stream") as refused:
            assert refused.wait_closed() == "eof"
        server.publish("x")
        wait_until(lambda: scrape(server)["flask_sse_deliveries_total"] == 2, what="the event")
        read = scrape(server)
        assert read["flask_sse_up"] == read["flask_sse_broker_up"] == 1
        assert read["flask_sse_streams"] == read["flask_sse_streams_opened_total"] == 2
        assert read["flask_sse_channels"] == read["flask_sse_events_total"] == 1
        assert read["flask_sse_streams_rejected_totaladdress"] == 1
        assert read["flask_sse_streams_rejected_totalstreams"] == 0
        assert read["flask_sse_backlog_bytes"] == 0


def test_without_a_hub_they_say_so(tmp_path: Path) -> None:
    with serve(SSE_HUB=f"unix:{tmp_path}/none.sock") as server:
        assert scrape(server) == {"flask_sse_up": 0}


def test_a_registry_that_is_set_up_asks_nobody() -> None:
    with serve() as server:
        registry = CollectorRegistry()
        registry.register(HubCollector(server.app))
        assert "sse" not in server.app.extensions
        assert registry.get_sample_value("flask_sse_up") == 1
