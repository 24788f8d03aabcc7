from collections.abc import Iterator

from flask import Flask, Response
from markupsafe import escape

from flask_sse import sse
from flask_sse.html import datastar_elements, datastar_signals, htmx_oob, turbo_stream

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"
app.register_blueprint(sse, url_prefix="/stream")


@app.post("/htmx/<word>")
def htmx(word: str) -> tuple[str, int]:
    sse.publish(f"<b>{escape(word)}</b>", type="word", channel="htmx")
    sse.publish(**htmx_oob(f"<li>{escape(word)}</li>", "#words", "beforeend"), channel="htmx")
    return "", 204


@app.get("/htmx/answer")
def htmx_answer() -> Response:
    def lines() -> Iterator[str]:
        yield from ["<li>one</li>", "<li>two</li>"]  # in place of an LLM

    return sse.response(lines())


@app.post("/turbo/<word>")
def turbo(word: str) -> tuple[str, int]:
    sse.publish(**turbo_stream("append", f"<li>{escape(word)}</li>", target="words"), channel="turbo")
    return "", 204


@app.post("/datastar/<word>")
def datastar(word: str) -> tuple[str, int]:
    new = datastar_elements(f"<li>{escape(word)}</li>", selector="#words", mode="append")
    sse.publish(**new, channel="datastar")
    sse.publish(**datastar_signals({"last": word}), channel="datastar")
    return "", 204
