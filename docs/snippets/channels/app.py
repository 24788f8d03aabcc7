from flask import Flask

from flask_sse import sse

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"


@sse.authorize
def may_listen(channel: str) -> bool:
    return channel.startswith("game-")


app.register_blueprint(sse, url_prefix="/stream")


@app.post("/goal/<game>")
def goal(game: str) -> tuple[str, int]:
    sse.publish({"game": game}, type="goal", channel=f"game-{game}")
    return "", 204
