"""Visit and answer: what goes into a decision of the door and what comes out, on every framework.

Rules of this file: no framework, no I/O, no clock; everything is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, as the door sees it.

    Attributes:
        method: In capitals.
        path: As the client asked for it, decoded.
        query: The values of each name, decoded, in their order.
        headers: By their names in small letters; the values are text that was decoded from UTF-8.
        address: Of the client, behind trusted proxies; ``None`` where it is unknown.
        origin: Of the application as the client sees it, as in ``https://example.com``.
    """

    method: str
    path: str
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None
    origin: str = ""

    def parameter(self, name: str) -> str | None:
        """Return the first value of a name in the query; ``None`` where there is none."""
        values = self.query.get(name)
        return values[0] if values else None

    @property
    def last_event_id(self) -> str:
        """Where the client resumes: a header, or else a parameter; empty for what comes from now on."""
        return self.headers.get("last-event-id") or self.parameter("last_event_id") or ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response in place of a stream.

    Attributes:
        status: A browser's ``EventSource`` does not reconnect after any but 200.
        headers: By their names, ``Content-Type`` among them.
        body: Bytes as they are sent.
    """

    status: HTTPStatus
    headers: Mapping[str, str]
    body: bytes = b""
