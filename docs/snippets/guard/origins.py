from flask import Flask

from flask_sse import sse

app = Flask(__name__)
app.config.from_mapping(
    SECRET_KEY="change me",
    SSE_BROKER_URL="memory://origins",
    SSE_CORS_ORIGINS=["https://shop.example", "http://localhost:5173", "tauri://localhost"],
)


@sse.authorize
def may_listen(channel: str) -> bool:
    return channel == "news"


app.register_blueprint(sse, url_prefix="/stream")
