"""Errors of the broker on Werkzeug's development server, which would take them for clients that left.

Its request handler drops every ``ConnectionError`` that reaches it: it logs nothing, and where the
application lets errors through (in debug mode without a debugger) the client waits for an answer that never
comes. ``BrokerUnavailableError`` is one, so on that server it leaves the application as a plain
``BrokerError``. Other servers look at the number of the error, or at its subclasses for lost connections, and
get it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import BrokerError, BrokerUnavailableError


class BrokerErrorsOfDevServer:
    """Middleware around the WSGI application; nothing changes on other servers."""

    def __init__(self, wsgi_app: Callable[..., Iterable[bytes]]) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        if "werkzeug.socket" not in environ:
            return self._wsgi_app(environ, start_response)
        with _no_connection_errors():
            return _Body(self._wsgi_app(environ, start_response))


class _Body:
    """A response's body, of which each step may raise one."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        self._chunks = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with _no_connection_errors():
            return next(self._chunks)

    def close(self) -> None:
        """Close the body, as the server must."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with _no_connection_errors():
                close()


@contextmanager
def _no_connection_errors() -> Iterator[None]:
    try:
        yield
    except BrokerUnavailableError as error:
        raise BrokerError(str(error)) from error
