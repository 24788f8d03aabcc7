"""Health: two addresses for load balancers and people, mounted where the application decides.

``/healthz`` tells whether the application can stream at all, and answers 200 also while the broker is away:
taking all servers out of service would not help. ``/readyz`` answers 503 then.

They answer every client that reaches them, so they show counts and states alone; where hub and broker are,
and what they said, is logged.
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import Any

from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue

from .blueprint import sse
from .errors import SSEError

logger = logging.getLogger(__name__)

OK = "ok"
DEGRADED = "degraded"
DOWN = "down"

# Load balancers ask every few seconds, each worker and for as long as it lasts.
LOG_EVERY_SECONDS = 60.0
_NOT_TO_BE_KEPT = {"Cache-Control": "no-store"}

health = Blueprint("sse_health", __name__)


@health.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Tell whether streams can be opened; 503 if not."""
    state = check()
    status = HTTPStatus.SERVICE_UNAVAILABLE if state["status"] == DOWN else HTTPStatus.OK
    return state, status, _NOT_TO_BE_KEPT


@health.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Tell whether all is well; 503 if not."""
    state = check()
    status = HTTPStatus.OK if state["status"] == OK else HTTPStatus.SERVICE_UNAVAILABLE
    return state, status, _NOT_TO_BE_KEPT


def check() -> dict[str, Any]:
    """Ask the hub and the broker how they are; takes a few seconds at most.

    Returns:
        ``status``, which is ``ok``, ``degraded`` if the broker is away, or ``down`` if there is no hub; and
        the states and counts of ``hub`` and ``broker``.

    Raises:
        KeyError: If the application has no URL of a broker.
    """
    hub: dict[str, Any] = {"reachable": True}
    try:
        status = sse.status()
        hub |= {"streams": status["streams"], "broker_away": status["broker_away"]}
    except SSEError as error:
        hub["reachable"] = False
        _log("hub", error)
    broker: dict[str, Any] = {"reachable": True}
    try:
        broker["milliseconds"] = ask_broker()
    except SSEError as error:
        broker["reachable"] = False
        _log("broker", error)
    is_well = broker["reachable"] and not hub.get("broker_away")
    return {
        "status": DOWN if not hub["reachable"] else OK if is_well else DEGRADED,
        "hub": hub,
        "broker": broker,
    }


def _log(what: str, error: SSEError) -> None:
    """Log why a check failed, at most once a minute for each application and ``what``."""
    logged_at = current_app.extensions.setdefault("sse_health.logged_at", {})
    now = time.monotonic()
    if now - logged_at.get(what, -LOG_EVERY_SECONDS) >= LOG_EVERY_SECONDS:
        logged_at[what] = now
        logger.warning("health check: the %s cannot be reached: %s", what, error)


def ask_broker() -> float:
    """Return the time of a round trip to the broker, in milliseconds.

    Raises:
        KeyError: If the application has no URL of a broker.
        SSEError: If it did not answer.
    """
    began = time.perf_counter()
    sse.cursor()
    return round(1000 * (time.perf_counter() - began), 3)
