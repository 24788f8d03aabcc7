"""Observations of one stream: plain values that the probe fills in, the rules read and ``--json`` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SHOWN_CHARACTERS = 200
EVENT_STREAM = "text/event-stream"

# Why there is no response.
Failure = Literal["name", "refused", "timeout", "tls", "closed", "not-http"]
# How a response ended: with the connection, with its last chunk, with a connection error, or with bytes that
# are not valid or too many.
Ending = Literal["closed", "last chunk", "reset", "unreadable"]


def printable(text: str) -> str:
    """Return foreign text as one bounded line without anything that a terminal would execute."""
    shown = "".join(each if each.isprintable() else "?" for each in text[: SHOWN_CHARACTERS + 1])
    return f"{shown[:SHOWN_CHARACTERS]}..." if len(shown) > SHOWN_CHARACTERS else shown


@dataclass(slots=True)
class OpenAttempt:
    """An attempt to open the stream, and its response.

    Attributes:
        channel: The requested channel.
        is_probe_channel: Whether that is a random one, so that no page receives the probe events.
        has_ticket: Whether a ticket was sent that the application had signed.
        has_cookie: Whether cookies were sent.
        failure: Why there is no response; ``None`` if there is one, or it may still come.
        reason: The text of the failure, or why the body could not be read to its end.
        connect_seconds: Time for the connection and the TLS handshake.
        status: Status code; 0 if there was no response.
        headers: The headers that the rules need, names in lower case.
        head_seconds: Time from the request to the end of the response headers; ``None`` if they did not
            arrive.
        body_seconds: Time from the request to the first byte of the body.
        beginning: First characters of the body.
    """

    channel: str
    is_probe_channel: bool
    has_ticket: bool = False
    has_cookie: bool = False
    failure: Failure | None = None
    reason: str = ""
    connect_seconds: float = 0.0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    head_seconds: float | None = None
    body_seconds: float | None = None
    beginning: str = ""

    @property
    def content_type(self) -> str:
        """The media type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def encoding(self) -> str:
        """The compression of the body; empty if there is none."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding


@dataclass(slots=True)
class ProbeEvent:
    """An event that the application published for the probe.

    Attributes:
        publish_seconds: Time that ``publish`` took.
        receivers: What ``publish`` returned; ``None`` if it failed.
        error: Why ``publish`` failed.
        arrival_seconds: Time from the start of ``publish`` to its arrival; ``None`` if it did not arrive.
        was_flushed: Whether it arrived only after the application had ended the stream.
        has_id: Whether it arrived with an id, so that a page can resume after it.
    """

    publish_seconds: float
    receivers: int | None = None
    error: str = ""
    arrival_seconds: float | None = None
    was_flushed: bool = False
    has_id: bool = False

    @property
    def in_time(self) -> bool:
        """Whether it arrived while the stream was open."""
        return self.arrival_seconds is not None and not self.was_flushed


@dataclass(slots=True)
class IdlePeriod:
    """The time in which no event was published.

    Attributes:
        seconds: Its length, or after how much silence the stream ended.
        heartbeat_seconds: Time until the first bytes arrived; ``None`` if there were none.
        was_closed: Whether the stream ended.
    """

    seconds: float
    heartbeat_seconds: float | None = None
    was_closed: bool = False


@dataclass(frozen=True, slots=True)
class AppSettings:
    """Settings of the application that explain what was observed.

    Attributes:
        broker: Scheme of the broker's URL.
        heartbeat_seconds: ``SSE_HEARTBEAT_SECONDS``.
        max_stream_seconds: ``SSE_MAX_STREAM_SECONDS``; ``None`` for no limit.
        takeover: ``SSE_TAKEOVER``.
        keeps_history: Whether the probed channel has a history.
    """

    broker: str
    heartbeat_seconds: float
    max_stream_seconds: float | None
    takeover: str
    keeps_history: bool


@dataclass(slots=True)
class Observations:
    """Everything that was observed.

    Attributes:
        url: The URL, without tickets.
        is_encrypted: Whether it uses TLS.
        is_local: Whether the traffic stays on this machine.
        settings: Those of the application.
        protocol: What the server chose of the protocols that browsers offer (ALPN): ``h2``, ``http/1.1``;
            empty if there is no TLS or no choice.
        attempts: In their order; the last one was probed with events.
        probe_events: In the order of their publication.
        first_messages: Texts of the first comments, and types of the first events.
        idle: What followed; ``None`` if it was not tried.
        ending: How the stream ended while events were expected; ``None`` if it did not.
        ended_on_request: Whether the stream ended when the application ended it, to release buffered events;
            ``None`` if that was not tried.
        hub: Status of the hub of this machine; ``None`` if there is none.
    """

    url: str
    is_encrypted: bool
    is_local: bool
    settings: AppSettings
    protocol: str = ""
    attempts: Sequence[OpenAttempt] = ()
    probe_events: Sequence[ProbeEvent] = ()
    first_messages: Sequence[str] = ()
    idle: IdlePeriod | None = None
    ending: Ending | None = None
    ended_on_request: bool | None = None
    hub: Mapping[str, Any] | None = None

    @property
    def attempt(self) -> OpenAttempt:
        """The last attempt."""
        return self.attempts[-1]
