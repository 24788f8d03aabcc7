"""Stream URL: parsed and checked once, then requested for one channel or another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ..channels import DEFAULT_CHANNEL
from ..errors import UsageError

_PORTS = {"http": 80, "https": 443}
# Characters of a request target that stay as they are; all others are percent-encoded, line breaks included.
_PATH = "/%:@!$&'()*+,;=~-._"
_QUERY = f"{_PATH}?"


@dataclass(frozen=True, slots=True)
class StreamURL:
    """A URL that a browser can open.

    Attributes:
        scheme: ``http`` or ``https``.
        host: As name servers and certificates have it.
        port: As the URL has it, or that of the scheme.
        path: Without the query, percent-encoded.
        query: Without the question mark, percent-encoded.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @classmethod
    def parse(cls, url: str) -> StreamURL:
        """Parse a URL.

        Raises:
            UsageError: If a page cannot open it.
        """
        try:
            parts = urlsplit(url)
            host, port = _ascii(parts.hostname or ""), parts.port
        except ValueError as error:
            raise UsageError(f"{url!a} is not a URL: {error}") from None
        if parts.scheme not in _PORTS or not host or not host.isprintable() or " " in host:
            raise UsageError(f"{url!a} is not the URL of a stream; write it as in https://example.com/stream")
        if parts.username is not None:
            raise UsageError("the URL has a user or password: browsers do not open such streams; remove it")
        port = _PORTS[parts.scheme] if port is None else port
        return cls(parts.scheme, host, port, quote(parts.path, _PATH) or "/", quote(parts.query, _QUERY))

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme == "https"

    @property
    def is_local(self) -> bool:
        """Whether the traffic stays on this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    @property
    def host_header(self) -> str:
        """The ``Host`` header that a browser sends."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """The request target that a browser sends."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def channel(self) -> str:
        """The first channel in the query; the default channel if there is none."""
        return next((value for name, value in self._fields() if name == "channel" and value), DEFAULT_CHANNEL)

    def without_cursor(self) -> StreamURL:
        """Return the URL for new events only, without those that were missed before."""
        return self._with([field for field in self._fields() if field[0] != "last_event_id"])

    def with_channel(self, channel: str, ticket: str | None = None) -> StreamURL:
        """Return the URL for one channel only, with this ticket or without any."""
        # A ticket in the URL was signed for the channels that are removed here.
        ours = {"channel", "ticket", "last_event_id"}
        fields = [*(field for field in self._fields() if field[0] not in ours), ("channel", channel)]
        return self._with(fields if ticket is None else [*fields, ("ticket", ticket)])

    def _fields(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query, keep_blank_values=True)

    def _with(self, fields: list[tuple[str, str]]) -> StreamURL:
        return replace(self, query=urlencode(fields))

    def __str__(self) -> str:
        # For reports: a ticket grants access, so it is not shown.
        fields = [(name, "..." if name == "ticket" else value) for name, value in self._fields()]
        query = urlencode(fields, safe="./:")
        return f"{self.scheme}://{self.host_header}{self.path}{'?' if query else ''}{query}"


def _ascii(host: str) -> str:
    return host if host.isascii() else host.encode("idna").decode()
