"""Metrics for Prometheus, of the hub that holds the streams of this application: ``flask-sse[prometheus]``.

They are the hub's own counts, so any worker process of the application answers with the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from flask import Blueprint, Flask, Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .blueprint import sse
from .errors import SSEError


class _Count(NamedTuple):
    """A metric that is one of the counts of ``sse.status``."""

    name: str
    help: str


_GAUGES = {
    "streams": _Count("flask_sse_streams", "Streams that are open."),
    "channels": _Count("flask_sse_channels", "Channels that have streams."),
    "apps": _Count("flask_sse_applications", "Connections of applications to the hub."),
    "longest_turn_ms": _Count(
        "flask_sse_longest_turn_milliseconds", "Longest turn of the hub's loop in the last minute."
    ),
    "longest_turn_cpu_ms": _Count(
        "flask_sse_longest_turn_cpu_milliseconds", "Most CPU time of one turn of the loop in the last minute."
    ),
    "backlog_bytes": _Count("flask_sse_backlog_bytes", "Bytes that wait for clients to read them."),
}
_COUNTERS = {
    "opened": _Count("flask_sse_streams_opened", "Streams that were opened."),
    "resumed": _Count("flask_sse_streams_resumed", "Streams that resumed from the position of their client."),
    "resets": _Count("flask_sse_resets", "Notices to streams that events may be missing."),
    "events": _Count("flask_sse_events", "Events that the broker delivered for a channel with streams."),
    "deliveries": _Count("flask_sse_deliveries", "Events times the streams that they were written to."),
    "ended_slow": _Count(
        "flask_sse_streams_ended_slow", "Streams that were ended because their client read too slowly."
    ),
    "revoked": _Count(
        "flask_sse_streams_revoked", "Streams that were ended by a revocation, as by disconnect()."
    ),
    "foreign_dropped": _Count(
        "flask_sse_foreign_messages_dropped", "Messages of the broker that are not events and were dropped."
    ),
    "lost_runs": _Count("flask_sse_runs_lost", "Runs whose producer died."),
}
_REJECTED = _Count("flask_sse_streams_rejected", "Streams that were rejected, by the limit.")
_LIMITS = ("subject", "address", "channels", "stream_channels", "reads")


class HubCollector(Collector):
    """Asks the hub at each scrape.

    Args:
        app: Whose hub.

    Example::

        from prometheus_client import REGISTRY

        REGISTRY.register(HubCollector(app))
    """

    def __init__(self, app: Flask) -> None:
        self._app = app

    def describe(self) -> list[Metric]:
        """Return nothing: a registry that is set up must not start a hub."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield what the hub answers; without a hub ``flask_sse_up`` is 0, and that is all."""
        up = "flask_sse_up", "Whether the hub answers."
        try:
            with self._app.app_context():
                status = sse.status(details=True)
        except SSEError:
            yield GaugeMetricFamily(*up, value=0)
            return
        yield GaugeMetricFamily(*up, value=1)
        broker = "flask_sse_broker_up", "Whether the hub is connected to the broker."
        yield GaugeMetricFamily(*broker, value=not status["broker_away"])
        for key, count in _GAUGES.items():
            yield GaugeMetricFamily(count.name, count.help, value=status[key])
        for key, count in _COUNTERS.items():
            yield CounterMetricFamily(count.name, count.help, value=status[key])
        rejected = CounterMetricFamily(*_REJECTED, labels=["limit"])
        by_limit = {limit: status[f"rejected_{limit}"] for limit in _LIMITS}
        by_limit["streams"] = status["rejected"] - sum(by_limit.values())
        for limit, value in by_limit.items():
            rejected.add_metric([limit], value)
        yield rejected


metrics = Blueprint("sse_metrics", __name__)


@metrics.get("/metrics")
def show() -> Response:
    """Answer a scrape. Guard it with ``@metrics.before_request``, or mount it where only Prometheus comes."""
    registry = CollectorRegistry()
    registry.register(HubCollector(current_app))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
