"""Health: two addresses for load balancers and people, mounted where the application says.

``/healthz`` tells whether the application can stream at all, and answers 200 also while the broker is away:
taking all servers out of service would help nobody. ``/readyz`` answers 503 then.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue

from .blueprint import sse
from .errors import SSEError

OK = "ok"
DEGRADED = "degraded"
DOWN = "down"

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
        what ``hub`` and ``broker`` answered.

    Raises:
        KeyError: If the application has no URL of a broker.
    """
    try:
        status = sse.status()
    except SSEError as error:
        return {"status": DOWN, "hub": {"error": str(error)}, "broker": ask_broker()}
    broker = ask_broker()
    is_well = "error" not in broker and not status["broker_away"]
    hub = {"pid": status["pid"], "streams": status["streams"], "broker_away": status["broker_away"]}
    return {"status": OK if is_well else DEGRADED, "hub": hub, "broker": broker}


def ask_broker() -> dict[str, Any]:
    """Return ``milliseconds``, the time of a round trip to the broker, or the ``error``.

    Raises:
        KeyError: If the application has no URL of a broker.
    """
    began = time.perf_counter()
    try:
        sse.cursor()
    except SSEError as error:
        return {"error": str(error)}
    return {"milliseconds": round(1000 * (time.perf_counter() - began), 3)}
