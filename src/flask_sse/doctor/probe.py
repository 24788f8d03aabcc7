"""Go through the proxy to the stream, publish, and write down what is seen. It judges nothing."""

from __future__ import annotations

import re
import socket
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from .address import Address
from .application import Application
from .delivery import Delivery
from .line import BROWSERS_PROTOCOLS, Line
from .listener import Listener, ask, offered_protocol
from .observations import EVENT_STREAM, Door, Failure, Observations, Silence, printable

_OK = 200
# A heartbeat comes in 80 to 100 % of its time, and may be on its way for a while.
_HEARTBEAT_SLACK_SECONDS = 3.0
_MAX_SILENCE_SECONDS = 65.0
_HEADERS = (
    "cache-control",
    "connection",
    "content-encoding",
    "content-type",
    "location",
    "server",
    "transfer-encoding",
    "via",
    "x-accel-buffering",
)
# How an event stream begins, whatever its headers call it.
_LIKE_A_STREAM = re.compile(r"(?::|retry:|id:|event:|data:)")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each step may take, in seconds.

    Attributes:
        connect: A connection, with the handshake of TLS; and again to send the request.
        head: The head of the answer.
        body: The first bytes behind it.
        arrival: An event, before it counts as held back.
        flush: What was held back, when the stream has been ended.
        silence: How long to listen while nothing is published; ``None`` to wait for the first heartbeat.
    """

    connect: float = 10.0
    head: float = 3.0
    body: float = 2.0
    arrival: float = 2.0
    flush: float = 3.0
    silence: float | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """With what rights the stream is asked for."""

    address: Address
    channel: str
    is_own: bool
    has_ticket: bool = False
    cookie: str = ""


def examine(
    address: Address,
    application: Application,
    patience: Patience,
    channel: str | None = None,
    cookie: str = "",
) -> Observations:
    """See what there is to see. It takes some seconds, and the time of a heartbeat where all goes well.

    Args:
        address: Where the stream is.
        application: Whose it is.
        patience: How long to wait for what.
        channel: What to listen to where a channel made up for this is refused; ``None`` for that of the
            address.
        cookie: The ``Cookie`` of a visitor who may listen; empty for none.
    """
    own = f"flask-sse-doctor-{uuid.uuid4().hex}"
    seen = Observations(str(address), address.is_encrypted, address.is_this_machine, application.facts(own))
    for way in _ways(address, own, application.ticket(own), channel, cookie):
        with ExitStack() as stack:
            delivery = Delivery(application, way.channel)
            door, listener = _open(way, delivery, patience, stack)
            seen = replace(seen, doors=(*seen.doors, door), facts=application.facts(way.channel))
            if listener is not None:
                seen = _listen(seen, listener, delivery, patience)
                seen = replace(seen, hub=application.status())
            elif door.failure is None:
                continue
        break
    if address.is_encrypted and seen.door.failure is None:
        protocol = offered_protocol(address, BROWSERS_PROTOCOLS, patience.connect)
        seen = replace(seen, protocol=protocol)
    return seen


def _ways(address: Address, own: str, ticket: str | None, channel: str | None, cookie: str) -> Iterator[Way]:
    """Yield what to ask for, with more and more rights; a channel of our own first, as it disturbs nobody."""
    ours = address.of_channel(own)
    yield Way(ours, own, is_own=True)
    if ticket is not None:
        yield Way(address.of_channel(own, ticket), own, is_own=True, has_ticket=True, cookie=cookie)
    if cookie:
        yield Way(ours, own, is_own=True, cookie=cookie)
    if channel is None:
        yield Way(address.without_position(), address.channel, is_own=False, cookie=cookie)
    else:
        yield Way(address.of_channel(channel), channel, is_own=False, cookie=cookie)


def _open(way: Way, delivery: Delivery, patience: Patience, stack: ExitStack) -> tuple[Door, Listener | None]:
    """Ask for the stream and wait for what comes first.

    Returns:
        What was answered, and who listens on; ``None`` where no stream can come.
    """
    door = Door(way.channel, way.is_own, way.has_ticket, bool(way.cookie))
    began = time.monotonic()
    try:
        line = stack.enter_context(Line(way.address, patience.connect))
        door = replace(door, connect_seconds=time.monotonic() - began)
        ask(line, way.address, {"Cookie": way.cookie} if way.cookie else {}, patience.connect)
    except (OSError, ValueError) as error:
        return replace(door, failure=_kind(error), reason=printable(str(error))), None
    listener = Listener(line, delivery.is_ours)
    if listener.until(lambda: listener.head_at, patience.head):
        listener.until(lambda: listener.body_at, patience.body)
    door = _seen_by(listener, door)
    return door, listener if door.failure is None and _may_be_stream(door) else None


def _listen(seen: Observations, listener: Listener, delivery: Delivery, patience: Patience) -> Observations:
    delivery.publish(listener, patience.arrival)
    ending = listener.ending
    is_well = delivery.are_there(listener) and not any(mark.error for mark in delivery.marks(listener))
    silence, ended_when_asked = None, None
    if is_well and ending is None:
        silence = _keep_silent(listener, seen.facts.heartbeat_seconds, patience.silence)
    elif ending is None and seen.door.is_own:
        ended_when_asked = delivery.flush(listener, patience.flush)
    return replace(
        seen,
        doors=(*seen.doors[:-1], _seen_by(listener, seen.door)),
        marks=delivery.marks(listener),
        said=listener.said,
        silence=silence,
        ending=ending,
        ended_when_asked=ended_when_asked,
    )


def _keep_silent(listener: Listener, heartbeat_seconds: float, asked_seconds: float | None) -> Silence:
    began_at = listener.heard_at
    seconds = min(heartbeat_seconds + _HEARTBEAT_SLACK_SECONDS, _MAX_SILENCE_SECONDS)
    deadline = time.monotonic() + (seconds if asked_seconds is None else asked_seconds)
    listener.until(lambda: listener.heard_at > began_at, deadline - time.monotonic())
    heartbeat = listener.heard_at - began_at if listener.heard_at > began_at else None
    if asked_seconds is not None:
        listener.until(lambda: False, deadline - time.monotonic())
    was_cut = listener.ending is not None
    silent_since = listener.heard_at if was_cut else began_at
    return Silence(time.monotonic() - silent_since, heartbeat, was_cut)


def _may_be_stream(door: Door) -> bool:
    if not door.status:
        return True  # the head may be held back
    is_like_one = door.content_type == EVENT_STREAM or _LIKE_A_STREAM.match(door.beginning)
    return door.status == _OK and bool(is_like_one)


def _seen_by(listener: Listener, door: Door) -> Door:
    """Return what is known of the answer by now."""
    answer = listener.answer
    failure: Failure | None = None
    if not answer.status and listener.ending is not None:
        failure = "not-http" if answer.wrong else "cut"
    asked_at = listener.asked_at
    return replace(
        door,
        failure=failure,
        reason=answer.wrong or ("the connection was closed without an answer" if failure else ""),
        status=answer.status,
        headers=_telling(answer.headers),
        head_seconds=None if listener.head_at is None else listener.head_at - asked_at,
        body_seconds=None if listener.body_at is None else listener.body_at - asked_at,
        beginning=printable(listener.beginning.decode("utf-8", "replace")),
    )


def _telling(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what matters of the headers; cookies and tickets are rights, and belong into no report."""
    known = {name: printable(headers[name]) for name in _HEADERS if name in headers}
    if "location" in known:
        known["location"] = known["location"].partition("?")[0]
    return known


def _kind(error: Exception) -> Failure:
    if isinstance(error, socket.gaierror | UnicodeError):
        return "name"
    if isinstance(error, ssl.SSLError):
        return "tls"
    return "silent" if isinstance(error, TimeoutError) else "refused"
