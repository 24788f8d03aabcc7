"""What was seen at a stream: values alone, so that they are judged without a network, and written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SHOWN_CHARACTERS = 200
EVENT_STREAM = "text/event-stream"

# How a try to open a stream failed before there was an answer.
Failure = Literal["name", "refused", "silent", "tls", "cut", "not-http"]
# How a stream ended: as if the server had said all; with the last chunk; or with an error.
Ending = Literal["closed", "last chunk", "reset", "unreadable"]


def printable(text: str) -> str:
    """Return foreign text so that a terminal does nothing with it: one line, no controls, bounded."""
    shown = "".join(each if each.isprintable() else "?" for each in text[: SHOWN_CHARACTERS + 1])
    return f"{shown[:SHOWN_CHARACTERS]}..." if len(shown) > SHOWN_CHARACTERS else shown


@dataclass(frozen=True, slots=True)
class Door:
    """A try to open the stream, and what was answered.

    Attributes:
        channel: What was asked for.
        is_own: Whether that is a channel made up for this, which nobody else listens to.
        has_ticket: Whether the application had signed a ticket for it.
        has_cookie: Whether cookies were sent.
        failure: Why there is no answer; ``None`` if there is one, or one may still come.
        reason: The failure in words, or why the body could not be read to its end.
        connect_seconds: What the connection took, with the handshake of TLS.
        status: Of the answer; 0 if there was none.
        headers: Those of the answer that matter here, names in lower case.
        head_seconds: When the head was there, counted from the request; ``None`` if it was not there in time.
        body_seconds: When the first byte of the body was there.
        beginning: How the body begins.
    """

    channel: str
    is_own: bool
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
        """The type of the body, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def encoding(self) -> str:
        """How the body is compressed; empty if it is not."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding


@dataclass(frozen=True, slots=True)
class Mark:
    """An event that was published to be found again.

    Attributes:
        publish_seconds: What its publication took.
        receivers: What the broker said of it; ``None`` if it did not take the event.
        error: What the broker said instead.
        arrival_seconds: When it was there, counted from the start of its publication; ``None`` if it never
            was.
        was_flushed: Whether it came only when the stream had been ended for that.
        has_id: Whether it came with an id to go on from.
    """

    publish_seconds: float
    receivers: int | None = None
    error: str = ""
    arrival_seconds: float | None = None
    was_flushed: bool = False
    has_id: bool = False

    @property
    def in_time(self) -> bool:
        """Whether it came by itself."""
        return self.arrival_seconds is not None and not self.was_flushed


@dataclass(frozen=True, slots=True)
class Silence:
    """What became of the stream while nothing was published.

    Attributes:
        seconds: How long it was listened to, or how long it was silent before it was cut.
        heartbeat_seconds: After how long something came by itself; ``None`` if nothing did.
        was_cut: Whether it ended.
    """

    seconds: float
    heartbeat_seconds: float | None = None
    was_cut: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What the application says of itself.

    Attributes:
        broker: The scheme of its URL.
        heartbeat_seconds: ``SSE_HEARTBEAT_SECONDS``.
        max_stream_seconds: ``SSE_MAX_STREAM_SECONDS``; ``None`` for no such limit.
        takeover: ``SSE_TAKEOVER``.
        keeps_history: Whether the channel that was listened to has a history.
    """

    broker: str
    heartbeat_seconds: float
    max_stream_seconds: float | None
    takeover: str
    keeps_history: bool


@dataclass(frozen=True, slots=True)
class Observations:
    """All that was seen.

    Attributes:
        url: What was asked for, without tickets.
        is_encrypted: Whether it is TLS.
        is_this_machine: Whether the URL is one of this machine alone.
        protocol: What the server chose where a browser's protocols were offered with TLS: ``h2``,
            ``http/1.1``; empty if it was not asked or did not say.
        doors: Each try to open it; the last one is the one that was listened to.
        marks: What was published.
        said: The texts of the comments and the types of the first events that came by themselves.
        silence: What came after; ``None`` if it was not tried.
        ending: How the stream ended while events were awaited; ``None`` if it did not.
        ended_when_asked: Whether the stream ended when the application ended it, to see what was held back;
            ``None`` if it was not asked to.
        hub: What the hub of this machine says of itself; ``None`` if there is none.
        facts: What the application says of itself.
    """

    url: str
    is_encrypted: bool
    is_this_machine: bool
    facts: Facts
    protocol: str = ""
    doors: tuple[Door, ...] = ()
    marks: tuple[Mark, ...] = ()
    said: tuple[str, ...] = ()
    silence: Silence | None = None
    ending: Ending | None = None
    ended_when_asked: bool | None = None
    hub: Mapping[str, Any] | None = None

    @property
    def door(self) -> Door:
        """The try that counts."""
        return self.doors[-1]
