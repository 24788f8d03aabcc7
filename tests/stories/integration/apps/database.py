"""An application that asks its database on every request, with a pool of one connection."""

from __future__ import annotations

import os
from collections import Counter

from flask import Flask, Response, abort, g, has_app_context, has_request_context, request
from sqlalchemy import QueuePool, create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

from flask_sse import sse

app = Flask(__name__)
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")

engine = create_engine(
    f"sqlite:///{os.environ['DATABASE']}", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=1
)
session = scoped_session(sessionmaker(engine))

with engine.begin() as connection:
    connection.execute(text("CREATE TABLE users (name TEXT)"))
    connection.execute(text("INSERT INTO users VALUES ('alice')"))

# What ran for requests of the stream.
ran: Counter[str] = Counter()


@app.before_request
def check_user() -> None:
    """Let nobody in whom the database does not know; the session stays open."""
    g.counts = ran if request.path == "/stream" else Counter()
    name = request.args.get("user", "alice")
    found = session.execute(text("SELECT name FROM users WHERE name = :name"), {"name": name}).first()
    if found is None:
        abort(403)
    g.counts["let in"] += 1


@app.after_request
def watch(response: Response) -> Response:
    """Look again when the web server is done with the response."""
    counts = g.counts

    @response.call_on_close
    def note() -> None:
        counts["closed"] += 1
        counts["closed in a context"] += has_app_context() or has_request_context()

    return response


@app.teardown_request
def end_request(_: BaseException | None) -> None:
    """Count."""
    g.counts["teardown_request"] += 1


@app.teardown_appcontext
def remove_session(_: BaseException | None) -> None:
    """Give the connection back."""
    g.counts["teardown_appcontext"] += 1
    session.remove()


@app.get("/user")
def user() -> str:
    """Ask the database once more."""
    return str(session.execute(text("SELECT name FROM users")).scalar())


@app.get("/ran")
def show_ran() -> dict[str, int]:
    """Show the counts, and how many connections are taken; that of this request is one."""
    return {**ran, "connections": engine.pool.checkedout()}  # type: ignore[attr-defined]
