"""An application whose web server is at the edge: large answers, and no descriptors left."""

from __future__ import annotations

import os
import resource

from flask import Flask, g, request
from werkzeug.wrappers import Response

from flask_sse import sse

LARGE_BYTES = 12 * 1024 * 1024

app = Flask(__name__)
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")
_, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (300, _hard))


@app.get("/ordinary")
def ordinary() -> str:
    """Answer at once."""
    return "ordinary"


@app.get("/large")
def large() -> bytes:
    """Answer with more than the kernel takes at once."""
    return b"x" * LARGE_BYTES


@app.get("/streams")
def count_streams() -> str:
    """Tell how many streams the hub has."""
    return str(sse.status()["streams"])


@app.before_request
def take_all_descriptors() -> None:
    """Leave none to this process, if that is asked for."""
    if "exhaust" in request.args:
        g.held = []
        try:
            while True:
                g.held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass


@app.after_request
def give_them_back(response: Response) -> Response:
    """Do so when the response is over, and tell that one of this kind has begun."""
    held = g.pop("held", [])

    def close() -> None:
        for number in held:
            os.close(number)
        if held:
            print("gave them back", flush=True)

    response.call_on_close(close)
    print("answered", request.path, flush=True)
    return response
