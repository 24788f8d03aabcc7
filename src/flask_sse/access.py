"""Access: who may open a stream, asked in the request; the rules of one blueprint."""

from __future__ import annotations

import copy
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, has_request_context, request, request_started, session
from flask.sansio.app import App
from flask.sessions import NullSession, SessionMixin

from .cors import is_allowed_origin
from .errors import InvalidSettingError
from .extension import said
from .hub.protocol.grant import Grant
from .settings import Settings
from .subjects import checked_subject
from .tickets import read
from .wire.cursor import END_ID

logger = logging.getLogger(__name__)

TICKET = "ticket"
# Most channels of a stream: where each of them is decided on, and where a guard may know of the first only.
DECIDED_MAX_CHANNELS = 10
UNDECIDED_MAX_CHANNELS = 1
# In the environ, as this is a matter of one request whatever contexts are around it.
_SAVES_NO_SESSION = "flask_sse.saves_no_session"
# Of the WSGI environment: when the request began, in seconds of the wall clock.
_BEGAN_AT = "flask_sse.began_at"
_TICKET_IN_URL = re.compile(rf"([?&]{TICKET}=)(?!\.\.\.)[^\s&\"']+")
_ACCESS_LOGS = ("werkzeug", "gunicorn.access", "uvicorn.access", "hypercorn.access", "granian.access")


class RefusedError(Exception):
    """The request gets no stream.

    Attributes:
        status: What it is answered with. A browser's ``EventSource`` does not try again after any of these.
        reason: For the visitor.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


class Access:
    """The rules of one blueprint.

    Attributes:
        may_listen: Says whether the visitor may listen to a channel; ``None`` for everybody to everything.
        subject_of_request: Says who the visitor is; ``None`` for Flask-Login's user, where there is one.
    """

    def __init__(self) -> None:
        self.may_listen: Callable[[str], Any] | None = None
        self.subject_of_request: Callable[[], Any] | None = None

    def max_channels(self, settings: Settings, *, is_decided: bool) -> int:
        """Return how many channels the stream of this request may listen to.

        A guard written for 1.0, wherever it stands, looks at ``request.args.get("channel")``, which is the
        first one, so no other may get past it. Rules of ``authorize`` are asked for each, and a ticket
        names all of them.

        Args:
            settings: Of the application.
            is_decided: Whether the view names the channels.
        """
        if settings.max_channels_per_stream is not None:
            return settings.max_channels_per_stream
        is_decided = is_decided or self.may_listen is not None or TICKET in request.args
        return DECIDED_MAX_CHANNELS if is_decided else UNDECIDED_MAX_CHANNELS

    def admit(
        self, channels: Sequence[str], settings: Settings, *, is_guarded: bool, is_decided: bool
    ) -> Grant:
        """Let the visitor of this request in.

        Args:
            channels: What the stream is to listen to.
            settings: Of the application.
            is_guarded: Whether a guard may have been asked: one of the blueprint, or in a view of the
                application.
            is_decided: Whether the view names the channels, so that nobody else is asked.

        Raises:
            RefusedError: If the visitor may not listen to all of them.
        """
        if is_over_for_this_client():
            raise RefusedError(HTTPStatus.NO_CONTENT, "this stream has ended for good")
        if request.headers.get("Sec-Fetch-Site") == "cross-site" and not is_allowed_origin(settings):
            raise RefusedError(HTTPStatus.FORBIDDEN, "pages of other sites may not listen (SSE_CORS_ORIGINS)")
        address = request.remote_addr if settings.rules.max_streams_per_address is not None else None
        if TICKET in request.args:
            return _of_ticket(request.args[TICKET], channels, address)
        if settings.require_ticket:
            raise RefusedError(HTTPStatus.FORBIDDEN, "a ticket is needed (SSE_REQUIRE_TICKET)")
        may_listen = None if is_decided else self.may_listen
        if may_listen is None and not is_guarded and not is_decided:
            warn_of_public_streams()
        if not all(may_listen is None or may_listen(channel) for channel in channels):
            raise RefusedError(HTTPStatus.FORBIDDEN, "you may not listen to all of these channels")
        return Grant(self.subject(), address, _session_ends_in(), rights_known_at())

    def subject(self) -> str | None:
        """Return who the visitor of this request is."""
        if self.subject_of_request is not None:
            return checked_subject(self.subject_of_request())
        if hasattr(current_app, "login_manager"):
            from flask_login import current_user  # noqa: PLC0415 - there, if the application uses it

            return checked_subject(current_user.get_id())
        return None


def is_over_for_this_client() -> bool:
    """Return whether the client of this request names the end of the stream as where it stands."""
    return (request.headers.get("Last-Event-ID") or request.args.get("last_event_id")) == END_ID


def note_begin_of_requests(app: App) -> None:
    """Note when each request of an application begins, before any guard of it is asked."""
    request_started.connect(_note_begin, app)


def _note_begin(_: object, **__: object) -> None:
    request.environ[_BEGAN_AT] = time.time()


def note_own_revocation() -> None:
    """Let what this request allows from here on count as newer than what it has revoked itself."""
    if has_request_context():
        request.environ.pop(_BEGAN_AT, None)


def rights_known_at() -> float:
    """Return when the rights that are checked now were as they are, in seconds of the wall clock.

    In a request that is its beginning: a guard may have looked at them then, and they may be revoked before
    it is done.
    """
    now = time.time()
    began_at: float = request.environ.get(_BEGAN_AT, now) if has_request_context() else now
    return min(began_at, now)


def signing_keys() -> list[bytes]:
    """Return the application's secrets, the newest one last.

    Raises:
        InvalidSettingError: If there is none.
    """
    if not current_app.secret_key:
        raise InvalidSettingError(
            "SECRET_KEY", None, "tickets are signed with it; set it to a long random text"
        )
    keys = [*(current_app.config.get("SECRET_KEY_FALLBACKS") or ()), current_app.secret_key]
    return [key.encode() if isinstance(key, str) else key for key in keys]


def _of_ticket(text: str, channels: Sequence[str], address: str | None) -> Grant:
    # Where there is no key, nobody has a ticket.
    ticket = read(text, signing_keys()) if current_app.secret_key else None
    if ticket is None:
        raise RefusedError(HTTPStatus.FORBIDDEN, "the ticket was not signed with a key of this application")
    if not set(channels) <= set(ticket.channels):
        raise RefusedError(HTTPStatus.FORBIDDEN, "the ticket is for other channels")
    left = ticket.expires_at - time.time()
    if left <= 0:
        raise RefusedError(HTTPStatus.NO_CONTENT, "the ticket has expired")
    return Grant(ticket.subject, address, left, ticket.issued_at, by_ticket=True)


def _session_ends_in() -> float | None:
    """Return when the visitor's session ends, in seconds; ``None`` where it has no time of its own."""
    if isinstance(session, NullSession) or not session.permanent:
        return None
    return current_app.permanent_session_lifetime.total_seconds()


def warn_of_rejected_channels(count: int, limit: int) -> None:
    """Say, once for each application, that a stream asked for more channels than it may."""
    if _is_new("channels"):
        logger.warning(
            "rejected a stream over %d channels of %s: the limit is %d; SSE_MAX_CHANNELS_PER_STREAM changes "
            "it, and it is %d where @sse.authorize, a ticket or the view decides on each channel",
            count,
            ascii(request.path),
            limit,
            DECIDED_MAX_CHANNELS,
        )


def _is_new(topic: str) -> bool:
    topics = said(current_app)
    is_new = topic not in topics
    topics.add(topic)
    return is_new


def warn_of_public_streams() -> None:
    """Say, once for each blueprint of an application, that nothing decides who may listen."""
    if request.blueprint is not None and _is_new(f"public {request.blueprint}"):
        # Without logging set up it stands alone on the terminal, so it says whose it is.
        logger.warning(
            "Flask-SSE: streams are public: every client that reaches %s can listen to every channel. "
            "Say who may with a rule: %s.authorize(lambda channel: channel == 'news'), "
            "or lambda channel: True if all may",
            ascii(request.path),
            current_app.blueprints[request.blueprint].name,
        )


# -- sessions ----------------------------------------------------------------------------------------


def save_no_session() -> None:
    """Have nothing saved of what is written into the session of this request, whatever answers it.

    A stream is a request that nobody made by hand, that is repeated for hours, and that may wait for a slow
    rule meanwhile. Its session is a copy of what was true when it came: saved late, it would undo a sign-out
    or an update of another request, and a session that nobody uses would never end.
    """
    request.environ[_SAVES_NO_SESSION] = True
    interface = current_app.session_interface
    # Asked each time: extensions set another interface whenever they are initialised.
    if not isinstance(interface.save_session, _SessionSaver):
        interface.save_session = _SessionSaver(interface.save_session)  # type: ignore[method-assign]


class _SessionSaver:
    """``save_session`` of a session interface, but for requests of streams.

    It stands on the interface because that is the last to see a response, behind all ``after_request``.
    """

    def __init__(self, save: Callable[[Flask, SessionMixin, Response], None]) -> None:
        self._save = save

    def __call__(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if not (has_request_context() and _SAVES_NO_SESSION in request.environ):
            self._save(app, session, response)
        elif session.accessed:
            response.vary.add("Cookie")


# -- tickets stay out of logs ------------------------------------------------------------------------


class _WithoutTickets(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _TICKET_IN_URL.search(record.getMessage()):
            # Formatters, such as uvicorn's, look at the arguments themselves.
            record.msg, record.args = _without_ticket(record.msg), _each_without_ticket(record.args)
            text = record.getMessage()
            if _TICKET_IN_URL.search(text):
                record.msg, record.args = _without_ticket(text), ()
        return True


def _without_ticket(value: Any) -> Any:
    return _TICKET_IN_URL.sub(r"\1...", value) if isinstance(value, str) else value


def _each_without_ticket(args: Any) -> Any:
    if not isinstance(args, Mapping):
        return tuple(map(_without_ticket, args or ()))
    # gunicorn's and hypercorn's are dictionaries of their own that look up more than they hold.
    atoms: Any = copy.copy(args)
    for name, value in args.items():
        atoms[name] = _without_ticket(value)
    return atoms


_without_tickets = _WithoutTickets()


def keep_tickets_out_of_logs() -> None:
    """Have the access logs of web servers that log with Python leave tickets out."""
    for name in _ACCESS_LOGS:
        logging.getLogger(name).addFilter(_without_tickets)
