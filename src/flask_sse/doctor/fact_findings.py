"""Judge what is known of the connection and of the hub, apart from events."""

from __future__ import annotations

from collections.abc import Iterator

from ..wording import counted
from . import fixes
from .finding import Finding
from .observations import Observations

# What web servers call themselves that may hold a page's connection.
_WEB_SERVERS = ("werkzeug", "gunicorn", "waitress", "cheroot", "gevent", "uvicorn", "granian", "hypercorn")


def fact_findings(seen: Observations) -> Iterator[Finding]:
    """Yield what is to be said of TLS, HTTP and the hub; nothing where there was no answer."""
    if seen.door.failure is not None or not seen.door.status:
        return
    yield _tls(seen)
    yield _protocol(seen)
    if any(mark.in_time for mark in seen.marks):
        yield from _holder(seen)


def _tls(seen: Observations) -> Finding:
    if seen.is_encrypted:
        return Finding("fine", "TLS", f"trusted; connected in {seen.door.connect_seconds * 1000:.1f} ms")
    if seen.is_this_machine:
        return Finding("fine", "No TLS", "nor is it needed on this machine")
    return Finding(
        "warning",
        "No TLS",
        seen.url,
        "Everybody on the way can read events, cookies and tickets, and browsers speak no HTTP/2 here.",
        fixes.TLS,
    )


def _protocol(seen: Observations) -> Finding:
    if seen.protocol == "h2":
        return Finding("fine", "HTTP/2", "a browser's streams to this host share one connection")
    return Finding(
        "warning",
        "HTTP/1.1",
        "the server chose no other" if seen.is_encrypted else "browsers speak HTTP/2 with TLS only",
        "A browser opens at most 6 connections to a host for all its windows: a seventh page hangs.",
        fixes.HTTP_2,
    )


def _holder(seen: Observations) -> Iterator[Finding]:
    hub = "no hub on this machine"
    if seen.hub is not None:
        away = ", which does not reach its broker" if seen.hub.get("broker_away") else ""
        streams = counted(seen.hub.get("streams", 0), "stream")
        hub = f"hub {seen.hub.get('pid')} on this machine, {streams}{away}"
    server = seen.door.headers.get("server", "")
    is_relay = seen.facts.takeover == "off" or server.lower().startswith(_WEB_SERVERS)
    if is_relay:
        how = "relay: the web server holds a thread for it, or a whole worker"
    else:
        # A head without a name is that of a takeover, of a server that does not name itself, or of a proxy.
        how = f"takeover or relay cannot be told {f'through {server}' if server else 'from outside'}"
    yield Finding("fine", "Who holds the stream", f"{how}; {hub}")
    if is_relay:
        yield Finding(
            "warning",
            "The web server relays streams",
            "SSE_TAKEOVER is off" if seen.facts.takeover == "off" else f"the answer has a head of {server}",
            "Each page holds a thread. One page holds a whole worker that has one thread, such as a sync "
            "worker of gunicorn with --certfile: other requests wait, and gunicorn kills it after --timeout.",
            fixes.RELAY,
        )
