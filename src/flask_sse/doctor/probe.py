"""Probe: opens the stream through the proxy, publishes events, observes what arrives. No decisions."""

from __future__ import annotations

import re
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from .application import Application
from .observations import EVENT_STREAM, Failure, IdlePeriod, Observations, OpenAttempt, printable
from .probe_events import ProbeEvents
from .probed_stream import ProbedStream, browser_protocol, connect
from .response_reader import ResponseReader
from .stream_url import StreamURL

_OK = 200
# A heartbeat is sent after 80 to 100 % of its interval, and then has to arrive.
_HEARTBEAT_SLACK_SECONDS = 3.0
_MAX_IDLE_SECONDS = 65.0
# The beginning of an event stream, whatever its Content-Type says.
_EVENT_STREAM_LINE = re.compile(r"(?::|retry:|id:|event:|data:)")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each step may take, in seconds.

    Attributes:
        connect: Connecting, with the TLS handshake; and sending the request.
        head: The response headers.
        body: The first bytes after them.
        arrival: An event, before it counts as buffered.
        flush: Buffered events, after the application ended the stream.
        idle: How long to observe the stream without events; ``None`` to wait for the first heartbeat.
    """

    connect: float = 10.0
    head: float = 3.0
    body: float = 2.0
    arrival: float = 2.0
    flush: float = 3.0
    idle: float | None = None


def probe_stream(
    url: StreamURL, application: Application, timeouts: Timeouts, channel: str | None = None, cookie: str = ""
) -> Observations:
    """Observe the stream at ``url``. It takes some seconds, and the time of a heartbeat if nothing is wrong.

    Args:
        url: Where pages open the stream.
        application: The application that serves it.
        timeouts: For each step.
        channel: The channel if a random one is denied; ``None`` for that of the URL.
        cookie: A ``Cookie`` header with access to the stream; empty for none.
    """
    random_channel = f"flask-sse-doctor-{uuid.uuid4().hex}"
    settings = application.settings(random_channel)
    seen = Observations(str(url), url.is_encrypted, url.is_local, settings)
    ticket = application.ticket(random_channel)
    for attempt, attempt_url in _attempts(url, random_channel, ticket, channel, cookie):
        seen.attempts = (*seen.attempts, attempt)
        seen.settings = application.settings(attempt.channel)
        events = ProbeEvents(application, attempt.channel)
        with _open(attempt, attempt_url, cookie, events, timeouts) as stream:
            if stream is not None:
                _observe(stream, events, seen, timeouts)
                seen.hub = application.hub_status()
        if stream is not None or attempt.failure is not None:
            break
    if url.is_encrypted and seen.attempt.failure is None:
        seen.protocol = browser_protocol(url, timeouts.connect)
    return seen


def _attempts(
    url: StreamURL, random_channel: str, ticket: str | None, channel: str | None, cookie: str
) -> Iterator[tuple[OpenAttempt, StreamURL]]:
    """Yield attempts by their rights; a random channel first, because no page receives its events."""
    random_url = url.with_channel(random_channel)
    yield OpenAttempt(random_channel, is_probe_channel=True), random_url
    if ticket is not None:
        attempt = OpenAttempt(random_channel, is_probe_channel=True, has_ticket=True, has_cookie=bool(cookie))
        yield attempt, url.with_channel(random_channel, ticket)
    if cookie:
        yield OpenAttempt(random_channel, is_probe_channel=True, has_cookie=True), random_url
    named = url.without_cursor() if channel is None else url.with_channel(channel)
    yield OpenAttempt(channel or url.channel, is_probe_channel=False, has_cookie=bool(cookie)), named


@contextmanager
def _open(
    attempt: OpenAttempt, url: StreamURL, cookie: str, events: ProbeEvents, timeouts: Timeouts
) -> Iterator[ProbedStream | None]:
    """Request the stream and wait for its beginning; yield ``None`` if the response cannot be a stream."""
    reader = ResponseReader(attempt, events.take)
    began = time.monotonic()
    with ExitStack() as stack:
        try:
            sock = stack.enter_context(connect(url, timeouts.connect))
            attempt.connect_seconds = time.monotonic() - began
            sock.sendall(reader.request(url, cookie if attempt.has_cookie else "", time.monotonic()))
        except (OSError, ValueError) as error:
            attempt.failure, attempt.reason = _failure(error), printable(str(error))
            yield None
            return
        stream = ProbedStream(sock, reader)
        if stream.wait_for(lambda: attempt.status, timeouts.head):
            stream.wait_for(lambda: attempt.beginning, timeouts.body)
        yield stream if attempt.failure is None and _may_be_stream(attempt) else None


def _observe(stream: ProbedStream, events: ProbeEvents, seen: Observations, timeouts: Timeouts) -> None:
    events.publish(stream, timeouts.arrival)
    seen.ending = stream.ending
    if stream.ending is None and events.have_arrived() and not events.failed:
        seen.idle = _stay_idle(stream, seen.settings.heartbeat_seconds, timeouts.idle)
    elif stream.ending is None and seen.attempt.is_probe_channel:
        events.flush()
        seen.ended_on_request = stream.wait_for(lambda: stream.ending, timeouts.flush)
    seen.probe_events, seen.first_messages = events.all, stream.first_messages


def _stay_idle(stream: ProbedStream, heartbeat_seconds: float, idle_seconds: float | None) -> IdlePeriod:
    last_event_at = stream.last_body_at
    default = min(heartbeat_seconds + _HEARTBEAT_SLACK_SECONDS, _MAX_IDLE_SECONDS)
    deadline = time.monotonic() + (default if idle_seconds is None else idle_seconds)
    stream.wait_for(lambda: stream.last_body_at > last_event_at, deadline - time.monotonic())
    heartbeat = stream.last_body_at - last_event_at if stream.last_body_at > last_event_at else None
    if idle_seconds is not None:
        # A heartbeat does not end the time that was requested: a later timeout must show.
        stream.wait_for(lambda: False, deadline - time.monotonic())
    was_closed = stream.ending is not None
    silent_since = stream.last_body_at if was_closed else last_event_at
    return IdlePeriod(time.monotonic() - silent_since, heartbeat, was_closed)


def _may_be_stream(attempt: OpenAttempt) -> bool:
    if not attempt.status:
        return True  # a proxy may buffer even the headers
    is_like_one = attempt.content_type == EVENT_STREAM or _EVENT_STREAM_LINE.match(attempt.beginning)
    return attempt.status == _OK and bool(is_like_one)


def _failure(error: Exception) -> Failure:
    if isinstance(error, socket.gaierror | UnicodeError):
        return "name"
    if isinstance(error, ssl.SSLError):
        return "tls"
    return "timeout" if isinstance(error, TimeoutError) else "refused"
