"""Reasons for a relay: what excludes a takeover before the connection is looked for."""

from __future__ import annotations

import io
from typing import Any

import pytest

from flask_sse.serving.relay_reason import (
    HEAD,
    OTHER_STATUS,
    TURNED_OFF,
    UNREAD_BODY,
    RelayReason,
    find_relay_reason,
)


def environ(method: str, body: bytes = b"") -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }


@pytest.mark.parametrize(
    ("method", "body", "status", "may_take_over", "reason"),
    [
        ("GET", b"", 200, True, None),
        ("GET", b"unread", 200, True, None),
        ("POST", b"", 200, True, None),
        ("POST", b"unread", 200, True, UNREAD_BODY),
        ("GET", b"", 201, True, OTHER_STATUS),
        ("GET", b"", 200, False, TURNED_OFF),
        ("HEAD", b"", 200, True, HEAD),
        ("HEAD", b"", 201, False, HEAD),
    ],
)
def test_a_takeover_is_for_answers_with_a_body_to_requests_that_were_read(
    method: str, body: bytes, status: int, may_take_over: bool, reason: RelayReason | None
) -> None:
    found = find_relay_reason(environ(method, body), status, may_take_over=may_take_over)

    assert found is reason


def test_a_body_that_was_read_excludes_nothing() -> None:
    request = environ("POST", b"read")
    request["wsgi.input"].read()

    assert find_relay_reason(request, 200, may_take_over=True) is None
