"""The time as of which the rights of a request hold: a revocation after it ends what the request allowed."""

from __future__ import annotations

import time

from flask import has_request_context, request, request_started
from flask.sansio.app import App

# Of the WSGI environment: when the request began, in seconds of the wall clock.
_BEGAN_AT = "flask_sse.began_at"


def note_begin_of_requests(app: App) -> None:
    """Note when each request of an application begins, before any guard of it is asked."""
    request_started.connect(_note_begin, app)


def _note_begin(_: object, **__: object) -> None:
    request.environ[_BEGAN_AT] = time.time()


def note_own_revocation() -> None:
    """Let what this request allows from here on count as newer than what it has revoked itself."""
    if has_request_context():
        request.environ.pop(_BEGAN_AT, None)


def rights_known_at() -> float:
    """Return when the rights that are checked now were as they are, in seconds of the wall clock.

    In a request that is its beginning: a guard may have looked at them then, and they may be revoked before
    it is done.
    """
    now = time.time()
    began_at: float = request.environ.get(_BEGAN_AT, now) if has_request_context() else now
    # A wall clock may be set back meanwhile.
    return min(began_at, now)
