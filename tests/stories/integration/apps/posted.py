"""An application whose streams are asked for with POST, and read the body of their request in many ways."""

from __future__ import annotations

import logging
import os
import threading
from collections import defaultdict
from collections.abc import Iterator

from flask import Flask, request
from werkzeug.wrappers import Response

from flask_sse import sse

logging.basicConfig(level=logging.WARNING)
logging.getLogger("flask_sse.serving").setLevel(logging.DEBUG)
app = Flask(__name__)
app.config.from_mapping(SSE_BROKER_URL=os.environ["POSTED_BROKER_URL"], SSE_HEARTBEAT_SECONDS=2)
app.register_blueprint(sse, url_prefix="/stream")
goes_on: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def read(how: str) -> str:
    """Return the body of the request, or what was read of it."""
    if how == "json":
        return str(request.get_json(force=True))
    if how == "form":
        return str(request.form.get("text", "")) + "".join(
            file.read().decode() for file in request.files.values()
        )
    if how == "data then form":
        return request.get_data(as_text=True) + str(request.form.get("text", ""))
    if how == "pieces":
        return b"".join(iter(lambda: request.stream.read(3), b"")).decode()
    if how == "some":
        return request.stream.read(3).decode()
    return "" if how in {"nothing", "ignored"} else request.get_data(as_text=True)


@app.post("/answer")
def answer() -> Response:
    """Send the body of the request, and the end when somebody asks for it."""
    how, who = request.args.get("how", "data"), request.args.get("who", "")
    text = read(how)

    def work() -> Iterator[str]:
        yield f"read {text}"
        if who:
            assert goes_on[who].wait(20)
        yield "the end" if how != "nothing" else f"the end of {request.get_data(as_text=True)}"

    return sse.response(work())


@app.post("/channel")
def channel() -> Response:
    """Send what is published on a channel."""
    request.get_data()
    return sse.stream(request.args["channel"])


@app.route("/ordinary", methods=["GET", "POST"])
def ordinary() -> str:
    """Answer at once."""
    return f"ordinary {request.get_data(as_text=True)}"


@app.get("/go-on")
def resume() -> str:
    """Let an answer end."""
    goes_on[request.args["who"]].set()
    return "yes"
