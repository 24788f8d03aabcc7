"""Rules for the response to the request: is there one, is it an event stream, and who may open it?"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

from . import fixes
from .finding import Finding, Fix, duration, fine, problem, warning
from .observations import EVENT_STREAM, Failure, Observations, OpenAttempt

_OK = 200
_NO_CONTENT = 204
_NOT_FOUND = {404, 405, 410}
_DENIED = {401, 403}
_REDIRECTED = range(300, 400)
_SERVER_ERROR = range(500, 600)
_NO_UPSTREAM = {502, 503, 504}
# Slower than a web server that first has to start a hub.
LATE_HEAD_SECONDS = 1.5
_GIVES_UP = "After any status but 200 a browser does not reconnect."

_FAILURES: dict[Failure, tuple[str, str, Fix]] = {
    "name": ("The host name cannot be resolved", "Browsers cannot resolve it either.", fixes.ADDRESS),
    "refused": ("The connection is refused", "Browsers get no response either.", fixes.UPSTREAM),
    "timeout": ("The connection times out", "Browsers wait as long and get no response.", fixes.UPSTREAM),
    "tls": ("TLS fails", "A browser does not open a stream that it cannot trust.", fixes.CERTIFICATE),
    "closed": ("The connection is closed without a response", "Browsers retry forever.", fixes.UPSTREAM),
    "not-http": ("The response is not HTTP/1.1", "Browsers cannot read it either.", fixes.UPSTREAM),
}


def response_findings(seen: Observations) -> Iterator[Finding]:
    """Yield findings on the response."""
    attempt = seen.attempt
    if attempt.failure is not None:
        title, why, fix = _FAILURES[attempt.failure]
        yield problem(title, f"{seen.url}: {attempt.reason}", why, fix)
    elif not attempt.status:
        flushed = (
            ", even after the application had ended the stream" if seen.ended_on_request is not None else ""
        )
        why = "The page waits without an error, and holds one of the few connections that a browser has."
        yield problem("No response", f"no response headers arrived{flushed}", why, fixes.UPSTREAM)
    elif attempt.status != _OK:
        yield _other_status(seen, attempt)
    elif attempt.content_type != EVENT_STREAM and not seen.probe_events:
        yield problem(
            "The response is not an event stream",
            f"status 200 with {attempt.content_type or 'no Content-Type'}: {attempt.beginning[:60]}",
            f"A browser accepts {EVENT_STREAM} only; a rule of the proxy or another view responds here.",
            fixes.ADDRESS,
        )
    else:
        yield from _content_type(attempt)
        yield from _head(seen)
        yield _access(seen)


def _other_status(seen: Observations, attempt: OpenAttempt) -> Finding:
    status = f"status {attempt.status}"
    if attempt.status in _REDIRECTED:
        location = urljoin(seen.url, attempt.headers.get("location", ""))
        why = "If that is a sign-in page, a browser receives HTML and does not reconnect."
        followed = (f"flask sse doctor {location}  # if the stream is there", *fixes.ACCESS["shell"])
        return problem("The request is redirected", f"{status} to {location}", why, {"shell": followed})
    if attempt.status in _DENIED:
        return problem(
            "Access to the stream is denied",
            f"{status} for channel {attempt.channel!r}, and for a random one: {attempt.beginning}",
            "Nothing could be measured, because the doctor may not open a stream.",
            fixes.ACCESS,
        )
    if attempt.status in _SERVER_ERROR:
        by_proxy = attempt.status in _NO_UPSTREAM
        title = "The proxy cannot reach the application" if by_proxy else "The application fails"
        server = attempt.headers.get("server", "a server without a name")
        fix = fixes.UPSTREAM if by_proxy else {"Flask": ("# the error is in the log of the web server",)}
        return problem(title, f"{status} from {server}", _GIVES_UP, fix)
    if attempt.status in _NOT_FOUND:
        return problem("There is no stream at this address", status, _GIVES_UP, fixes.ADDRESS)
    is_over = attempt.status == _NO_CONTENT
    title = "The stream has ended for good" if is_over else "The response is an error"
    return problem(title, f"{status}: {attempt.beginning}", _GIVES_UP, fixes.ADDRESS)


def _content_type(attempt: OpenAttempt) -> Iterator[Finding]:
    if attempt.content_type != EVENT_STREAM:
        value = attempt.headers.get("content-type", "none")
        why = "A browser rejects a stream of any other type."
        yield problem(
            "Content-Type was changed", f"{value} instead of {EVENT_STREAM}", why, fixes.CONTENT_TYPE
        )


def _head(seen: Observations) -> Iterator[Finding]:
    seconds = seen.attempt.head_seconds or 0.0
    if seconds <= LATE_HEAD_SECONDS:
        yield fine("The response begins at once", f"headers after {duration(seconds)}")
    elif not any(event.was_flushed for event in seen.probe_events):  # else "Events are buffered" includes it
        yield problem(
            "The response headers are buffered",
            f"they arrived after {duration(seconds)}",
            "The page cannot know that its stream is open, and waits for its first state.",
            fixes.NO_BUFFERING,
        )


def _access(seen: Observations) -> Finding:
    first = seen.attempts[0]
    if first is seen.attempt and first.is_probe_channel and not (first.has_ticket or first.has_cookie):
        return warning(
            "Any client may listen to any channel",
            "a random channel was opened without cookies and without a ticket",
            "Every client that reaches the address can read all events.",
            fixes.AUTHORIZE,
        )
    if first.status in _SERVER_ERROR:
        return warning(
            "The access rule fails",
            f"status {first.status} for a random channel without cookies",
            "It denies access, but logs an error for each visitor who is not signed in.",
            fixes.AUTHORIZE,
        )
    by_cookie = "a cookie" if seen.attempt.has_cookie else "a known channel"
    how = "a ticket" if seen.attempt.has_ticket else by_cookie
    return fine("Access is restricted", f"status {first.status} for a random channel; opened with {how}")
