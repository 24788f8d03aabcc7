"""Judge the answers to the request for a stream: is there one, is it one, and who gets it?"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

from . import fixes
from .finding import Finding, Mend, span
from .observations import EVENT_STREAM, Door, Failure, Observations

_OK = 200
_NO_MORE = 204
_NOT_FOUND = {404, 405, 410}
_REFUSED = {401, 403}
_REDIRECTED = range(300, 400)
_FAILED = range(500, 600)
_NO_UPSTREAM = {502, 503, 504}
# Slower than a web server that has to start a hub first.
LATE_HEAD_SECONDS = 1.5

_FAILURES: dict[Failure, tuple[str, str, Mend]] = {
    "name": ("The host is not known", "No browser finds it either.", fixes.ADDRESS),
    "refused": ("Nobody listens there", "No browser gets an answer either.", fixes.UPSTREAM),
    "silent": ("No connection in time", "A browser waits as long and gets nothing.", fixes.UPSTREAM),
    "tls": ("TLS fails", "A browser does not open a stream that it cannot trust.", fixes.CERTIFICATE),
    "cut": ("The connection is closed without an answer", "A browser tries again and again.", fixes.UPSTREAM),
    "not-http": ("This is no web server", "A browser cannot read it.", fixes.UPSTREAM),
}


def door_findings(seen: Observations) -> Iterator[Finding]:
    """Yield what is to be said of the answer."""
    door = seen.door
    if door.failure is not None:
        title, why, hint = _FAILURES[door.failure]
        yield Finding("problem", title, f"{seen.url}: {door.reason}", why, hint)
    elif not door.status:
        yield _no_answer(seen)
    elif door.status != _OK:
        yield _other_status(seen)
    elif door.content_type != EVENT_STREAM and not seen.marks:
        yield _no_stream(door)
    else:
        yield from _content_type(door)
        yield from _head(seen)
        yield _access(seen)


def _no_answer(seen: Observations) -> Finding:
    was_asked = seen.ended_when_asked is not None
    return Finding(
        "problem",
        "No answer",
        "no head came" + (", not even when the application ended the stream" if was_asked else ""),
        "The page waits without an error, and holds one of the few connections that a browser has.",
        fixes.UPSTREAM,
    )


def _other_status(seen: Observations) -> Finding:
    door = seen.door
    if door.status in _REDIRECTED:
        location = urljoin(seen.url, door.headers.get("location", ""))
        return Finding(
            "problem",
            "Redirected, not answered",
            f"status {door.status} to {location}",
            "Where that is a page to sign in, a browser gets HTML and gives the stream up for good.",
            {"shell": (f"flask sse doctor {location}  # if the stream is there", *fixes.RIGHTS["shell"])},
        )
    if door.status in _REFUSED:
        return Finding(
            "problem",
            "The stream is refused",
            f"status {door.status} for channel {door.channel!r}, and for one made up: {door.beginning}",
            "Nothing could be measured, for the doctor has no right to listen.",
            fixes.RIGHTS,
        )
    if door.status in _FAILED:
        return _server_error(door)
    if door.status in _NOT_FOUND:
        return Finding(
            "problem",
            "There is no stream at this address",
            f"status {door.status}",
            "A browser gives up for good after any status but 200.",
            fixes.ADDRESS,
        )
    title = (
        "The stream is over for good"
        if door.status == _NO_MORE
        else "The request is not answered with a stream"
    )
    why = "A browser gives up for good after any status but 200."
    return Finding("problem", title, f"status {door.status}: {door.beginning}", why, fixes.ADDRESS)


def _server_error(door: Door) -> Finding:
    by_proxy = door.status in _NO_UPSTREAM
    return Finding(
        "problem",
        "The proxy does not reach the application" if by_proxy else "The application fails",
        f"status {door.status} from {door.headers.get('server', 'a server without a name')}",
        "A browser gives up for good after any status but 200.",
        fixes.UPSTREAM if by_proxy else {"Flask": ("# the error is in the log of the web server",)},
    )


def _no_stream(door: Door) -> Finding:
    kind = door.content_type or "no Content-Type"
    return Finding(
        "problem",
        "This is no event stream",
        f"status 200 with {kind}: {door.beginning[:60]}",
        "A browser takes nothing but text/event-stream; a page of HTML comes where a rule of the proxy or "
        "another view answers.",
        fixes.ADDRESS,
    )


def _content_type(door: Door) -> Iterator[Finding]:
    if door.content_type != EVENT_STREAM:
        yield Finding(
            "problem",
            "The Content-Type was changed",
            f"{door.headers.get('content-type', 'none')} in place of {EVENT_STREAM}",
            "A browser refuses a stream of any other type.",
            fixes.CONTENT_TYPE,
        )


def _head(seen: Observations) -> Iterator[Finding]:
    seconds = seen.door.head_seconds or 0.0
    if seconds <= LATE_HEAD_SECONDS:
        yield Finding("fine", "The stream is answered at once", f"head after {span(seconds)}")
    elif not any(mark.was_flushed for mark in seen.marks):  # events that are held back say it for both
        yield Finding(
            "problem",
            "The head of the answer is held back",
            f"it came after {span(seconds)}",
            "The page is not told that its stream is open, and waits for its first state.",
            fixes.NO_BUFFER,
        )


def _access(seen: Observations) -> Finding:
    first = seen.doors[0]
    if first is seen.door and first.is_own and not (first.has_ticket or first.has_cookie):
        return Finding(
            "warning",
            "Everybody may listen to every channel",
            "a channel made up for this was opened without cookies and without a ticket",
            "Whoever can reach the address can read what is published to anybody.",
            fixes.GUARD,
        )
    if first.status in _FAILED:
        return Finding(
            "warning",
            "The rule of access fails",
            f"status {first.status} for a channel made up for this, without cookies",
            "It keeps the visitor out, but writes an error into the log for each one who is not signed in.",
            fixes.RULE,
        )
    how = "a ticket" if seen.door.has_ticket else "a cookie" if seen.door.has_cookie else "a known channel"
    return Finding(
        "fine",
        "Streams are guarded",
        f"status {first.status} for a channel made up for this; opened with {how}",
    )
