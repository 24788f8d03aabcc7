"""The response of a stream, which chooses between takeover and relay when it is answered.

The only module of this package that imports Werkzeug.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any, TypeVar, cast

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response
from werkzeug.wsgi import ClosingIterator

from ..errors import HubError
from ..hub.client.hub_client import StreamServer
from ..hub.protocol.packet import MAX_HEAD_BYTES
from ..hub.protocol.stream_request import StreamRequest
from ..wire.headers import STREAM_HEADERS
from .call_stack import why_unsuitable
from .client_disconnect import ignores_disconnect
from .client_socket import find_client_socket, speaks_http_1
from .rejection import rejected
from .relay import Relay
from .relay_reason import LONG_HEAD, NO_PLAIN_SOCKET, RelayReason, find_relay_reason, log_relay
from .takeover import TakenConnection, response_head

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Response)
# The response class of an application.
A = TypeVar("A", bound=Response)

# How long a stream may continue for a client that may have left, where that cannot be known.
UNNOTICED_SECONDS = 300.0
# Extensions that compress responses leave alone what is encoded already.
_NOT_TO_BE_COMPRESSED = {"Content-Encoding": "identity"}


class WithoutCookies(Response):
    """An answer to the request of a stream, which sets no cookie, whatever hooks of the application add.

    It may be sent long after its request came, so a cookie would restore a state that is outdated.
    """

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Return the headers as they are sent."""
        headers = super().get_wsgi_headers(environ)
        headers.remove("Set-Cookie")
        return headers


class EventStreamResponse(Response):
    """A response that the hub writes. Made by ``event_stream``, for an application's own class.

    Attributes:
        server: What writes the stream: the hub, or what stands for it.
        stream_request: What the client listens to.
        may_take_over: Whether the server may get the client's own connection.
    """

    default_mimetype = "text/event-stream"
    server: StreamServer
    stream_request: StreamRequest
    may_take_over: bool
    _relay: Relay | None = None
    _is_answered = False

    def iter_encoded(self) -> Iterator[bytes]:
        """Yield the body once the response is being answered, and nothing to hooks that measure it before.

        A stream does not end, so ``get_data`` in an ``after_request`` function would not return.
        """
        return super().iter_encoded() if self._is_answered else iter(())

    def calculate_content_length(self) -> None:
        """Return ``None``: the length of a stream is not known."""
        return

    def add_etag(self, overwrite: bool = False, weak: bool = False) -> None:
        """Add none: it would be that of an empty body, and a client that has it would get 304."""

    def end_stream(self) -> None:
        """End a stream that is relayed, from any thread."""
        if self._relay is not None:
            self._relay.close()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as a WSGI application."""
        # Nothing may stand between the hub and the client: a compressor would buffer events. A hook that
        # asked for the body has found an empty one.
        for name in ("Content-Encoding", "Content-Length"):
            self.headers.pop(name, None)
        self._is_answered = True
        # Not the empty list that such a hook leaves: its length would become a header.
        self.response = iter(())
        unsuitable = why_unsuitable()
        if unsuitable is not None:
            logger.error("%s", unsuitable)
            self.close()
            return Response(f"{unsuitable}\n", HTTPStatus.INTERNAL_SERVER_ERROR)(environ, start_response)
        reason = find_relay_reason(environ, self.status_code, may_take_over=self.may_take_over)
        answer = reason or self._take_over(environ, start_response)
        if not isinstance(answer, RelayReason):
            return answer
        log_relay(environ, answer)
        if ignores_disconnect():
            self.stream_request = _short(self.stream_request)
        self.response = self._relay = Relay(self.server, self.stream_request, environ)
        return super().__call__(environ, start_response)

    def _take_over(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes] | RelayReason:
        """Answer by takeover, or where that is not possible now, with a retry delay.

        Returns:
            The body; a reason where takeover is impossible for all requests like this one, so that the relay
            serves. What may pass by itself is not one: a relay holds a worker for the life of the page.
        """
        client = find_client_socket(environ)
        if client is None:
            return NO_PLAIN_SOCKET
        if not speaks_http_1(environ):
            self.close()
            return Response("This server speaks HTTP/1.1.\n", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)(
                environ, start_response
            )
        headers = list(self.get_wsgi_headers(environ))
        head = response_head(self.status, headers)
        if len(head) > MAX_HEAD_BYTES:
            logger.warning("relay: a response head of %d bytes, the most is %d", len(head), MAX_HEAD_BYTES)
            return LONG_HEAD
        try:
            # Copies the connection and puts a dead socket in its place.
            connection = TakenConnection(client)
        except ConnectionError as error:
            logger.debug("no stream: %r", error)
            self.response = []
        except OSError as error:
            self.response = [self._rejected(error)]
        else:
            with connection:
                self._hand_over(connection, head)
                body = connection.finish_request(start_response, self.status, headers)
            return ClosingIterator(body, self.close)
        # Nothing was changed, so the web server answers.
        return super().__call__(environ, start_response)

    def _hand_over(self, connection: TakenConnection, head: bytes) -> None:
        try:
            self.server.attach(connection.descriptor, replace(self.stream_request, head=head))
        except (HubError, OSError) as error:
            connection.answer_and_end(head + self._rejected(error))

    def _rejected(self, error: Exception) -> bytes:
        return rejected(self.stream_request.mode, error)


def _short(request: StreamRequest) -> StreamRequest:
    longest = request.rules.max_stream_seconds or math.inf
    rules = replace(request.rules, max_stream_seconds=min(longest, UNNOTICED_SECONDS))
    return replace(request, rules=rules)


def event_stream(
    response_class: type[A],
    server: StreamServer,
    request: StreamRequest,
    *,
    may_take_over: bool,
    may_set_cookies: bool,
) -> A:
    """Return a response whose body is a stream.

    Args:
        response_class: The application's own; the response is an instance of it.
        server: What writes the stream: the hub, or what stands for it.
        request: What the client listens to.
        may_take_over: Whether the server may get the client's own connection.
        may_set_cookies: Whether it is the answer of a view, which may do so once, and not a stream, which
            the client opens again by itself.
    """
    kind = EventStreamResponse if may_set_cookies else _StreamWithoutCookies
    made_of: type[EventStreamResponse] = _subclass(kind, response_class)  # type: ignore[arg-type] # it has a hash
    # An iterator, and not a list: hooks such as those of Flask-Compress must take it for a stream.
    response = made_of(iter(()), headers={**STREAM_HEADERS, **_NOT_TO_BE_COMPRESSED})
    response.server = server
    response.stream_request = request
    response.may_take_over = may_take_over
    return cast("A", response)  # no type can say that it is of both classes


def without_cookies(response_class: type[A]) -> type[A]:
    """Return the class of an answer in place of a stream: the application's own, but for cookies."""
    made_of: Any = _subclass(WithoutCookies, response_class)  # type: ignore[arg-type] # it has a hash
    return cast("type[A]", made_of)


class _StreamWithoutCookies(WithoutCookies, EventStreamResponse):
    pass


@functools.cache
def _subclass(kind: type[R], response_class: type[Response]) -> type[R]:
    return type(kind.__name__.strip("_"), (kind, response_class), {})
