"""Reasons for a relay: why a connection is not taken over, and what the operator can do about it."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from .call_stack import in_greenlet, in_test_client
from .request_body import was_read

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RelayReason:
    """Why the connection of a request is not taken over.

    Attributes:
        why: What follows "because" in a sentence.
        hint: How to remove it, as a sentence without its end; empty where the relay holds nothing.
    """

    why: str
    hint: str


HEAD = RelayReason("a HEAD request has no body", "")
TURNED_OFF = RelayReason("SSE_TAKEOVER is off", "Set SSE_TAKEOVER to auto")
OTHER_STATUS = RelayReason("its status is not 200", "Answer it with status 200")
UNREAD_BODY = RelayReason(
    "the body of its request was not read to the end", "Read it in the view, as request.get_data() does"
)
NO_PLAIN_SOCKET = RelayReason(
    "the web server speaks TLS or HTTP/2 itself, or does not show its connections",
    "Let a proxy in front of the web server speak TLS and HTTP/2",
)
LONG_HEAD = RelayReason("the head of its response is too long", "Send fewer or shorter headers with it")


def find_relay_reason(
    environ: dict[str, Any], status_code: int, *, may_take_over: bool
) -> RelayReason | None:
    """Return what excludes a takeover before the connection is looked for; ``None`` if nothing does."""
    if environ["REQUEST_METHOD"] == "HEAD":
        return HEAD
    if not may_take_over:
        return TURNED_OFF
    if status_code != HTTPStatus.OK:
        return OTHER_STATUS
    # Views do not read the body of a GET request, and one that is sent along must not hold a worker.
    if environ["REQUEST_METHOD"] != "GET" and not was_read(environ):
        return UNREAD_BODY
    return None


def log_relay(environ: dict[str, Any], reason: RelayReason) -> None:
    """Log that a stream is relayed, and warn where it holds a whole worker."""
    logger.debug("relay: %s", reason.why)
    has_one_thread = not environ.get("wsgi.multithread") and not in_greenlet()
    if reason.hint and has_one_thread and not in_test_client():
        _warn_of_held_worker(reason)


@functools.cache  # so that each cause is logged once in a process
def _warn_of_held_worker(reason: RelayReason) -> None:
    logger.warning(
        "a stream is relayed and holds this whole worker until its client leaves, because %s; other requests "
        "wait for it, and gunicorn kills a sync worker after --timeout. %s; or use a worker with threads or "
        "greenlets (gunicorn: -k gthread --threads 100)",
        reason.why,
        reason.hint,
    )
