"""Rules for the connection: TLS, HTTP version, and whether the hub or the web server holds it."""

from __future__ import annotations

from collections.abc import Iterator

from ..wording import counted
from . import fixes
from .finding import Finding, fine, warning
from .observations import Observations

# ``Server`` headers of web servers that relay a stream where they do not hand over its connection.
_WEB_SERVERS = ("werkzeug", "gunicorn", "waitress", "cheroot", "gevent", "uvicorn", "granian", "hypercorn")


def connection_findings(seen: Observations) -> Iterator[Finding]:
    """Yield findings on the connection; none if there was no response."""
    if seen.attempt.failure is not None or not seen.attempt.status:
        return
    yield _tls(seen)
    yield _protocol(seen)
    if any(event.in_time for event in seen.probe_events):
        yield from _holder(seen)


def _tls(seen: Observations) -> Finding:
    if seen.is_encrypted:
        connected = f"connected in {seen.attempt.connect_seconds * 1000:.1f} ms"
        return fine("TLS", f"the certificate is trusted; {connected}")
    if seen.is_local:
        return fine("No TLS", "not needed on this machine")
    why = "Events, cookies and tickets can be read on the network, and browsers speak HTTP/2 with TLS only."
    return warning("No TLS", seen.url, why, fixes.TLS)


def _protocol(seen: Observations) -> Finding:
    if seen.protocol == "h2":
        return fine("HTTP/2", "all streams of a browser to this host share one connection")
    return warning(
        "HTTP/1.1",
        "the server did not choose HTTP/2" if seen.is_encrypted else "browsers speak HTTP/2 with TLS only",
        "A browser opens at most 6 connections per host for all of its windows: a seventh page hangs.",
        fixes.HTTP_2,
    )


def _holder(seen: Observations) -> Iterator[Finding]:
    hub = "no hub on this machine"
    if seen.hub is not None:
        away = ", which cannot reach its broker" if seen.hub.get("broker_away") else ""
        streams = counted(seen.hub.get("streams", 0), "stream")
        hub = f"hub {seen.hub.get('pid')} on this machine, {streams}{away}"
    server = seen.attempt.headers.get("server", "")
    is_relayed = seen.settings.takeover == "off" or server.lower().startswith(_WEB_SERVERS)
    if is_relayed:
        how = "relay: the web server holds a thread per stream, or a whole worker"
    else:
        # Without Server header: a takeover, a server that sends none, or a proxy.
        how = f"takeover or relay cannot be seen {f'through {server}' if server else 'from outside'}"
    yield fine("Takeover or relay", f"{how}; {hub}")
    if is_relayed:
        yield warning(
            "The web server relays streams",
            "SSE_TAKEOVER is off"
            if seen.settings.takeover == "off"
            else f"the response has Server: {server}",
            "Each page holds a thread, or a whole worker if that has one thread, such as a sync worker of "
            "gunicorn with --certfile: other requests wait, and gunicorn kills it after --timeout.",
            fixes.RELAY,
        )
