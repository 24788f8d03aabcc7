"""Tickets: signed, short-lived permissions to open one stream, for pages that have no session here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from itsdangerous import BadData, URLSafeSerializer

# The parameter of a stream's address.
TICKET = "ticket"
# Of its own, so that nothing else that is signed with the same key is a ticket.
SALT = "flask-sse.ticket"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a stream may listen to, and until when.

    Attributes:
        channels: All that it may listen to, sorted.
        subject: Whose it is; ``None`` where it is unknown.
        issued_at: When the request began that made it, in seconds of the wall clock.
        expires_at: When the right ends that it gives.
    """

    channels: tuple[str, ...]
    subject: str | None
    issued_at: float
    expires_at: float


def sign(ticket: Ticket, keys: Sequence[bytes]) -> str:
    """Return a ticket as text for a URL. It is signed, not encrypted: all who have it can read it.

    Args:
        ticket: What to sign.
        keys: Secrets, the newest one last.
    """
    return str(URLSafeSerializer(keys, salt=SALT).dumps(asdict(ticket)))


def read(text: str, keys: Sequence[bytes]) -> Ticket | None:
    """Read a ticket, signed with any of the keys; ``None`` if it is not one of ours."""
    try:
        fields = URLSafeSerializer(keys, salt=SALT).loads(text)
        return Ticket(**{**fields, "channels": tuple(fields["channels"])})
    except (BadData, TypeError, KeyError, RecursionError):
        return None
