"""A chat with rooms: a room is a channel, whose history shows earlier messages to new visitors."""

from __future__ import annotations

from typing import Any

from flask import Flask, abort, render_template, request

from flask_sse import sse

ROOMS = ["lobby", "music", "kitchen"]
MAX_TEXT_CHARACTERS = 500
MAX_NAME_CHARACTERS = 30

app = Flask(__name__, template_folder=".")
app.config["SSE_BROKER_URL"] = "memory://chat"
app.config["SSE_HISTORY_RULES"] = {"room-*": {"size": 100, "seconds": 7 * 24 * 3600}}
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")


@sse.authorize
def may_listen(channel: str) -> bool:
    return channel.removeprefix("room-") in ROOMS


@app.get("/")
@app.get("/<room>")
def page(room: str = ROOMS[0]) -> str:
    if room not in ROOMS:
        abort(404)
    return render_template(
        "page.html",
        room=room,
        rooms=ROOMS,
        max_characters=MAX_TEXT_CHARACTERS,
        max_name_characters=MAX_NAME_CHARACTERS,
    )


@app.post("/<room>")
def say(room: str) -> tuple[str, int]:
    """Take ``{"name": ..., "text": ...}``; without a text, a visitor has joined."""
    body: Any = request.get_json()  # a form of another site cannot send JSON
    if room not in ROOMS or not isinstance(body, dict):
        abort(400)
    name, text = str(body.get("name", "")).strip(), str(body.get("text", "")).strip()
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or len(text) > MAX_TEXT_CHARACTERS:
        abort(400)
    if text:
        sse.publish({"name": name, "text": text}, type="said", channel=f"room-{room}")
    else:
        sse.publish({"name": name}, type="came", channel=f"room-{room}")
    return "", 204
