from flask import Flask, session

from flask_sse import sse
from flask_sse.health import health
from flask_sse.live import LivePage

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"
app.config["SECRET_KEY"] = "change me"
app.register_blueprint(sse, url_prefix="/stream")
app.register_blueprint(health)


def is_operator() -> bool:
    return session.get("user") == "operator"


app.register_blueprint(LivePage(may_see=is_operator), url_prefix="/live")
