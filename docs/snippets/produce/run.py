from collections.abc import Iterator

from flask import Flask

from flask_sse import Message, sse

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"
app.register_blueprint(sse, url_prefix="/stream")


def export(rows: int) -> Iterator[Message]:
    for number in range(1, rows + 1):
        # write a row
        yield Message({"done": number, "total": rows}, type="progress")


@app.post("/exports")
def start() -> dict[str, str]:
    return {"channel": sse.run(export(1000))}


@app.post("/exports/<channel>/cancel")
def cancel(channel: str) -> tuple[str, int]:
    sse.cancel(channel)
    return "", 204
