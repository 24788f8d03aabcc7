from collections.abc import Iterator

from flask import Flask, Response, request

from flask_sse import sse

app = Flask(__name__)


def tokens(question: str) -> Iterator[str]:
    yield from ["Tell", "me", "more", "of", question]  # in place of an LLM


@app.get("/answer")
def answer() -> Response:
    return sse.response(tokens(request.args["question"]))
