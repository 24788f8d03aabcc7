"""A todo list that several windows share, with htmx: the server renders, and every page swaps it in."""

from __future__ import annotations

import itertools

from flask import Flask, abort, render_template, request

from flask_sse import sse

MAX_TEXT_CHARACTERS = 200

app = Flask(__name__, template_folder=".")
app.config["SSE_BROKER_URL"] = "memory://todo"
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")

# In place of a database.
todos: dict[int, tuple[str, bool]] = {1: ("Open this page in a second window", False)}
numbers = itertools.count(2)


@sse.authorize
def may_listen(channel: str) -> bool:
    """Let all clients listen to the channel that ``publish`` takes by default, and to no other."""
    return channel == "sse"


@app.before_request
def only_htmx_changes_anything() -> None:
    """Reject what the form of another site could send."""
    if request.method != "GET" and "HX-Request" not in request.headers:
        abort(403)


@app.get("/")
def page() -> str:
    return render_template("page.html", todos=todos, max_characters=MAX_TEXT_CHARACTERS)


@app.get("/todos")
def show() -> str:
    return render_template("list.html", todos=todos)


@app.post("/todos")
def add() -> tuple[str, int]:
    text = request.form.get("text", "").strip()
    if not 0 < len(text) <= MAX_TEXT_CHARACTERS:
        abort(400)
    todos[next(numbers)] = (text, False)
    return tell()


@app.post("/todos/<int:number>")
def toggle(number: int) -> tuple[str, int]:
    if number in todos:
        text, is_done = todos[number]
        todos[number] = (text, not is_done)
    return tell()


@app.delete("/todos/<int:number>")
def remove(number: int) -> tuple[str, int]:
    todos.pop(number, None)
    return tell()


def tell() -> tuple[str, int]:
    """Broadcast the list to all pages, this one too. A slow page needs only the latest one."""
    sse.publish(show(), type="todos", collapse="todos")
    return "", 204
