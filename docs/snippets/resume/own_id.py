from flask import Flask

from flask_sse import sse

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"
app.register_blueprint(sse, url_prefix="/stream")


@app.post("/orders/<int:number>/sent")
def sent(number: int) -> tuple[str, int]:
    sse.publish({"order": number}, type="sent", id=f"order-{number}", channel="orders")
    return "", 204
