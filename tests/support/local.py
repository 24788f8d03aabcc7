"""Applications that a thread of the test itself serves, as ``flask run`` does; they start at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from flask import Blueprint, Flask
from werkzeug.serving import make_server

from flask_sse import Published, sse

from .client import Answer, StreamClient, get

POLL_SECONDS = 0.02


class LocalServer:
    """A running application; leaving the ``with`` block ends it.

    Attributes:
        app: The application.
        port: Its port of 127.0.0.1.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        close(self.app)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for ``path`` and return the whole answer."""
        return get(self.port, path, headers)

    def stream(self, path: str, headers: Mapping[str, str] | None = None) -> StreamClient:
        """Open the event stream at ``path``."""
        return StreamClient(self.port, path, headers)

    def publish(self, *args: Any, **kwargs: Any) -> Published:
        """Publish as a view does."""
        with self.app.app_context():
            return sse.publish(*args, **kwargs)

    def status(self) -> dict[str, Any]:
        """Ask the hub how it is."""
        with self.app.app_context():
            return sse.status()


def make_app(blueprint: Blueprint = sse, /, **config: Any) -> Flask:
    """Return an application with its streams at ``/stream``; :func:`close` it in the end."""
    app = Flask("local")
    app.config.from_mapping(config)
    app.register_blueprint(blueprint, url_prefix="/stream")
    return app


@contextmanager
def local_app(blueprint: Blueprint = sse, /, **config: Any) -> Iterator[Flask]:
    """An application that is closed in the end."""
    app = make_app(blueprint, **config)
    try:
        yield app
    finally:
        close(app)


def serve(blueprint: Blueprint = sse, /, **config: Any) -> LocalServer:
    """Serve an application with its streams at ``/stream``."""
    return LocalServer(make_app(blueprint, **config))


def close(app: Flask) -> None:
    """Give back the connections that Flask-SSE opened for an application."""
    if extension := app.extensions.pop("sse", None):
        extension.submitter.close()
    for client in app.extensions.pop("sse.redis", {}).values():
        client.close()
