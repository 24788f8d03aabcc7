"""Access in Flask: what the application answers to the questions of the door, and tickets of its own."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from flask import current_app, request, session
from flask.sessions import NullSession

from .caller import warn_caller
from .door import (
    DECIDED_MAX_CHANNELS,
    MayListen,
    PublicStreams,
    Question,
    RightsKnownAt,
    SessionEndsIn,
    Subject,
    TooManyChannels,
)
from .errors import InvalidSettingError, UsageError, shown
from .extension import logged_topics
from .hub.protocol.hub_events import REJECTED_RETRY_MS
from .hub.protocol.revocation import REMEMBERED_SECONDS
from .jitter import draw_ms
from .rights import rights_known_at
from .subjects import checked_subject
from .tickets import Ticket, sign

logger = logging.getLogger(__name__)

# Visitors name origins, so no more of them are logged by one application of a process.
_MAX_LOGGED_ORIGINS = 10
_ORIGIN_TOPIC = "origin: "


class Access:
    """The rules of one blueprint.

    Attributes:
        may_listen: Tells whether the visitor may listen to a channel; ``None`` where all may, to all of them.
        subject_of_request: Tells who the visitor is; ``None`` for Flask-Login's user, where there is one.
    """

    def __init__(self) -> None:
        self.may_listen: Callable[[str], Any] | None = None
        self.subject_of_request: Callable[[], Any] | None = None

    def set_may_listen(self, function: Callable[..., Any]) -> None:
        """Use a function for ``may_listen``."""
        _warn_of_second("authorize", self.may_listen, function)
        self.may_listen = function

    def set_subject_of_request(self, function: Callable[..., Any]) -> None:
        """Use a function for ``subject_of_request``."""
        _warn_of_second("identify", self.subject_of_request, function)
        self.subject_of_request = function

    def answer(self, question: Question) -> Any:
        """Answer a question of the door about the visitor of this request, or log its notice."""
        match question:
            case MayListen(channel):
                return self.may_listen is None or self.may_listen(channel)
            case Subject():
                return self.subject()
            case SessionEndsIn():
                return _session_ends_in()
            case RightsKnownAt():
                return rights_known_at()
            case PublicStreams():
                _warn_of_public_streams()
            case TooManyChannels(count, limit):
                _warn_of_rejected_channels(count, limit)
                return draw_ms(REJECTED_RETRY_MS)
        return None

    def subject(self) -> Any:
        """Return who the visitor of this request is, as the application has it: not checked."""
        if self.subject_of_request is not None:
            return self.subject_of_request()
        if hasattr(current_app, "login_manager"):
            from flask_login import current_user  # noqa: PLC0415 - there, if the application uses it

            return current_user.get_id()
        return None


def _session_ends_in() -> float | None:
    """Return when the visitor's session ends, in seconds; ``None`` where it has no time of its own."""
    if isinstance(session, NullSession) or not session.permanent:
        return None
    return current_app.permanent_session_lifetime.total_seconds()


def _warn_of_second(decorator: str, first: Callable[..., Any] | None, second: Callable[..., Any]) -> None:
    """Warn where one function takes the place of another; a factory may give the same one again."""
    if first is not None and _code(first) != _code(second):
        warn_caller(
            f"{decorator}: {_named(second)} takes the place of {_named(first)}, which no application "
            "asks any more; have one decide, or make a ServerSentEventsBlueprint for each application"
        )


def _code(function: Callable[..., Any]) -> object:
    function = inspect.unwrap(function)
    return getattr(function, "__code__", function)


def _named(function: Callable[..., Any]) -> str:
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", type(function).__name__)
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


# -- tickets -----------------------------------------------------------------------------------------


def make_ticket(channels: Sequence[str], subject: Any, expires_in: Any) -> str:
    """Return a ticket of the current application as text for a URL.

    Args:
        channels: All that the stream may listen to.
        subject: The user whom it belongs to; ``None`` where that is unknown.
        expires_in: When the right ends, in seconds from now.

    Raises:
        InvalidSettingError: If there is no ``SECRET_KEY``.
        UsageError: If the time or the subject cannot be used.
    """
    _check_expires_in(expires_in)
    now = time.time()
    ticket = Ticket(tuple(sorted(channels)), checked_subject(subject), rights_known_at(), now + expires_in)
    keys = signing_keys()
    if not keys:
        raise InvalidSettingError(
            "SECRET_KEY", None, "tickets are signed with it; set it to a long random text"
        )
    return sign(ticket, keys)


def signing_keys() -> list[bytes]:
    """Return the application's secrets, the newest one last; none where it has no ``SECRET_KEY``."""
    if not current_app.secret_key:
        return []
    keys = [*(current_app.config.get("SECRET_KEY_FALLBACKS") or ()), current_app.secret_key]
    return [key.encode() if isinstance(key, str) else key for key in keys]


def _check_expires_in(seconds: Any) -> None:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds <= REMEMBERED_SECONDS:
        hint = "; of a timedelta write .total_seconds()" if isinstance(seconds, timedelta) else ""
        raise UsageError(
            f"expires_in = {shown(seconds)} cannot be used: it must be above 0 and at most "
            f"{REMEMBERED_SECONDS:g}, in seconds from now{hint}"
        )


# -- what is logged once -----------------------------------------------------------------------------


def _is_new(topic: str) -> bool:
    topics = logged_topics(current_app)
    is_new = topic not in topics
    topics.add(topic)
    return is_new


def _warn_of_rejected_channels(count: int, limit: int) -> None:
    """Log, once for each application, that a stream asked for more channels than it may."""
    if _is_new("channels"):
        logger.warning(
            "rejected a stream over %d channels of %s: the limit is %d; SSE_MAX_CHANNELS_PER_STREAM changes "
            "it, and it is %d where @sse.authorize, a ticket or the view decides on each channel",
            count,
            ascii(request.path),
            limit,
            DECIDED_MAX_CHANNELS,
        )


def _warn_of_public_streams() -> None:
    """Log, once for each blueprint of an application, that nothing decides who may listen."""
    if request.blueprint is not None and _is_new(f"public {request.blueprint}"):
        # Without logging set up it stands alone on the terminal, so it names the package.
        logger.warning(
            "Flask-SSE: streams are public: every client that reaches %s can listen to every channel. "
            "Say who may with a rule: %s.authorize(lambda channel: channel == 'news'), "
            "or lambda channel: True if all may",
            ascii(request.path),
            current_app.blueprints[request.blueprint].name,
        )


def warn_of_blocked_origin(text: str) -> None:
    """Log a text about an origin once, and no more origins than fit."""
    topics, topic = logged_topics(current_app), f"{_ORIGIN_TOPIC}{text}"
    origins = sum(each.startswith(_ORIGIN_TOPIC) for each in topics)
    if origins < _MAX_LOGGED_ORIGINS and _is_new(topic):
        logger.warning("%s", text)
