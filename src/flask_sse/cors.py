"""CORS (Fetch 3.3): pages of which origins may read answers to requests of streams.

Every answer has the headers, errors and 204 as well: without them a page cannot tell that it must not
reconnect from a server that is away. An origin that is not listed gets a notice in the log, because a browser
shows its page nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from .settings import Settings
from .visit import Answer, Visit

# How long a browser does not ask again. Firefox takes up to a day, Chromium up to two hours.
PREFLIGHT_SECONDS = 600
_MAX_SHOWN = 200


def is_allowed_origin(visit: Visit, settings: Settings) -> bool:
    """Tell whether pages of the request's origin may listen."""
    return "*" in settings.cors_origins or visit.headers.get("origin") in settings.cors_origins


def cors_headers(visit: Visit, settings: Settings) -> Mapping[str, str]:
    """Return the headers that let the page of a request read its answer, if its origin may.

    ``Vary`` is to be added to what the answer has there already.
    """
    origin = visit.headers.get("origin")
    if "*" in settings.cors_origins:
        return {"Access-Control-Allow-Origin": "*"}
    if not settings.cors_origins:
        return {}
    if origin is None or origin not in settings.cors_origins:
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
    }


def is_preflight(visit: Visit) -> bool:
    """Tell whether a browser asks what a page of another origin may send."""
    return visit.method == "OPTIONS" and "access-control-request-method" in visit.headers


def preflight(visit: Visit, settings: Settings) -> Answer | None:
    """Return the answer to a browser that asks before it sends a long ``Last-Event-ID`` or ``Authorization``.

    It asks without cookies, so no guard can answer. ``None`` where this is no such request, or of a page that
    may not listen.
    """
    if not is_preflight(visit) or not is_allowed_origin(visit, settings):
        return None
    headers = "Last-Event-ID, Cache-Control"
    # Credentials are for the pages that the application knows.
    headers += "" if "*" in settings.cors_origins else ", Authorization"
    return Answer(
        HTTPStatus.NO_CONTENT,
        {
            "Access-Control-Allow-Methods": "GET",
            "Access-Control-Allow-Headers": headers,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            **cors_headers(visit, settings),
        },
    )


def blocked_origin(visit: Visit, settings: Settings) -> str | None:
    """Return why the page of a request cannot read its answer, and what to set; ``None`` if it can."""
    # A browser names the origin where it differs from ours, or where it asks first.
    origin = visit.headers.get("origin")
    if origin is None:
        return None
    shown = ascii(origin[:_MAX_SHOWN])
    if "*" in settings.cors_origins:
        if not visit.headers.get("cookie"):
            return None
        return (
            f"a page of {shown} sends cookies, so its browser does not let it read the stream: "
            f'SSE_CORS_ORIGINS = "*" is for pages without them; list origins instead: [{shown}]'
        )
    if origin == "null":
        return (
            "a page without an origin (a sandboxed frame or a file) may not read streams: "
            'only SSE_CORS_ORIGINS = "*" lets it, without cookies'
        )
    if origin in settings.cors_origins or _is_same_origin(visit, origin):
        return None
    return f"pages of {shown} may not read streams: to let them, add {shown} to SSE_CORS_ORIGINS"


def _is_same_origin(visit: Visit, origin: str) -> bool:
    return visit.headers.get("sec-fetch-site") == "same-origin" or origin == visit.origin
