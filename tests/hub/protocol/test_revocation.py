"""Revocations on the wire: what a hub reads, and which streams one names."""

from __future__ import annotations

from typing import Any

import pytest

from flask_sse.errors import InvalidMessageError
from flask_sse.hub.protocol.grant import ANONYMOUS, Grant
from flask_sse.hub.protocol.revocation import MAX_AT_SECONDS, ReceivedRevocation, Revocation
from flask_sse.wire.envelope import pack
from flask_sse.wire.message import Message

FIELDS = {"subject": "ann", "channel": None, "reason": "signed out", "at": 100.0}
REVOCATION = Revocation("ann", None, "signed out", 100.0)


def test_a_revocation_is_read_as_it_was_published() -> None:
    assert Revocation.read(REVOCATION.envelope()) == REVOCATION


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": None},
        {"subject": 7},
        {"channel": ["a"]},
        {"reason": None},
        {"at": "100"},
        {"at": True},
        {"at": -1},
        {"at": MAX_AT_SECONDS * 2},
        {"more": 1},
    ],
)
def test_an_event_that_is_no_revocation_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessageError):
        Revocation.read(pack(Message({**FIELDS, **changes})))


@pytest.mark.parametrize(
    ("subject", "channel", "is_named"),
    [
        ("ann", None, True),
        ("ann", "a", True),
        ("ann", "b", False),
        ("bob", None, False),
        (None, "a", True),
        (None, "b", False),
    ],
)
def test_it_names_streams_by_subject_and_channel(
    subject: str | None, channel: str | None, *, is_named: bool
) -> None:
    revocation = Revocation(subject, channel, "", 100.0)

    assert revocation.names(Grant("ann", issued_at=50.0), ["a"]) == is_named
    # The application's own streams are never revoked.
    assert not revocation.names(ANONYMOUS, ["a"])


def test_a_successor_reads_what_its_predecessor_received() -> None:
    received = ReceivedRevocation(REVOCATION, 101.0, is_live=True)

    assert ReceivedRevocation.of({**received.fields(), "revocation": FIELDS}) == received
    for wrong in ({"received_at": 1}, {"is_live": 1}, {"revocation": None}):
        with pytest.raises(ValueError, match="no revocation"):
            ReceivedRevocation.of({**received.fields(), "revocation": FIELDS, **wrong})
