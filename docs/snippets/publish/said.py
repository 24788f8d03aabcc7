from typing import Any

from flask import Flask, request

from flask_sse import sse

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"
app.register_blueprint(sse, url_prefix="/stream")


@app.post("/say")
def say() -> dict[str, Any]:
    published = sse.publish(request.form["text"], type="said")
    return {"id": published.id, "receivers": published}
