"""A background job with a progress bar in any number of windows, which resumes after a reload."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from flask_sse import Message, new_run, sse

STEPS = 60
SECONDS_A_STEP = 0.08

app = Flask(__name__, template_folder=".")
app.config["SSE_BROKER_URL"] = "memory://progress"
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")


@sse.authorize
def may_listen(channel: str) -> bool:
    """Let every client that knows the name of a job follow it: names cannot be guessed."""
    return channel.startswith("run:")


@app.get("/")
def start_page() -> str:
    return render_template("page.html", job=None)


@app.post("/jobs")
def start() -> Response:
    job = new_run()
    sse.run(convert(STEPS), job)
    return redirect(url_for("job_page", job=job))


@app.get("/jobs/<job>")
def job_page(job: str) -> str:
    return render_template("page.html", job=job)


@app.post("/jobs/<job>/cancel")
def cancel(job: str) -> dict[str, Any]:
    if not request.is_json:  # a form of another site cannot send JSON
        abort(415)
    sse.cancel(job)
    return {}


def convert(pictures: int) -> Iterator[Message]:
    """Simulate the conversion of pictures; yield the progress after each one."""
    saved = 0
    for number in range(1, pictures + 1):
        time.sleep(SECONDS_A_STEP)
        saved += 37 + number * 7919 % 120
        progress = {"done": number, "total": pictures, "name": f"IMG_{4000 + number}.jpg", "saved_kb": saved}
        yield Message(progress, type="progress")
