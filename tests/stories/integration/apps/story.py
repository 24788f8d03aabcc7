"""The application that every web server serves in the matrix of tests."""

from __future__ import annotations

import _socket
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

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
def resume() -> str:
    """Let the letters go on."""
    goes_on.set()
    return "yes"


@app.get("/endings")
def ended() -> str:
    """Tell which letters have ended."""
    return " ".join(endings)


@app.get("/options")
def options() -> Response:
    """Send how many connections of this process are given up when the client vanishes."""

    def work() -> Iterator[str]:
        # The web server's thread sets them when it has begun the response.
        while not given_up_soon():
            time.sleep(0.05)
        yield str(given_up_soon())

    return sse.response(work())


@app.get("/options-now")
def options_now() -> str:
    """Tell the same at once."""
    return str(given_up_soon())


def given_up_soon() -> int:
    """Count the TCP connections of this process that are given up after 20 seconds, and probed."""
    return sum(map(is_given_up_soon, [int(link.name) for link in Path("/proc/self/fd").iterdir()]))


def is_given_up_soon(number: int) -> bool:
    """Tell whether a descriptor is such a connection."""
    try:
        copy = os.dup(number)
    except OSError:
        return False
    try:
        # One of gevent's sockets would make it non-blocking for the others.
        sock = _socket.socket(fileno=copy)
    except OSError:  # it is no socket
        os.close(copy)
        return False
    try:
        user_timeout_ms = sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_USER_TIMEOUT)
        return user_timeout_ms == 20_000 and bool(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE))
    except OSError:
        return False
    finally:
        sock.close()
