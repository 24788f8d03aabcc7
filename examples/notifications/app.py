"""Notifications from one user to another: each user has a channel that no other user may listen to."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

from flask import Flask, abort, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from flask_sse import sse

USERS = ["Ada", "Grace", "Linus"]
MAX_TEXT_CHARACTERS = 200

app = Flask(__name__, template_folder=".")
app.config["SECRET_KEY"] = "change me"
app.config["SSE_BROKER_URL"] = "memory://notifications"
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")

# In place of a database.
notifications: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
numbers = itertools.count(1)


@sse.authorize
def may_listen(channel: str) -> bool:
    return "user" in session and channel == f"user-{session['user']}"


@sse.identify
def subject() -> str | None:
    return session.get("user")


@app.get("/")
def page() -> str:
    return render_template(
        "page.html", user=session.get("user"), users=USERS, max_characters=MAX_TEXT_CHARACTERS
    )


@app.post("/login")
def log_in() -> Response:
    user = request.form.get("user", "")
    if user not in USERS:
        abort(400)
    session["user"] = user
    return redirect(url_for("page"))


@app.post("/logout")
def log_out() -> Response:
    user = session.pop("user", None)
    if user is not None:
        sse.disconnect(subject=user, reason="signed out")  # in every window
    return redirect(url_for("page"))


@app.get("/notifications")
def mine() -> list[dict[str, Any]]:
    return notifications[signed_in()]


@app.post("/notifications")
def notify() -> tuple[str, int]:
    sender, body = signed_in(), posted()
    receiver, text = str(body.get("to")), str(body.get("text", "")).strip()
    if receiver not in USERS or not 0 < len(text) <= MAX_TEXT_CHARACTERS:
        abort(400)
    new = {"id": next(numbers), "from": sender, "text": text, "read": False}
    notifications[receiver].append(new)  # the state first, then the event
    sse.publish(new, type="notification", channel=f"user-{receiver}")
    return "", 204


@app.post("/notifications/read")
def read_all() -> tuple[str, int]:
    posted()
    for each in notifications[signed_in()]:
        each["read"] = True
    sse.publish("", type="read", channel=f"user-{session['user']}")  # to the other windows
    return "", 204


def signed_in() -> str:
    if "user" not in session:
        abort(401)
    return str(session["user"])


def posted() -> dict[str, Any]:
    """Return the JSON of the request, which a form of another site cannot send."""
    body = request.get_json()
    return body if isinstance(body, dict) else {}
