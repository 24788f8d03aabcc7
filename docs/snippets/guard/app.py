from flask import Flask, session

from flask_sse import sse

app = Flask(__name__)
app.config.from_mapping(SECRET_KEY="change me", SSE_BROKER_URL="memory://guarded")


@sse.authorize
def may_listen(channel: str) -> bool:
    return channel in ("sse", f"user-{session.get('user')}")


@sse.identify
def visitor() -> str | None:
    return session.get("user")


@app.post("/logout")
def logout() -> str:
    user = session.pop("user", None)
    if user is not None:
        sse.disconnect(subject=user, reason="signed out")
    return "bye"


app.register_blueprint(sse, url_prefix="/stream")
