"""Where a stream is: a URL taken apart, checked once, and asked for with one channel or another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from ..channels import DEFAULT_CHANNEL
from ..errors import UsageError

_PORTS = {"http": 80, "https": 443}
# What may stand in a request as it is; everything else is written in percent.
_PATH = "/%:@!$&'()*+,;=~-._"
_QUERY = f"{_PATH}?"
_TICKET = "ticket"
_SINCE = "last_event_id"


@dataclass(frozen=True, slots=True)
class Address:
    """A URL that can be asked for.

    Attributes:
        scheme: ``http`` or ``https``.
        host: As a name server and a certificate know it.
        port: As the URL says, or that of the scheme.
        path: Without the query.
        query: As it stands behind the question mark.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @classmethod
    def read(cls, url: str) -> Address:
        """Take a URL apart.

        Raises:
            UsageError: If it is none that a page could open.
        """
        try:
            parts = urlsplit(url)
            host, port = _ascii(parts.hostname or ""), parts.port
        except ValueError as error:
            raise UsageError(f"{url!a} is no URL: {error}") from None
        if parts.scheme not in _PORTS or not host or not host.isprintable() or " " in host:
            raise UsageError(f"{url!a} is no URL of a stream: write it as in https://example.com/stream")
        _refuse_password(parts)
        return cls(
            parts.scheme,
            host,
            _PORTS[parts.scheme] if port is None else port,
            quote(parts.path, _PATH) or "/",
            quote(parts.query, _QUERY),
        )

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken there."""
        return self.scheme == "https"

    @property
    def is_this_machine(self) -> bool:
        """Whether nothing leaves this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    @property
    def host_header(self) -> str:
        """What a browser sends as ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """What a browser asks that host for."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def channel(self) -> str:
        """The first channel that it names; that of all who name none otherwise."""
        return next((value for name, value in self._fields() if name == "channel" and value), DEFAULT_CHANNEL)

    def without_position(self) -> Address:
        """Return it without what was missed before: nobody needs that here."""
        return self._with([field for field in self._fields() if field[0] != _SINCE])

    def of_channel(self, channel: str, ticket: str | None = None) -> Address:
        """Return it for one channel alone, with this ticket or without one.

        Args:
            channel: What to listen to.
            ticket: A right to do so; one that stands in the URL is for other channels.
        """
        ours = {"channel", _TICKET, _SINCE}
        fields = [field for field in self._fields() if field[0] not in ours]
        fields.append(("channel", channel))
        if ticket is not None:
            fields.append((_TICKET, ticket))
        return self._with(fields)

    def _fields(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query, keep_blank_values=True)

    def _with(self, fields: list[tuple[str, str]]) -> Address:
        return replace(self, query=urlencode(fields))

    def __str__(self) -> str:
        # For people: a ticket is a right, and belongs into no report.
        fields = [(name, "..." if name == _TICKET else value) for name, value in self._fields()]
        query = urlencode(fields, safe="./:")
        return f"{self.scheme}://{self.host_header}{self.path}{'?' if query else ''}{query}"


def _ascii(host: str) -> str:
    return host if host.isascii() else host.encode("idna").decode()


def _refuse_password(parts: SplitResult) -> None:
    if parts.username is not None:
        raise UsageError("a URL with a password is not asked for: pages cannot open such streams either")
