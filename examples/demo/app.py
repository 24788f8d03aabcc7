"""A page with live events, and its web application. `make demo` serves it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from flask import Flask, abort, render_template, request

from flask_sse import sse

MAX_TEXT_CHARACTERS = 200

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://demo"  # lives in the hub: no server to install
app.config["SSE_HUB_LINGER_SECONDS"] = 5  # how long the hub outlives this application
app.config["SSE_RETRY_MS"] = "500-1500"  # the retry delay of a page that lost its stream
app.config["MAX_CONTENT_LENGTH"] = 4096
app.config.from_prefixed_env()  # FLASK_SSE_BROKER_URL=redis://localhost make demo
app.register_blueprint(sse, url_prefix="/stream")

jobs: list[subprocess.Popen[bytes]] = []


@sse.authorize
def may_listen(channel: str) -> bool:
    """Let all clients listen to the channel that ``publish`` takes by default, and to no other."""
    return channel == "sse"


@app.before_request
def only_json_changes_anything() -> None:
    """Reject what the form of another site could send."""
    if request.method == "POST" and not request.is_json:
        abort(415)


@app.get("/")
def page() -> str:
    return render_template(
        "index.html",
        broker_url=app.config["SSE_BROKER_URL"],
        linger_seconds=app.config["SSE_HUB_LINGER_SECONDS"],
        max_characters=MAX_TEXT_CHARACTERS,
        pid=os.getpid(),
        threads=threading.active_count(),
    )


@app.post("/messages")
def send_message() -> tuple[dict[str, Any], int]:
    """Broadcast a visitor's message to all open pages."""
    body = request.get_json()
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not 0 < len(text.strip()) <= MAX_TEXT_CHARACTERS:
        return {"error": f"A message has 1 to {MAX_TEXT_CHARACTERS} characters."}, 400
    receivers = sse.publish({"text": text.strip()}, type="chat")
    return {"receivers": receivers}, 200


@app.post("/jobs")
def start_job() -> tuple[dict[str, Any], int]:
    """Start a job in a separate process, which broadcasts its progress to all open pages."""
    if any(job.poll() is None for job in jobs):
        return {"error": "A job is running already."}, 409
    url = app.config["SSE_BROKER_URL"]
    job = Path(__file__).with_name("job.py")
    jobs[:] = [subprocess.Popen([sys.executable, job, url], process_group=0)]
    return {"pid": jobs[0].pid}, 202
