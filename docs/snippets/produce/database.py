import sqlite3
from collections.abc import Iterator

from flask import Flask, g
from werkzeug.wrappers import Response

from flask_sse import sse

app = Flask(__name__)


def get_db() -> sqlite3.Connection:
    if "db" not in g:
        g.db = sqlite3.connect("shop.db")
    return g.db


@app.teardown_appcontext
def close_db(_: BaseException | None) -> None:
    if "db" in g:
        g.pop("db").close()


def rows(user: str) -> Iterator[dict[str, object]]:
    # A separate connection, closed when the generator has ended.
    for item, price in get_db().execute("SELECT item, price FROM orders WHERE user = ?", (user,)):
        yield {"item": item, "price": price}


@app.get("/export")
def export() -> Response:
    g.user = "ann"  # as a login does
    # g.user ends with the request, so its value is passed on.
    return sse.response(rows(g.user))
