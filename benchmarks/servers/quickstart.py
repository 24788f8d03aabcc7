"""What Flask-SSE 1.0's documentation teaches; version 2 runs the same file."""

from __future__ import annotations

import os

from flask import Flask

from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.config["SSE_TAKEOVER"] = os.environ.get("SSE_TAKEOVER")  # None, as it is by default, for what is compared
app.register_blueprint(sse, url_prefix="/stream")


@app.get("/json")
def answer() -> dict[str, str]:
    return {"hello": "world"}
