"""Live figures. For a slow page, each value replaces the one before, so no page shows old values late."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, render_template

from flask_sse import sse

SECONDS = 0.5
FIGURES: dict[str, dict[str, Any]] = {
    "orders": {"title": "Orders a minute", "value": 42.0, "step": 4.0, "digits": 0},
    "revenue": {"title": "Revenue today, €", "value": 12_800.0, "step": 90.0, "digits": 0},
    "response": {"title": "Response time, ms", "value": 85.0, "step": 9.0, "digits": 0},
    "errors": {"title": "Errors, %", "value": 0.4, "step": 0.08, "digits": 2},
}

app = Flask(__name__, template_folder=".")
app.config["SSE_BROKER_URL"] = "memory://dashboard"
app.config["SSE_HISTORY_RULES"] = {"figure-*": {"size": 60}}
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")

starting = threading.Lock()


@sse.authorize
def may_listen(channel: str) -> bool:
    return channel.removeprefix("figure-") in FIGURES


@app.get("/")
def page() -> str:
    # In place of the programs that would publish such figures, a thread that starts with the first page.
    if starting.acquire(blocking=False):
        threading.Thread(target=feed, daemon=True).start()
    return render_template("page.html", figures=FIGURES)


def feed() -> None:
    walks = {name: walk(figure["value"], figure["step"]) for name, figure in FIGURES.items()}
    with app.app_context():
        while True:
            events = [
                {"data": round(next(values), 3), "type": name, "channel": f"figure-{name}", "collapse": name}
                for name, values in walks.items()
            ]
            sse.publish_many(events)
            time.sleep(SECONDS)


def walk(value: float, step: float) -> Iterator[float]:
    """Yield figures that wander about a value."""
    offset = 0.0
    while True:
        offset = 0.9 * offset + random.gauss(0, step)
        yield max(0.0, value + offset + step * math.sin(time.time() / 7))
