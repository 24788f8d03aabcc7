"""An application with all that a client can make work: streams, responses and runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from flask import Flask
from werkzeug import Response

from flask_sse import new_run, sse

app = Flask(__name__)
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")


def endless() -> Iterator[str]:
    """Yield a kilobyte every now and then."""
    while True:
        yield "x" * 1024
        time.sleep(0.02)


@app.get("/response")
def respond() -> Response:
    """Answer for as long as the client stays."""
    return sse.response(endless())


@app.post("/runs/<name>")
def start(name: str) -> dict[str, str]:
    """Start a short run."""
    return {"channel": sse.run(iter(range(3)), new_run(name))}


@app.delete("/runs/<name>")
def cancel(name: str) -> str:
    """Cancel a run, whether there is one or not."""
    sse.cancel(new_run(name))
    return ""


@app.get("/status")
def status() -> dict[str, Any]:
    """Show what the hub tells of itself."""
    return sse.status()
