"""An application with all that a client can make work: streams, responses and runs.

``?exhaust`` leaves no descriptor to the worker for as long as it works on that request.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, request
from werkzeug import Response

from flask_sse import new_run, sse

app = Flask(__name__)
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")
_LIMITS = resource.getrlimit(resource.RLIMIT_NOFILE)


def endless() -> Iterator[str]:
    """Yield a kilobyte every now and then."""
    while True:
        yield "x" * 1024
        time.sleep(0.02)


@app.get("/response")
def respond() -> Response:
    """Answer for as long as the client stays."""
    return sse.response(endless())


@app.get("/large/<int:size>")
def large(size: int) -> Response:
    """Answer with one item."""
    return sse.response(iter(["x" * size]))


@app.before_request
def leave_no_descriptor() -> None:
    """Refuse new ones, if that is asked for; those that are open work on."""
    if "exhaust" in request.args:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, _LIMITS[1]))


@app.after_request
def allow_them_again(response: Response) -> Response:
    """Do so when the response is over."""
    response.call_on_close(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, _LIMITS))
    return response


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
