"""The call stack: which web server calls the application, and whether it can serve streams.

The stack is inspected, and not ``start_response``, because middleware replaces that one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType

_USE_A2WSGI = "Use WSGIMiddleware of a2wsgi (pip install a2wsgi), or a WSGI server such as gunicorn."
_NEVER_ENDS = "does not tell when a client has left, so its streams would hold threads without end."
# By the module that calls the application.
_UNSUITABLE = {
    "tornado.wsgi": (
        "Tornado's WSGI container cannot serve event streams: it waits for the end of a response before it "
        "sends anything. Use another worker class of gunicorn."
    ),
    "asgiref.wsgi": (
        "WsgiToAsgi of asgiref cannot serve event streams: it answers all requests in one thread, so one "
        f"open page would block all others. {_USE_A2WSGI}"
    ),
    "starlette.middleware.wsgi": (
        f"WSGIMiddleware of Starlette and FastAPI cannot serve event streams: it {_NEVER_ENDS} {_USE_A2WSGI}"
    ),
    "uvicorn.middleware.wsgi": (
        f"uvicorn's own WSGI support cannot serve event streams: it {_NEVER_ENDS} {_USE_A2WSGI}"
    ),
}


def frames(stack: FrameType | None = None) -> Iterator[tuple[str, FrameType]]:
    """Yield the module and the frame of each call on a stack, the innermost first.

    Args:
        stack: The innermost frame; ``None`` for that of the caller.
    """
    frame: FrameType | None = stack or sys._getframe(1)  # noqa: SLF001 - as inspect does
    while frame is not None:
        yield frame.f_globals.get("__name__", ""), frame
        frame = frame.f_back


def why_unsuitable() -> str | None:
    """Return why the server that calls the application cannot serve streams; ``None`` if it can."""
    return next((_UNSUITABLE[module] for module, _ in frames() if module in _UNSUITABLE), None)


def in_test_client() -> bool:
    """Tell whether no web server calls the application, but the test client of Flask or Werkzeug."""
    return any(module == "werkzeug.test" for module, _ in frames())


def in_greenlet() -> bool:
    """Tell whether this code runs in a greenlet of gevent, also where nothing is patched."""
    gevent = sys.modules.get("gevent")
    return gevent is not None and isinstance(gevent.getcurrent(), gevent.Greenlet)
