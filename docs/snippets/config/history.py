from flask import Flask

app = Flask(__name__)
app.config.from_mapping(
    SSE_BROKER_URL="memory://",
    SSE_HISTORY_RULES={
        "typing-*": {"size": 0},  # not worth keeping
        "order-*": {"size": 100, "seconds": 24 * 3600},
    },
)
