import os

import redis
from flask import Flask, abort, render_template

from flask_sse import sse

app = Flask(__name__)
app.config.from_mapping({key: value for key, value in os.environ.items() if key.startswith("SSE_")})
app.register_blueprint(sse, url_prefix="/stream")

drinks = ("tea", "coffee")
store = redis.Redis.from_url(app.config["SSE_BROKER_URL"])


@sse.authorize
def may_listen(channel: str) -> bool:
    return channel == "sse"


@app.get("/")
def index() -> str:
    return render_template("index.html", drinks=drinks)


@app.get("/votes")
def show() -> dict[str, int]:
    return {drink: int(store.hget("votes", drink) or 0) for drink in drinks}


@app.post("/votes/<drink>")
def vote(drink: str) -> tuple[str, int]:
    if drink not in drinks:
        abort(404)
    with store.lock("voting", timeout=5):
        store.hincrby("votes", drink, 1)
        sse.publish(show(), type="votes")
    return "", 204
