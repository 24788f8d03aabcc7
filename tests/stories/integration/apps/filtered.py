"""An application of 1.0 whose blueprint overrides ``messages()``."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask

from flask_sse import Message, ServerSentEventsBlueprint


class Filtered(ServerSentEventsBlueprint):
    """Shows what it shows."""

    def messages(self, channel: str = "sse") -> Iterator[Message]:
        """Yield all of it."""
        yield from super().messages(channel=channel)


live = Filtered("live", __name__)
live.add_url_rule("", "stream", live.stream)
app = Flask(__name__)
app.config.from_prefixed_env()
app.register_blueprint(live, url_prefix="/stream")


@app.get("/publish")
def publish() -> str:
    """Publish an event; tell how many receivers took it."""
    return str(int(live.publish("to all")))
