"""The application that every web server serves in the matrix of tests."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

from flask import Flask, g, request
from werkzeug.wrappers import Response

from flask_sse import sse

app = Flask(__name__)
app.config.from_mapping(
    SSE_BROKER_URL=os.environ["STORY_BROKER_URL"],
    SSE_TAKEOVER=os.environ.get("STORY_TAKEOVER", "auto"),
    SSE_MAX_RESPONSES=os.environ.get("STORY_MAX_RESPONSES"),
    SSE_HEARTBEAT_SECONDS=0.4,
)


@app.after_request
def add_marks(response: Response) -> Response:
    """Add what an application adds: headers and a cookie that only this visitor may see."""
    response.headers["X-After"] = "yes"
    response.headers["X-Who"] = request.args.get("who", "nobody")
    response.set_cookie("who", request.args.get("who", "nobody"))
    if "STORY_MEASURE" in os.environ:
        response.headers["X-Length"] = f"{response.calculate_content_length()} {len(response.get_data())}"
        response.content_length = len(response.get_data())
        response.add_etag()
        response.make_conditional(request)
    return response


@app.teardown_request
def note_end(_: BaseException | None) -> None:
    """Show that the request's context ended."""
    g.pop("anything", None)


app.register_blueprint(sse, url_prefix="/stream")


@app.get("/ordinary")
def ordinary() -> str:
    """Answer at once, or after a while, with what was asked."""
    time.sleep(float(request.args.get("seconds", "0")))
    return f"ordinary {request.args.get('who', 'nobody')}"


@app.get("/pid")
def pid() -> str:
    """Tell which process answers."""
    return str(os.getpid())


endings: list[str] = []
goes_on = threading.Event()


@app.get("/letters")
def letters() -> Response:
    """Send two letters, the second one when somebody asks for it."""
    who = request.args["who"]

    def work() -> Iterator[str]:
        try:
            yield f"a for {request.args['who']}"
            while not goes_on.wait(0.05):
                if who in endings:
                    return
            yield "b"
            while True:
                yield "more"
                time.sleep(0.05)
        finally:
            endings.append(who)

    return sse.response(work())


@app.get("/run")
def start_run() -> str:
    """Start a run that does not come to its end by itself."""

    def work() -> Iterator[str]:
        while True:
            yield "working"
            time.sleep(0.05)

    return sse.run(work())


@app.get("/go-on")
def go_on() -> str:
    """Let the letters go on."""
    goes_on.set()
    return "yes"


@app.get("/endings")
def ended() -> str:
    """Tell which letters have ended."""
    return " ".join(endings)
