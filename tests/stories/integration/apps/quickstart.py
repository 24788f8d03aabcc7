"""The application of Flask-SSE 1.0's quickstart, with the URL from the environment as its docs advise."""

import os

from flask import Flask, render_template

from flask_sse import sse

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ.get("REDIS_URL")
app.register_blueprint(sse, url_prefix="/stream")


@app.route("/")
def index() -> str:
    return render_template("index.html")


@app.route("/hello")
def publish_hello() -> str:
    sse.publish({"message": "Hello!"}, type="greeting")
    return "Message sent!"
