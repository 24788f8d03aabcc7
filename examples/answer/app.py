"""An answer that is written word by word and survives a reload, such as an LLM answer.

The model here is a small one: it knows which word may follow which in its only text.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from flask import Flask, abort, render_template, request

from flask_sse import Message, new_run, sse

TEXT = """
A page asks the server once and keeps the connection open. The server sends an event when there is
something to say, and the page shows it at once. When the connection is lost the page reconnects and
names the last event that it has seen. The server then sends what the page has missed and continues from
there. So a page that was closed for a moment shows the same answer as a page that was open all the time.
The answer is written once and kept for a while, and a page that connects later reads it from the start.
The server does not wait for a page that reads slowly, and the page does not have to wait for other
pages. When there is nothing more to say the server says so, and the page closes the connection and does
not reconnect.
"""
MAX_QUESTION_CHARACTERS = 500
WORDS = 100
SECONDS_A_WORD = 0.05

app = Flask(__name__, template_folder=".")
app.config["SSE_BROKER_URL"] = "memory://answer"
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")


@sse.authorize
def may_listen(channel: str) -> bool:
    """Let every client that knows the name of an answer follow it: names cannot be guessed."""
    return channel.startswith("run:")


@app.get("/")
def page() -> str:
    return render_template("page.html")


@app.post("/questions")
def ask() -> dict[str, Any]:
    """Start an answer that does not depend on the page that asked."""
    question = str(_body().get("question", "")).strip()
    if not 0 < len(question) <= MAX_QUESTION_CHARACTERS:
        abort(400)
    return {"channel": sse.run(answer(question), new_run())}


@app.post("/cancel")
def stop() -> dict[str, Any]:
    channel = str(_body().get("channel"))
    if not may_listen(channel):
        abort(400)
    sse.cancel(channel)
    return {}


def _body() -> dict[str, Any]:
    body = request.get_json()
    return body if isinstance(body, dict) else {}


def answer(question: str) -> Iterator[Message]:
    """Yield what a page shows: the question, and the words of the answer one by one."""
    yield Message(question, type="question")
    for word in words(question):
        time.sleep(SECONDS_A_WORD)
        yield Message(f"{word} ", type="word")


def words(question: str) -> Iterator[str]:
    text = TEXT.split()
    followers = defaultdict(list)
    for word, following in zip(text, text[1:] + text[:1], strict=True):
        followers[word].append(following)
    rng = random.Random(question)
    word = rng.choice([word for word in text if word[0].isupper()])
    for _ in range(WORDS):
        yield word
        word = rng.choice(followers[word])
    while not word.endswith("."):
        yield word
        word = rng.choice(followers[word])
    yield word
