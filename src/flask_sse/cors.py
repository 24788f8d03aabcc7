"""Pages of other origins: which of them may read the answers to requests of streams (CORS, Fetch 3.3).

Every answer has the headers, errors and 204 as well: without them a page cannot tell that it must not come
back from a server that is away. What is not listed is logged, for a browser tells its page nothing.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Response, current_app, request

from .extension import said
from .settings import Settings

logger = logging.getLogger(__name__)

# A browser does not ask again for so long. Firefox takes up to a day, Chromium up to two hours.
PREFLIGHT_SECONDS = 600
# Visitors name origins, so no more of them are logged by one application of a process.
_MAX_LOGGED = 10
_MAX_SHOWN = 200
_TOPIC = "origin: "


def is_allowed_origin(settings: Settings) -> bool:
    """Return whether pages of this request's origin may listen."""
    return "*" in settings.cors_origins or request.headers.get("Origin") in settings.cors_origins


def allow_origin(response: Response, settings: Settings) -> None:
    """Let the page of this request read its answer if its origin may; twice does no harm."""
    origin = request.headers.get("Origin")
    _warn_of_blocked_origin(origin, settings)
    if "*" in settings.cors_origins:
        response.headers["Access-Control-Allow-Origin"] = "*"
    elif settings.cors_origins:
        response.vary.add("Origin")
        if origin in settings.cors_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"


def preflight_answer(settings: Settings) -> Response | None:
    """Return the answer to a browser that asks before it sends a long ``Last-Event-ID`` or ``Authorization``.

    It asks without cookies, so no guard can answer. ``None`` where this is no such request, or of a page that
    may not listen.
    """
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    if not is_allowed_origin(settings):
        _warn_of_blocked_origin(request.headers.get("Origin"), settings)
        return None
    headers = "Last-Event-ID, Cache-Control"
    # What logs somebody in is for the pages that the application knows.
    headers += "" if "*" in settings.cors_origins else ", Authorization"
    response = Response(status=HTTPStatus.NO_CONTENT)
    response.headers["Access-Control-Allow-Methods"] = "GET"
    response.headers["Access-Control-Allow-Headers"] = headers
    response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
    allow_origin(response, settings)
    return response


def _warn_of_blocked_origin(origin: str | None, settings: Settings) -> None:
    # A browser names the origin where it differs from ours, or where it asks first.
    if origin is None:
        return
    shown = ascii(origin[:_MAX_SHOWN])
    if "*" in settings.cors_origins:
        if request.cookies:
            _log_once(
                f"a page of {shown} sends cookies, so its browser does not let it read the stream: "
                f'SSE_CORS_ORIGINS = "*" is for pages without them; list origins instead: [{shown}]'
            )
    elif origin == "null":
        _log_once(
            "a page without an origin (a sandboxed frame or a file) may not read streams: "
            'only SSE_CORS_ORIGINS = "*" lets it, without cookies'
        )
    elif origin not in settings.cors_origins and not _is_same_origin(origin):
        _log_once(f"pages of {shown} may not read streams: to let them, add {shown} to SSE_CORS_ORIGINS")


def _is_same_origin(origin: str) -> bool:
    return request.headers.get("Sec-Fetch-Site") == "same-origin" or origin == request.host_url.rstrip("/")


def _log_once(text: str) -> None:
    topics, topic = said(current_app), f"{_TOPIC}{text}"
    if topic not in topics and sum(each.startswith(_TOPIC) for each in topics) < _MAX_LOGGED:
        topics.add(topic)
        logger.warning("%s", text)
