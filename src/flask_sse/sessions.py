"""Sessions of requests of streams: read, and never saved.

A stream is a request that no visitor made by hand, that is repeated for hours, and that may wait for a slow
rule meanwhile. Its session is a copy of what was true when it came: saved late, it would undo a sign-out or
an update of another request, and a session that its visitor has left would never expire.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, Response, current_app, has_request_context, request
from flask.sessions import SessionMixin

# In the environ, as this is a matter of one request whatever contexts are around it.
_SAVES_NO_SESSION = "flask_sse.saves_no_session"


def save_no_session() -> None:
    """Let nothing be saved of what is written into the session of this request, whatever answers it."""
    request.environ[_SAVES_NO_SESSION] = True
    interface = current_app.session_interface
    # Asked each time: extensions set another interface whenever they are initialised.
    if not isinstance(interface.save_session, _SessionSaver):
        interface.save_session = _SessionSaver(interface.save_session)  # type: ignore[method-assign]


class _SessionSaver:
    """``save_session`` of a session interface, but for requests of streams.

    It stands on the interface because that is the last to see a response, behind all ``after_request``.
    """

    def __init__(self, save: Callable[[Flask, SessionMixin, Response], None]) -> None:
        self._save = save

    def __call__(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if not (has_request_context() and _SAVES_NO_SESSION in request.environ):
            self._save(app, session, response)
        elif session.accessed:
            response.vary.add("Cookie")
