"""The face to Flask: 1.0's blueprint on top of the rest, and the only module that knows Flask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import redis
from flask import Blueprint, current_app, has_app_context, json, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.wrappers import Response

from .brokers.redis import redis_py_url
from .channels import DEFAULT_CHANNEL, asked_channels, check_channel
from .errors import HubUnavailableError, InvalidChannelError
from .hub.control import ENVELOPES, FRAMES, Attach, BlockDecoder
from .hub.core import refused
from .hub.link import Link, open_link
from .publisher import LinkedPublisher
from .serving.relay import open_stream, received
from .serving.response import HEADERS, event_stream
from .settings import Settings, redis_url
from .wire import message as wire_message
from .wire.envelope import checked_json, unpack

DEFAULT_MAX_CHANNELS = 10

_EXTENSION = "sse"
_creating = threading.Lock()


class Message(wire_message.Message):
    """Data that is published as a server-sent event; JSON is the application's own.

    Data that is not a string becomes JSON by the JSON provider of the current application, or by
    Flask's default where there is none.
    """

    __slots__ = ()

    @staticmethod
    def dump_json(data: Any) -> str:
        """Turn data that is not a string into JSON text."""
        provider = current_app.json if has_app_context() else None
        if provider is None or type(provider).dumps is DefaultJSONProvider.dumps:
            # Python's JSON writes NaN, which no browser reads.
            return json.dumps(data, allow_nan=False)
        # Others have a rule of their own; a hub would drop what is no JSON, and nobody would know.
        return checked_json(provider.dumps(data))


@dataclass(frozen=True, slots=True)
class _Extension:
    """What one application needs, made when it first publishes or streams."""

    settings: Settings
    link: Link
    publisher: LinkedPublisher


class ServerSentEventsBlueprint(Blueprint):
    """A blueprint that knows how to publish and to stream server-sent events.

    It keeps nothing of an application, so one instance serves several applications of a process.
    Guards added with ``before_request`` before it is registered run for every stream.
    """

    def publish(
        self,
        data: Any,
        type: str | None = None,  # noqa: A002 - 1.0's signature
        id: str | int | None = None,  # noqa: A002 - 1.0's signature
        retry: int | None = None,
        channel: str = DEFAULT_CHANNEL,
    ) -> int:
        """Publish one event to every page that listens to ``channel``.

        Args:
            data: A string is sent as it is, anything else as JSON by the application's provider.
            type: The event type that a page listens to; ``None`` means ``message``.
            id: The event id; ``None`` sends none.
            retry: The reconnection time of the clients, in milliseconds.
            channel: Who gets it: the streams that listen to this channel.

        Returns:
            The number of receivers. For ``memory://`` these are streams, for Redis hubs and streams of 1.0.

        Raises:
            KeyError: If the application has no URL of a broker.
            InvalidMessageError: If a field cannot be sent.
            InvalidChannelError: If the channel's name cannot be used.
            MessageTooLargeError: If the event is over ``SSE_MAX_EVENT_BYTES`` on the wire.
            BrokerUnavailableError: If the broker did not take it within 2 seconds.
        """
        message = Message(data, type=type, id=id, retry=retry)
        return _extension().publisher.send(message, channel)

    def messages(self, channel: str = DEFAULT_CHANNEL) -> Iterator[Message]:
        """Listen to a channel from Python.

        What is published after this call has returned is yielded. It goes on until it is closed.

        Yields:
            Messages with their data as it was published, so that an object stays an object.

        Raises:
            KeyError: If the application has no URL of a broker.
            InvalidChannelError: If the channel's name cannot be used.
            HubUnavailableError: If no hub took the stream, or the hub ended it; what is published
                until the next call is missed.
        """
        extension = _extension()
        rules = replace(extension.settings.rules, max_stream_seconds=None)
        listen = Attach((check_channel(channel),), ENVELOPES, rules, b"")
        pieces = received(open_stream(extension.link, listen))
        decoder = BlockDecoder()
        # The hub writes first when the broker has confirmed the channel.
        first = list(decoder.feed(next(pieces, b"")))

        def envelopes() -> Iterator[bytes]:
            yield from first
            for piece in pieces:
                yield from decoder.feed(piece)
            raise HubUnavailableError("the stream of messages()", "the hub ended it")

        return (
            Message(message.data, message.type, message.id, message.retry)
            for message in map(unpack, envelopes())
        )

    def stream(self) -> Response:
        """Answer a request with an event stream.

        ``?channel=`` says what it listens to, once or several times; without it, the channel ``sse``.

        Returns:
            A response that holds no worker where the web server lets its socket be taken over. The
            request and application contexts end when it begins. A channel that cannot be used is
            answered with 400 and a text that says why.

        Raises:
            KeyError: If the application has no URL of a broker.
        """
        extension = _extension()
        settings = extension.settings
        try:
            channels = asked_channels(request.args.getlist("channel"))
        except InvalidChannelError as error:
            return current_app.response_class(f"{error}\n", 400, mimetype="text/plain")
        limit = settings.max_channels_per_stream or self._default_limit()
        if len(channels) > limit:
            body = refused(FRAMES, f"at most {limit} channels on one stream (SSE_MAX_CHANNELS_PER_STREAM)")
            return current_app.response_class(body, headers=HEADERS, mimetype="text/event-stream")
        return event_stream(
            current_app.response_class,
            extension.link,
            Attach(channels, FRAMES, settings.rules, b""),
            may_take_over=settings.takeover == "auto",
        )

    def _default_limit(self) -> int:
        """Return how many channels a stream may ask for where no setting says it.

        A guard written for 1.0 looks at ``request.args.get("channel")``, which is the first one; more
        than that one must not get past it.
        """
        guarded = any(current_app.before_request_funcs.get(name) for name in request.blueprints)
        return 1 if guarded else DEFAULT_MAX_CHANNELS

    def status(self) -> dict[str, Any]:
        """Ask the hub how it is.

        Returns:
            Counts by name. ``streams``, ``channels`` and ``apps`` that are open now; ``opened``, ``events``,
            ``refused``, ``foreign_refused`` and ``ended_slow`` since the hub started; ``broker_away``;
            and the ``pid`` of the hub.

        Raises:
            KeyError: If the application has no URL of a broker.
            HubUnavailableError: If no hub answered.
        """
        return _extension().link.status()

    @property
    def redis(self) -> redis.Redis:
        """A client of the Redis server in ``SSE_REDIS_URL`` or ``REDIS_URL``.

        Raises:
            KeyError: If neither is set.
        """
        url = redis_url(current_app.config)
        clients = current_app.extensions.setdefault(f"{_EXTENSION}.redis", {})
        if url not in clients:
            clients[url] = redis.Redis.from_url(redis_py_url(url))
        client: redis.Redis = clients[url]
        return client


def _extension() -> _Extension:
    extensions = current_app.extensions
    if _EXTENSION not in extensions:
        with _creating:
            if _EXTENSION not in extensions:
                settings = Settings.from_mapping(current_app.config)
                link = open_link(settings)
                extensions[_EXTENSION] = _Extension(settings, link, LinkedPublisher(settings, link))
    extension: _Extension = extensions[_EXTENSION]
    return extension


sse = ServerSentEventsBlueprint("sse", __name__)
sse.add_url_rule(rule="", endpoint="stream", view_func=sse.stream)
