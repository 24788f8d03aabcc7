"""The right to listen that an application gives a visitor: for whom, and until when. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grant:
    """What an application found out about the visitor who opens a stream.

    Attributes:
        subject: Who it is; ``None`` for an anonymous visitor.
        address: Where the visitor is; ``None`` where streams are not counted by address.
        ends_in: When the right to listen ends, in seconds; ``None`` for never.
        issued_at: When the ticket was made, or the request began in which the right was checked, in seconds
            of the wall clock; ``None`` for the application itself, whose streams are never revoked.
        by_ticket: Whether a ticket gives the right. An expired one cannot be used again.
    """

    subject: str | None = None
    address: str | None = None
    ends_in: float | None = None
    issued_at: float | None = None
    by_ticket: bool = False


ANONYMOUS = Grant()
