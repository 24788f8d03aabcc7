from flask import Flask

from flask_sse import sse

app = Flask(__name__)
app.config.from_mapping(SSE_BROKER_URL="memory://prices", SSE_SLOW_RULES={"log:*": "skip"})
app.register_blueprint(sse, url_prefix="/stream")


def tell_price(share: str, price: float) -> None:
    sse.publish({"share": share, "price": price}, channel="prices", collapse=share)
