"""The URL of a broker: checked where a setting is read, and shown without user, password and options.

Clients of brokers read a URL leniently: redis-py takes the database 0 for one that is no number, and the
default port for port 0. What was meant is not there then, and nothing says so.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit

from .errors import InvalidSettingError

MEMORY_SCHEME = "memory"
SCHEMES = (MEMORY_SCHEME, "redis", "rediss", "unix", "valkey", "valkeys")

_KNOWN = ", ".join(f"{scheme}://" for scheme in SCHEMES)
_QUOTE = "a / ? # @ : [ or % in user or password must be percent-encoded"
_PORT = "its port must be a number from 1 to 65535, as in redis://localhost:6379"
_SOCKET = "it must have the absolute path of a socket behind three slashes, as in unix:///run/redis.sock"
_MAX_PORT_DIGITS = 5
# A text that is no URL is shown if it looks like a host, a port and a database; anything else may be secret.
_NAME = r"([a-z]+:/)?(localhost|memory|redis|valkey|[\w-]+\.[\w.-]+|[\w.-]+(?=:))"
_HOST = re.compile(_NAME + r"(:\d{0,5})?(/\d*)?", re.ASCII)


def check_url(key: str, url: str) -> str:
    """Return the scheme of a broker's URL.

    Args:
        key: The setting that it comes from.
        url: What to look at.

    Raises:
        InvalidSettingError: If there is no broker of that scheme, or the rest cannot be what was meant.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise InvalidSettingError(key, shown_url(url), _scheme_hint(url))
    flaw = None if scheme == MEMORY_SCHEME else _flaw(scheme, url)
    if flaw is not None:
        raise InvalidSettingError(key, shown_url(url), flaw)
    return scheme


def _scheme_hint(url: str) -> str:
    shown = shown_url(url)
    if url.lower().startswith(MEMORY_SCHEME):
        return "write memory:// or memory://NAME"
    if url.partition("://")[0].lower() in SCHEMES:
        return f"its scheme must be in small letters, one of {_KNOWN}"
    example = f", as in redis://{shown}" if _HOST.fullmatch(shown) and ":/" not in shown else ""
    return f"it must begin with one of {_KNOWN}{example}"


def _flaw(scheme: str, url: str) -> str | None:
    """Return why the URL of a server is not what was meant; ``None`` if nothing says so."""
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        server = re.split("[/?#]", url.partition("://")[2])[0]
        user, at, _ = server.rpartition("@")
        is_port = "[" not in user and (at or "@" not in url)
        return _PORT if is_port else _QUOTE
    before_at = parts.query.partition("@")[0]
    # Without encoding, a user or password ends at / ? or #, and the rest of it is read as something else.
    if "@" in parts.fragment or ("@" in parts.query and "=" not in before_at):
        return _QUOTE
    if scheme == "unix":
        return None if not parts.hostname and parts.path.strip("/") else _SOCKET
    return _flaw_of_server(parts) if has_port else _PORT


def _flaw_of_server(parts: SplitResult) -> str | None:
    if re.search(r"\s", parts.hostname or ""):
        return "its host must not hold spaces"
    database = unquote(parts.path).replace("/", "")
    if not database or database.isdecimal():
        return None
    return _QUOTE if "@" in database else "its database must be a number, as in redis://localhost/0"


def shown_url(url: str) -> str:
    """Return a URL for errors and logs."""
    scheme, separator, rest = url.partition("://")
    secret, at, address = (rest if separator else url).rpartition("@")
    hidden = "...@" if at else ""
    if not separator:
        return f"{hidden}{address}" if _HOST.fullmatch(address) else "..."
    if not scheme.isalnum():
        return "..."
    address = re.split("[?#]", address)[0]
    host, _, port = address.partition("/")[0].rpartition(":")
    # An @ behind a ? may end a password, or stand in one.
    if re.search("[?#]", secret) or (not at and not host and port and address.startswith(":")):
        return f"{scheme}://..."
    # Behind the last colon may be a password whose host was forgotten.
    if not at and host and not port.isdecimal() and len(port) > _MAX_PORT_DIGITS and not port.endswith("]"):
        return f"{scheme}://{host}:..."
    return f"{scheme}://{hidden}{address}"


def memory_name(url: str) -> str | None:
    """Return the name in a URL of ``memory://``: empty where it has none, ``None`` for any other broker."""
    scheme, _, name = url.partition("://")
    return name.rstrip("/") if scheme == MEMORY_SCHEME else None
