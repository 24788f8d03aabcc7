from flask import Flask, abort, request, session

from flask_sse import sse

app = Flask(__name__)
app.config.from_mapping(
    SECRET_KEY="change me", SSE_BROKER_URL="memory://guarded", SSE_MAX_CHANNELS_PER_STREAM=5
)


@sse.before_request
def only_own_channels() -> None:
    user = session.get("user")
    if user is None:
        abort(403)
    allowed = {"sse", f"user-{user}"}
    # A page may ask for several channels: look at all of them.
    if not allowed.issuperset(filter(None, request.args.getlist("channel"))):
        abort(403)


app.register_blueprint(sse, url_prefix="/stream")
