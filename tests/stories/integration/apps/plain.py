"""The smallest application, for this version and for 1.0; its settings are in the environment."""

from __future__ import annotations

import json
import os

from flask import Flask, request

from flask_sse import sse

app = Flask(__name__)
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")


@app.get("/publish")
def publish() -> str:
    """Publish what ``?event=`` holds as JSON, its data ``?times=``; tell how many receivers took it."""
    event = json.loads(request.args["event"])
    if "times" in request.args:
        event["data"] *= int(request.args["times"])
    return str(sse.publish(**event))


@app.get("/ordinary")
def ordinary() -> str:
    """Answer at once."""
    return "ordinary"


@app.get("/hub")
def hub() -> str:
    """Tell which process is the hub."""
    return str(sse.status()["pid"])


if channel := os.environ.get("PLAIN_PUBLISH_AT_START"):
    with app.app_context():
        sse.publish("at the start", channel=channel)
