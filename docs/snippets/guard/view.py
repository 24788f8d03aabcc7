from flask import Flask, abort, session
from werkzeug.wrappers import Response

from flask_sse import sse

app = Flask(__name__)
app.config.from_mapping(SECRET_KEY="change me", SSE_BROKER_URL="memory://view")


@app.get("/my-events")
def my_events() -> Response:
    user = session.get("user") or abort(401)
    return sse.stream(f"user-{user}", "news")
