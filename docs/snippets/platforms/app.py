import os

from flask import Flask

from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ.get("REDIS_URL")
if app.config["REDIS_URL"] and app.config["REDIS_URL"].startswith("rediss:"):
    app.config["REDIS_URL"] += "?ssl_cert_reqs=none"  # the platform signs its certificates by itself
app.register_blueprint(sse, url_prefix="/stream")
