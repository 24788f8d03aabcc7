"""Judge what came over the stream: events, what was done to them on the way, and the silence after."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ..wording import counted
from . import fixes
from .door_findings import LATE_HEAD_SECONDS
from .finding import Finding, span
from .observations import EVENT_STREAM, Observations

# What a page's user feels, and what nobody would call live.
_SLOW_SECONDS = 0.25
_LATE_SECONDS = 1.0
_NO_HEARTBEAT_ABOVE_SECONDS = 55.0


def stream_findings(seen: Observations) -> Iterator[Finding]:
    """Yield what is to be said of a stream that was opened; nothing where none was."""
    if not seen.door.status or not seen.marks:
        if seen.door.content_type == EVENT_STREAM and seen.ending:
            yield _sent_away(seen)
        return
    yield _broker(seen)
    if not any(mark.error for mark in seen.marks):
        yield _delivery(seen)
    yield _compression(seen)
    yield from _headers(seen)
    yield from _silence(seen)
    yield from _resume(seen)


def _sent_away(seen: Observations) -> Finding:
    said = "; ".join(seen.said) or "nothing"
    return Finding(
        "problem",
        "The stream ends at once",
        f"{seen.ending}{f' ({seen.door.reason})' if seen.door.reason else ''}; it said: {said}",
        "The page comes back after a while and is sent away again.",
        {"Flask": ("# what it said names the limit or the cause; the log of the hub has more",)},
    )


def _broker(seen: Observations) -> Finding:
    errors = [mark.error for mark in seen.marks if mark.error]
    if errors:
        in_memory = seen.facts.broker == "memory"
        return Finding(
            "problem",
            "The hub does not take events" if in_memory else "The broker does not take events",
            errors[0],
            "Whatever the application publishes now is lost, or its views fail.",
            fixes.HUB if in_memory else fixes.BROKER,
        )
    seconds = [mark.publish_seconds for mark in seen.marks]
    typical = median(seconds)
    figures = f"{seen.facts.broker}: median {span(typical)}, longest {span(max(seconds))} of {len(seconds)}"
    if typical <= _SLOW_SECONDS:
        return Finding("fine", "The broker takes events", figures)
    return Finding(
        "warning",
        "The broker is slow",
        figures,
        "Each publish holds up the view that calls it.",
        {"Flask": ('app.config["SSE_BROKER_URL"] = "redis://HOST"  # one that is near the application',)},
    )


def _delivery(seen: Observations) -> Finding:
    in_time = [mark for mark in seen.marks if mark.in_time]
    flushed = [mark for mark in seen.marks if mark.was_flushed]
    count = len(seen.marks)
    if len(in_time) < count:
        return _held_back(seen, len(in_time), len(flushed)) if flushed else _missing(seen, len(in_time))
    ways = [max(0.0, (mark.arrival_seconds or 0.0) - mark.publish_seconds) for mark in in_time]
    typical = median(ways)
    figures = f"all {count}, median {span(typical)} behind the broker, longest {span(max(ways))}"
    if typical <= _SLOW_SECONDS:
        return Finding("fine", "Events arrive at once", figures)
    return Finding(
        "problem" if typical > _LATE_SECONDS else "warning",
        "Events arrive late",
        figures,
        "Something on the way collects events before it passes them on.",
        fixes.NO_BUFFER,
    )


def _held_back(seen: Observations, in_time: int, flushed: int) -> Finding:
    figures = f"{in_time} of {len(seen.marks)} came by themselves, {flushed} only when the stream was ended"
    if (seen.door.head_seconds or 0.0) > LATE_HEAD_SECONDS:
        figures += f"; the head of the answer came after {span(seen.door.head_seconds or 0.0)}"
    return Finding(
        "problem",
        "Events are held back",
        figures,
        "A proxy collects events; a page gets them late and in lumps, or when its stream ends.",
        fixes.NO_BUFFER,
    )


def _missing(seen: Observations, in_time: int) -> Finding:
    receivers = max((mark.receivers or 0 for mark in seen.marks), default=0)
    figures = f"{in_time} of {len(seen.marks)} came; the broker spoke of {counted(receivers, 'receiver')}"
    if seen.ending is not None and not in_time:
        return _sent_away(seen)
    if seen.ending is not None:
        return Finding(
            "problem",
            "The stream broke off",
            f"{figures}; then it ended: {seen.ending}",
            "The page comes back after a while, and the same happens again.",
            fixes.LIFETIME,
        )
    if seen.door.encoding:
        return Finding(
            "problem",
            "Events are lost in compression",
            f"{figures}; Content-Encoding: {seen.door.encoding}",
            "What compresses the stream keeps events until it has enough of them.",
            fixes.COMPRESSION,
        )
    return _lost(seen, figures)


def _lost(seen: Observations, figures: str) -> Finding:
    hint = fixes.SAME_BROKER
    if seen.ended_when_asked:
        why = (
            "It is the right stream, for it ended when it was told to: something on the way drops its events."
        )
        hint = fixes.NO_BUFFER
    elif seen.ended_when_asked is None:
        why = "A proxy holds them back, or the stream is that of another application or broker."
        hint = {**fixes.NO_BUFFER, **fixes.SAME_BROKER}
    else:
        why = "The stream is that of another application, or of the same one with another broker or hub."
        if seen.facts.broker == "memory":
            why += " memory:// reaches one machine, and with SSE_HUB=thread one process."
    return Finding("problem", "Events do not arrive", figures, why, hint)


def _compression(seen: Observations) -> Finding:
    if not seen.door.encoding:
        return Finding("fine", "The stream is not compressed", "no Content-Encoding, though gzip was offered")
    return Finding(
        "warning",
        "The stream is compressed",
        f"Content-Encoding: {seen.door.encoding}",
        "It costs the proxy memory for each page, may hold events back, and tells the length of secrets.",
        fixes.COMPRESSION,
    )


def _headers(seen: Observations) -> Iterator[Finding]:
    headers = seen.door.headers
    cache = {word.strip().lower() for word in headers.get("cache-control", "").split(",")}
    missing = [] if cache & {"no-store", "no-cache"} else ["no-store"]
    missing += [] if "no-transform" in cache else ["no-transform"]
    if missing:
        yield Finding(
            "warning",
            "Cache-Control was changed",
            f"{headers.get('cache-control', 'there is none')!s}; {' and '.join(missing)} missing",
            "Caches on the way may keep the stream, and others may compress it.",
            fixes.CACHE_CONTROL,
        )
    server = headers.get("server", "").lower()
    if "x-accel-buffering" in headers:
        yield Finding("fine", "X-Accel-Buffering came through", headers["x-accel-buffering"])
    elif server.startswith(("nginx", "openresty")):
        yield Finding("fine", "nginx took X-Accel-Buffering", f"Server: {headers['server']}")
    else:
        yield Finding(
            "warning",
            "X-Accel-Buffering was dropped",
            f"the last server is {headers.get('server', 'one without a name')}, which is not nginx",
            "An nginx on the way that does not get this header holds events back.",
            fixes.X_ACCEL,
        )


def _silence(seen: Observations) -> Iterator[Finding]:
    silence, every = seen.silence, seen.facts.heartbeat_seconds
    if silence is None:
        return
    if silence.was_cut:
        yield _cut(seen, silence.seconds)
    elif silence.heartbeat_seconds is not None:
        figures = (
            f"something came after {span(silence.heartbeat_seconds)}, SSE_HEARTBEAT_SECONDS is {every:g}"
        )
        yield Finding("fine", "Quiet streams stay open", figures)
    elif silence.seconds > every:
        yield Finding(
            "warning",
            "No heartbeat came",
            f"nothing for {span(silence.seconds)}, though SSE_HEARTBEAT_SECONDS is {every:g}",
            "Proxies cut connections that are silent; the web server may run with other settings.",
            {"Flask": (f'app.config["SSE_HEARTBEAT_SECONDS"] = {every:g}  # in the web server, too',)},
        )
    else:
        figures = f"open after {span(silence.seconds)}; the first heartbeat comes within {every:g} s"
        yield Finding("fine", "Quiet streams stay open as long as was waited", figures)
    if every > _NO_HEARTBEAT_ABOVE_SECONDS:
        yield Finding(
            "warning",
            "Heartbeats are rare",
            f"SSE_HEARTBEAT_SECONDS is {every:g}",
            "nginx and most load balancers cut what is silent for 60 s.",
            {"Flask": (fixes.heartbeat(30.0),)},
        )


def _cut(seen: Observations, seconds: float) -> Finding:
    longest = seen.facts.max_stream_seconds
    if longest is not None and longest <= seconds + _LATE_SECONDS:
        return Finding("fine", "The stream ended at its age", f"SSE_MAX_STREAM_SECONDS is {longest:g}")
    return Finding(
        "problem",
        "Quiet streams are cut",
        f"ended after {span(seconds)} of silence; a heartbeat comes every {seen.facts.heartbeat_seconds:g} s",
        "Every page comes back again and again, and what is published meanwhile comes late.",
        fixes.outlast(seen.facts.heartbeat_seconds, seconds),
    )


def _resume(seen: Observations) -> Iterator[Finding]:
    if not any(mark.in_time for mark in seen.marks):
        return
    if not seen.facts.keeps_history:
        yield Finding("fine", "No history is kept", "what a page misses while it is away is lost, as is set")
    elif all(mark.has_id for mark in seen.marks if mark.in_time):
        begin = "stream-open and ids came" if "stream-open" in seen.said else "ids came"
        yield Finding("fine", "Pages get what they miss", f"{begin} with the events")
    else:
        yield Finding(
            "warning",
            "Events have no id",
            "none came with the events, though the channel has a history",
            "A page that comes back does not get what it missed; the web server may be set otherwise.",
            {"Flask": ('app.config["SSE_HISTORY_SIZE"] = 1000  # in the web server, too',)},
        )
