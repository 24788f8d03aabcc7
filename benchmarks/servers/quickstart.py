"""What Flask-SSE 1.0's documentation teaches; version 2 runs the same file."""

from __future__ import annotations

import os

from flask import Flask

from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.register_blueprint(sse, url_prefix="/stream")
