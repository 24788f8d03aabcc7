"""The door: which stream a visit gets, or which answer in its place, for every framework.

``decide`` is a generator: it yields a question wherever only the application knows the answer, and returns
what the visit gets. The face to a framework, which may be synchronous or not, answers the questions.

Rules of this file: no framework, no I/O, no clock, nothing kept between two visits. The order of the checks
stands in ``decide`` and ``_admit`` only. An application's rule is asked last, because it may be slow and may
write: what is decided without it needs no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from .channels import requested_channels
from .cors import cors_headers, is_allowed_origin
from .errors import InvalidChannelError
from .hub.protocol.grant import Grant
from .hub.protocol.hub_events import rejection
from .hub.protocol.stream_request import FRAMES, StreamRequest
from .settings import Settings
from .subjects import checked_subject
from .tickets import TICKET, read
from .visit import Answer, Visit
from .wire.cursor import EARLIEST, END_ID, FROM_NOW, positions
from .wire.headers import EVENT_STREAM, STREAM_HEADERS
from .wire.run import is_run
from .wording import counted

# Most channels of a stream: where each of them is decided on, and where a guard may know of the first only.
DECIDED_MAX_CHANNELS = 10
UNDECIDED_MAX_CHANNELS = 1
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Rules:
    """What an application has decided before the visit came.

    Attributes:
        settings: Of the application.
        keys: Secrets that sign its tickets, the newest one last; empty where it has none.
        named: The channels that its view names, and decides on; empty where the visit names them.
        has_rule: Whether ``MayListen`` is to be asked of each channel.
        is_guarded: Whether a guard may have been asked: one of the blueprint, or in a view.
        max_channels: Most channels of a stream, whatever the settings say; ``None`` for what they say.
    """

    settings: Settings
    keys: Sequence[bytes] = ()
    named: tuple[str, ...] = ()
    has_rule: bool = False
    is_guarded: bool = False
    max_channels: int | None = None


@dataclass(frozen=True, slots=True)
class MayListen:
    """Question: may this visitor listen to the channel? The answer is true or false."""

    channel: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Question: who is the visitor? The answer is the stream's subject, or ``None``."""


@dataclass(frozen=True, slots=True)
class SessionEndsIn:
    """Question: when does the visitor's session end? The answer is in seconds, ``None`` for never."""


@dataclass(frozen=True, slots=True)
class RightsKnownAt:
    """Question: as of when do the rights hold that were checked, in seconds of the wall clock?

    It is the begin of the request, or later if one of its rules has revoked rights by itself.
    """


@dataclass(frozen=True, slots=True)
class PublicStreams:
    """Notice for the log, without an answer: nothing decides who may listen."""


@dataclass(frozen=True, slots=True)
class TooManyChannels:
    """Notice for the log and the counters; the answer is the reconnection time, in milliseconds."""

    count: int
    limit: int


Question = MayListen | Subject | SessionEndsIn | RightsKnownAt | PublicStreams | TooManyChannels


@dataclass(frozen=True, slots=True)
class Admitted:
    """A visit that gets a stream.

    Attributes:
        request: What the hub is asked for; its ``head`` is still empty.
        headers: Those of the response.
    """

    request: StreamRequest
    headers: Mapping[str, str]


Decision = Generator[Question, Any, Admitted | Answer]


class _RejectedError(Exception):
    """The visit gets no stream.

    Args:
        status: Of the answer.
        reason: For the visitor; empty for 204.
    """

    def __init__(self, status: HTTPStatus, reason: str = "") -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


def decide(visit: Visit, rules: Rules, now: float) -> Decision:
    """Decide on the visit of a stream.

    Args:
        visit: The request, which is no preflight: ``cors.preflight`` answers these.
        rules: What the application has decided before.
        now: Seconds of the wall clock.

    Yields:
        Questions, to each of which the answer is sent back, and notices.

    Returns:
        The stream, or the answer in its place.
    """
    settings = rules.settings
    headers = {**STREAM_HEADERS, **cors_headers(visit, settings)}
    try:
        channels = requested_channels(rules.named or visit.query.get("channel", ()))
        limit = _max_channels(visit, rules)
        if len(channels) > limit:
            retry_ms = yield TooManyChannels(len(channels), limit)
            return _too_many_channels(limit, retry_ms, headers)
        grant = yield from _admit(visit, rules, channels, now)
    except InvalidChannelError as error:
        return no_stream(HTTPStatus.BAD_REQUEST, str(error), headers)
    except _RejectedError as error:
        return no_stream(error.status, error.reason, headers)
    since = _since(visit.last_event_id, settings.kept(channels))
    request = StreamRequest(channels, FRAMES, settings.rules_of(channels), since, grant=grant)
    return Admitted(request, {**headers, "Content-Type": EVENT_STREAM})


def answered(decision: Decision, answer: Callable[[Question], Any]) -> Admitted | Answer:
    """Return what a visit gets, where a function answers the questions at once.

    Args:
        decision: What ``decide`` returned.
        answer: The application's answer to a question. What it raises ends the decision.
    """
    reply = None
    while True:
        try:
            question = decision.send(reply)
        except StopIteration as end:
            outcome: Admitted | Answer = end.value
            return outcome
        reply = answer(question)


def has_ended(visit: Visit) -> bool:
    """Tell whether the client names the end of a stream as its position, so that it must not get another."""
    return visit.last_event_id == END_ID


def _max_channels(visit: Visit, rules: Rules) -> int:
    """Return how many channels the stream may listen to.

    A guard written for 1.0, wherever it stands, looks at ``request.args.get("channel")``, which is the
    first one, so no other may get past it. ``MayListen`` is asked for each, and a ticket names all of them.
    """
    if rules.max_channels is not None:
        return rules.max_channels
    if rules.settings.max_channels_per_stream is not None:
        return rules.settings.max_channels_per_stream
    is_decided = rules.named or rules.has_rule or TICKET in visit.query
    return DECIDED_MAX_CHANNELS if is_decided else UNDECIDED_MAX_CHANNELS


def _admit(
    visit: Visit, rules: Rules, channels: Sequence[str], now: float
) -> Generator[Question, Any, Grant]:
    """Return what the visitor is granted.

    Raises:
        _RejectedError: If the visitor may not listen to all of the channels.
    """
    settings = rules.settings
    if has_ended(visit):
        raise _RejectedError(HTTPStatus.NO_CONTENT)
    if visit.headers.get("sec-fetch-site") == "cross-site" and not is_allowed_origin(visit, settings):
        raise _RejectedError(HTTPStatus.FORBIDDEN, "pages of other sites may not listen (SSE_CORS_ORIGINS)")
    address = visit.address if settings.rules.max_streams_per_address is not None else None
    ticket = visit.parameter(TICKET)
    if ticket is not None:
        return _grant_of_ticket(ticket, rules.keys, channels, address, now)
    if settings.require_ticket:
        raise _RejectedError(HTTPStatus.FORBIDDEN, "a ticket is needed (SSE_REQUIRE_TICKET)")
    if not rules.named:
        yield from _ask_rule(rules, channels)
    # In this order: what finds out who it is may revoke rights, too.
    subject = checked_subject((yield Subject()))
    ends_in = yield SessionEndsIn()
    return Grant(subject, address, ends_in, (yield RightsKnownAt()))


def _ask_rule(rules: Rules, channels: Sequence[str]) -> Generator[Question, Any, None]:
    if not rules.has_rule:
        if not rules.is_guarded:
            yield PublicStreams()
        return
    for channel in channels:
        if not (yield MayListen(channel)):
            raise _RejectedError(HTTPStatus.FORBIDDEN, "you may not listen to all of these channels")


def _grant_of_ticket(
    text: str, keys: Sequence[bytes], channels: Sequence[str], address: str | None, now: float
) -> Grant:
    # Without a key nothing was signed here.
    ticket = read(text, keys) if keys else None
    if ticket is None:
        raise _RejectedError(HTTPStatus.FORBIDDEN, "the ticket was not signed with a key of this application")
    if not set(channels) <= set(ticket.channels):
        raise _RejectedError(HTTPStatus.FORBIDDEN, "the ticket is for other channels")
    ends_in = ticket.expires_at - now
    if ends_in <= 0:
        # Not 403: the page had a right, and gets no other one by asking again.
        raise _RejectedError(HTTPStatus.NO_CONTENT)
    return Grant(ticket.subject, address, ends_in, ticket.issued_at, by_ticket=True)


def no_stream(status: HTTPStatus, reason: str = "", headers: Mapping[str, str] = STREAM_HEADERS) -> Answer:
    """Return an answer in place of a stream, which is not cached either.

    Args:
        status: Any but 200, so that a browser's ``EventSource`` does not reconnect.
        reason: For the visitor; empty for 204.
        headers: Of the answer, besides its ``Content-Type``.
    """
    body = f"{reason}\n".encode() if reason else b""
    return Answer(status, {**headers, "Content-Type": _TEXT}, body)


def _too_many_channels(limit: int, retry_ms: int, headers: Mapping[str, str]) -> Answer:
    most = f"at most {counted(limit, 'channel')} on one stream (SSE_MAX_CHANNELS_PER_STREAM)"
    return Answer(
        HTTPStatus.OK,
        {**headers, "Content-Type": EVENT_STREAM},
        rejection(FRAMES, most, retry_ms),
    )


def _since(last_event_id: str, kept: tuple[str, ...]) -> dict[str, str]:
    """Return where the client resumes, for each channel that has a history."""
    since = dict(zip(kept, positions(last_event_id, kept), strict=True))
    # A run is of no use without its beginning.
    return {name: EARLIEST if text == FROM_NOW and is_run(name) else text for name, text in since.items()}
