"""Rules for an opened stream: events, headers and compression on the way, idle time, and resuming."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ..wording import counted
from . import fixes
from .finding import Finding, duration, fine, problem, warning
from .observations import EVENT_STREAM, Observations
from .response_rules import LATE_HEAD_SECONDS

# A user notices the first; the second is not live.
_SLOW_SECONDS = 0.25
_LATE_SECONDS = 1.0
_RARE_HEARTBEAT_SECONDS = 55.0


def stream_findings(seen: Observations) -> Iterator[Finding]:
    """Yield findings on a stream; none if none was opened."""
    if not seen.attempt.status or not seen.probe_events:
        if seen.attempt.content_type == EVENT_STREAM and seen.ending:
            yield _ended_at_once(seen)
        return
    yield _broker(seen)
    if not any(event.error for event in seen.probe_events):
        yield _delivery(seen)
    yield _compression(seen)
    yield from _headers(seen)
    yield from _idle(seen)
    yield from _resume(seen)


def _ended_at_once(seen: Observations) -> Finding:
    reason = f" ({seen.attempt.reason})" if seen.attempt.reason else ""
    return problem(
        "The stream ends at once",
        f"{seen.ending}{reason}; its messages: {'; '.join(seen.first_messages) or 'none'}",
        "The page reconnects after a while, and its stream is rejected again.",
        {"Flask": ("# the messages name the limit or the cause; the log of the hub has more",)},
    )


def _broker(seen: Observations) -> Finding:
    errors = [event.error for event in seen.probe_events if event.error]
    if errors:
        in_memory = seen.settings.broker == "memory"
        title = f"The {'hub' if in_memory else 'broker'} does not accept events"
        why = "Events that the application publishes are lost, or its views fail."
        return problem(title, errors[0], why, fixes.HUB if in_memory else fixes.BROKER)
    seconds = [event.publish_seconds for event in seen.probe_events]
    typical, longest = duration(median(seconds)), duration(max(seconds))
    figures = f"{seen.settings.broker}: median {typical}, longest {longest} of {len(seconds)}"
    if median(seconds) <= _SLOW_SECONDS:
        return fine("The broker accepts events", figures)
    near = {"Flask": ('app.config["SSE_BROKER_URL"] = "redis://HOST"  # near the application',)}
    return warning("The broker is slow", figures, "Each publish blocks the view that calls it.", near)


def _delivery(seen: Observations) -> Finding:
    in_time = [event for event in seen.probe_events if event.in_time]
    flushed = [event for event in seen.probe_events if event.was_flushed]
    count = len(seen.probe_events)
    if len(in_time) < count:
        return _buffered(seen, len(in_time), len(flushed)) if flushed else _missing(seen, len(in_time))
    seconds = [max(0.0, (event.arrival_seconds or 0.0) - event.publish_seconds) for event in in_time]
    typical = median(seconds)
    figures = f"all {count}, median {duration(typical)} after the broker, longest {duration(max(seconds))}"
    if typical <= _SLOW_SECONDS:
        return fine("Events arrive at once", figures)
    rule = problem if typical > _LATE_SECONDS else warning
    why = "A proxy collects events before it forwards them, or the network is slow."
    return rule("Events arrive late", figures, why, fixes.NO_BUFFERING)


def _buffered(seen: Observations, in_time: int, flushed: int) -> Finding:
    count = len(seen.probe_events)
    figures = f"{in_time} of {count} arrived while the stream was open, {flushed} only when it was ended"
    head_seconds = seen.attempt.head_seconds or 0.0
    if head_seconds > LATE_HEAD_SECONDS:
        figures += f"; the response headers arrived after {duration(head_seconds)}"
    why = "A proxy collects events; a page receives them late and all at once, or when its stream ends."
    return problem("Events are buffered", figures, why, fixes.NO_BUFFERING)


def _missing(seen: Observations, in_time: int) -> Finding:
    if seen.ending is not None and not in_time:
        return _ended_at_once(seen)
    receivers = counted(max((event.receivers or 0 for event in seen.probe_events), default=0), "receiver")
    figures = f"{in_time} of {len(seen.probe_events)} arrived; publish returned {receivers}"
    if seen.ending is not None:
        figures = f"{figures}; then the stream ended: {seen.ending}"
        why = "The page reconnects after a while, and the same happens again."
        return problem("The stream is disconnected early", figures, why, fixes.LIFETIME)
    if seen.attempt.encoding:
        figures = f"{figures}; Content-Encoding: {seen.attempt.encoding}"
        why = "The compression keeps events until it has enough of them."
        return problem("Events are lost in compression", figures, why, fixes.COMPRESSION)
    return _lost(seen, figures)


def _lost(seen: Observations, figures: str) -> Finding:
    hint = fixes.SAME_BROKER
    if seen.ended_on_request:
        why = "It is the right stream, because the application could end it: a proxy drops its events."
        hint = fixes.NO_BUFFERING
    elif seen.ended_on_request is None:
        why = "A proxy buffers them, or the stream is that of another application or broker."
        hint = {**fixes.NO_BUFFERING, **fixes.SAME_BROKER}
    else:
        why = "The stream is that of another application, or of the same one with another broker or hub."
        if seen.settings.broker == "memory":
            why += " memory:// reaches one machine, and with SSE_HUB=thread one process."
    return problem("Events do not arrive", figures, why, hint)


def _compression(seen: Observations) -> Finding:
    if not seen.attempt.encoding:
        return fine("The stream is not compressed", "no Content-Encoding, though gzip was offered")
    return warning(
        "The stream is compressed",
        f"Content-Encoding: {seen.attempt.encoding}",
        "It costs memory of the proxy per page, may buffer events, and reveals the length of secrets.",
        fixes.COMPRESSION,
    )


def _headers(seen: Observations) -> Iterator[Finding]:
    headers = seen.attempt.headers
    cache = {word.strip().lower() for word in headers.get("cache-control", "").split(",")}
    missing = [] if cache & {"no-store", "no-cache"} else ["no-store"]
    missing += [] if "no-transform" in cache else ["no-transform"]
    if missing:
        figures = f"{headers.get('cache-control', 'no header')}; {' and '.join(missing)} missing"
        why = "Caches may store the stream, and proxies may compress it."
        yield warning("Cache-Control was changed", figures, why, fixes.CACHE_CONTROL)
    server = headers.get("server", "")
    if "x-accel-buffering" in headers:
        yield fine("X-Accel-Buffering is forwarded", headers["x-accel-buffering"])
    elif server.lower().startswith(("nginx", "openresty")):
        yield fine("nginx applied X-Accel-Buffering", f"Server: {server}")
    else:
        figures = f"the last server is {server or 'one without a name'}, which is not nginx"
        why = "An nginx that does not receive this header buffers events."
        yield warning("X-Accel-Buffering was removed", figures, why, fixes.X_ACCEL)


def _idle(seen: Observations) -> Iterator[Finding]:
    idle, interval = seen.idle, seen.settings.heartbeat_seconds
    if idle is None:
        return
    setting = f"SSE_HEARTBEAT_SECONDS is {interval:g}"
    if idle.was_closed:
        yield _timed_out(seen, idle.seconds)
    elif idle.heartbeat_seconds is not None:
        yield fine(
            "Idle streams stay open", f"first bytes after {duration(idle.heartbeat_seconds)}, {setting}"
        )
    elif idle.seconds > interval:
        figures = f"no bytes for {duration(idle.seconds)}, though {setting}"
        why = "Proxies close idle connections; the web server may run with other settings."
        hint = {"Flask": (f'app.config["SSE_HEARTBEAT_SECONDS"] = {interval:g}  # in the web server, too',)}
        yield warning("No heartbeat arrived", figures, why, hint)
    else:
        figures = f"open after {duration(idle.seconds)}; the first heartbeat arrives within {interval:g} s"
        yield fine("Idle streams stay open during --wait", figures)
    if interval > _RARE_HEARTBEAT_SECONDS:
        why = "nginx and most load balancers close connections that are idle for 60 s."
        yield warning("Heartbeats are rare", setting, why, {"Flask": (fixes.heartbeat(30.0),)})


def _timed_out(seen: Observations, seconds: float) -> Finding:
    longest = seen.settings.max_stream_seconds
    if longest is not None and longest <= seconds + _LATE_SECONDS:
        return fine("The stream reached its age limit", f"SSE_MAX_STREAM_SECONDS is {longest:g}")
    interval = seen.settings.heartbeat_seconds
    return problem(
        "Idle streams time out",
        f"closed after {duration(seconds)} without bytes; a heartbeat is sent every {interval:g} s",
        "Every page reconnects again and again, and events published meanwhile arrive late.",
        fixes.idle_timeout(interval, seconds),
    )


def _resume(seen: Observations) -> Iterator[Finding]:
    in_time = [event for event in seen.probe_events if event.in_time]
    if not in_time:
        return
    if not seen.settings.keeps_history:
        yield fine("No history is kept", "events are lost while a page is disconnected, as configured")
    elif all(event.has_id for event in in_time):
        opened = "stream-open and ids" if "stream-open" in seen.first_messages else "ids"
        yield fine("Pages receive missed events", f"the events have {opened}")
    else:
        figures = "the events have none, though the channel has a history"
        why = "A page that reconnects misses events; the web server may run with other settings."
        hint = {"Flask": ('app.config["SSE_HISTORY_SIZE"] = 1000  # in the web server, too',)}
        yield warning("Events have no id", figures, why, hint)
