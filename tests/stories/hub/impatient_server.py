"""A server with a hub in a thread that misses runs after two seconds: ``impatient_server.py URL PORT``."""

from __future__ import annotations

import sys

from flask import Flask
from werkzeug.serving import make_server

from flask_sse import sse
from flask_sse.hub.core import run_watcher, runs

if __name__ == "__main__":
    vars(runs).update(LOST_SECONDS=2.0)
    vars(run_watcher).update(RUN_CHECK_SECONDS=0.25)
    app = Flask(__name__)
    app.config.update(SSE_BROKER_URL=sys.argv[1], SSE_HUB="thread")
    app.register_blueprint(sse, url_prefix="/stream")
    app.add_url_rule("/status", view_func=sse.status)
    make_server("127.0.0.1", int(sys.argv[2]), app, threaded=True).serve_forever()
