from flask import Flask
from flask_sse import Message, sse

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"
app.register_blueprint(sse, url_prefix="/stream")


def export(rows):
    for number in range(1, rows + 1):
        ...  # write a row
        yield Message({"done": number, "total": rows}, type="progress")


@app.post("/exports")
def start():
    return {"channel": sse.run(export(1000))}


@app.post("/exports/<channel>/cancel")
def cancel(channel):
    sse.cancel(channel)
    return "", 204
