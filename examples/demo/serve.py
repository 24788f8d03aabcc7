"""Serve the demo: one process with one thread answers, and a second one reads the machine's load.

PORT=8001 make demo uses another port.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from pathlib import Path

from app import app, jobs
from werkzeug.serving import WSGIRequestHandler, make_server

HOST = "127.0.0.1"
DEFAULT_PORT = 8000

# Browsers open connections before they need them. The only thread must not wait for those: Linux returns
# a connection when its request has arrived; elsewhere the thread closes it after this time.
IDLE_SECONDS = 0.5
DEFER_SECONDS = 30


class Handler(WSGIRequestHandler):
    """Answers one request."""

    timeout = IDLE_SECONDS

    def log_error(self, *args: object) -> None:
        """Do not log connections that were not used."""


def main() -> str | None:
    """Serve until Ctrl-C; return what went wrong."""
    wanted = os.environ.get("PORT", DEFAULT_PORT)
    try:
        port = int(wanted)
        listener = socket.create_server((HOST, port))
    except (OSError, OverflowError, ValueError) as error:
        taken = getattr(error, "errno", None) == EADDRINUSE
        reason = "another program has it" if taken else error
        return f"Port {wanted} cannot be used: {reason}\nChoose another one, for example: PORT=8001 make demo"
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS)
    if port != DEFAULT_PORT and app.config["SSE_BROKER_URL"] == "memory://demo":
        # Two demos at a time are two: neither shows the events of the other.
        app.config["SSE_BROKER_URL"] = f"memory://demo-{port}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with listener, helpers():
        server = make_server(HOST, port, app, threaded=False, request_handler=Handler, fd=listener.fileno())
        print(f"Flask-SSE demo: http://{HOST}:{port}\nOpen it in two tabs. Ctrl-C ends it.", flush=True)
        server.serve_forever()
    return None


@contextmanager
def helpers() -> Iterator[None]:
    """Run the feed, and end it and the job when the server ends."""
    environment = {**os.environ, "FLASK_SSE_BROKER_URL": app.config["SSE_BROKER_URL"]}
    # In its own process group: Ctrl-C reaches a whole group, and serve.py ends its helpers itself.
    command = [sys.executable, Path(__file__).with_name("feed.py"), str(os.getpid())]
    feed = subprocess.Popen(command, env=environment, process_group=0)
    try:
        yield
    finally:
        for process in (feed, *jobs):
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
