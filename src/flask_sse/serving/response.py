"""The response of a stream: it looks at the request's connection last and chooses how to leave."""

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
from .callers import why_unsuitable
from .endings import overlooks_leaving, vanished_noticed, watch_for_end, worker_is_ending
from .obstacles import LONG_HEAD, NO_PLAIN_SOCKET, Obstacle, find_obstacle, note_relay
from .rejection import rejected
from .relay import Relay
from .servers import find_client_socket, speaks_http_1
from .takeover import answer_and_end, response_head, take_over

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Response)
# The response class of an application.
A = TypeVar("A", bound=Response)

# How long a stream may go on for a client that may have left, where that cannot be known.
OVERLOOKED_SECONDS = 300.0
# Extensions that compress responses leave alone what is encoded already.
_NOT_TO_BE_COMPRESSED = {"Content-Encoding": "identity"}


class WithoutCookies(Response):
    """An answer to the request of a stream, which sets no cookie, whatever hooks of the application add.

    It may be given long after its request came, so a cookie would bring back what was true then.
    """

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Return the headers as they are sent."""
        headers = super().get_wsgi_headers(environ)
        headers.remove("Set-Cookie")
        return headers


class EventStreamResponse(Response):
    """A response that the hub writes. Made by ``event_stream``, for an application's own class."""

    default_mimetype = "text/event-stream"
    hub_client: StreamServer
    relay: Relay
    may_take_over: bool
    _is_answered = False

    def iter_encoded(self) -> Iterator[bytes]:
        """Yield the body once the response is being answered, and nothing to hooks that measure it before.

        A stream does not end, so ``get_data`` in an ``after_request`` function would not return.
        """
        return super().iter_encoded() if self._is_answered else iter(())

    def calculate_content_length(self) -> None:
        """Return ``None``: nobody knows the length of a stream."""
        return

    def add_etag(self, overwrite: bool = False, weak: bool = False) -> None:
        """Add none: it would be that of an empty body, and a client that has it would get 304."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as a WSGI application."""
        # Nothing may stand between the hub and the client: a compressor would keep events back. A hook that
        # asked for the body has found an empty one.
        for name in ("Content-Encoding", "Content-Length"):
            self.headers.pop(name, None)
        self.response = self.relay
        self._is_answered = True
        unsuitable = why_unsuitable()
        if unsuitable is not None:
            logger.error("%s", unsuitable)
            self.close()
            return Response(f"{unsuitable}\n", HTTPStatus.INTERNAL_SERVER_ERROR)(environ, start_response)
        obstacle = find_obstacle(environ, self.status_code, may_take_over=self.may_take_over)
        answer = obstacle or self._take_over(environ, start_response)
        if not isinstance(answer, Obstacle):
            return answer
        note_relay(environ, answer)
        if overlooks_leaving():
            self.relay.asked = _short(self.relay.asked)
        self.relay.watch = functools.partial(watch_for_end, environ)
        self.relay.meanwhile = functools.partial(vanished_noticed, environ)
        self.relay.find_ending = functools.partial(worker_is_ending, environ)
        return super().__call__(environ, start_response)

    def _take_over(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes] | Obstacle:
        """Answer by takeover, or where that is not possible now, with what the client is to do instead.

        Returns:
            The body; an obstacle where takeover is impossible for all requests like this one, so that the
            relay serves. What may pass by itself is none: a relay holds a worker for the life of the page.
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
        hand_over = functools.partial(self._hand_over, head)
        try:
            body = take_over(client, start_response, self.status, headers, hand_over)
            return ClosingIterator(body, self.close)
        except ConnectionError as error:
            logger.debug("no stream: %r", error)
            self.response = []
        except OSError as error:
            self.response = [self._rejected(error)]
        # Nothing was changed, so the web server answers.
        return super().__call__(environ, start_response)

    def _hand_over(self, head: bytes, descriptor: int) -> None:
        try:
            self.hub_client.attach(descriptor, replace(self.relay.asked, head=head))
        except (HubError, OSError) as error:
            answer_and_end(descriptor, head + self._rejected(error))

    def _rejected(self, error: Exception) -> bytes:
        return rejected(self.relay.asked.mode, error)


def _short(asked: StreamRequest) -> StreamRequest:
    longest = asked.rules.max_stream_seconds or math.inf
    rules = replace(asked.rules, max_stream_seconds=min(longest, OVERLOOKED_SECONDS))
    return replace(asked, rules=rules)


def event_stream(
    response_class: type[A],
    hub_client: StreamServer,
    asked: StreamRequest,
    *,
    may_take_over: bool,
    may_set_cookies: bool,
) -> A:
    """Return a response whose body is a stream of the hub.

    Args:
        response_class: The application's own; the response is an instance of it.
        hub_client: What takes the stream, as the hub does.
        asked: What the client listens to.
        may_take_over: Whether the hub may get the client's own connection.
        may_set_cookies: Whether it is the answer of a view, which may do so once, and no stream, which comes
            again by itself.
    """
    relay = Relay(hub_client, asked)
    kind = EventStreamResponse if may_set_cookies else _StreamWithoutCookies
    made_of: type[EventStreamResponse] = _subclass(kind, response_class)  # type: ignore[arg-type] # it has a hash
    response = made_of(relay, headers={**STREAM_HEADERS, **_NOT_TO_BE_COMPRESSED})
    response.hub_client = hub_client
    response.relay = relay
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
