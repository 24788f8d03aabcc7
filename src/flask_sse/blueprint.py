"""The face to Flask: 1.0's blueprint on top of the rest, and the only module that knows Flask."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import redis
from flask import Blueprint, current_app, has_app_context, json, request
from flask.json.provider import DefaultJSONProvider
from flask.sansio.app import App
from werkzeug.wrappers import Response

from .brokers.redis.client import redis_py_url
from .channels import DEFAULT_CHANNEL, asked_channels, check_channel
from .errors import HubUnavailableError, InvalidChannelError, SSEError
from .hub.control import ENVELOPES, FRAMES, Attach, BlockDecoder
from .hub.link import Link, announce, open_link
from .hub.notices import refused
from .publisher import LinkedPublisher, Published
from .serving.relay import open_stream, received
from .serving.response import HEADERS, event_stream
from .settings import Settings, redis_url
from .wire import message as wire_message
from .wire.cursor import FROM_NOW, positions
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


class _FlaskPublisher(LinkedPublisher):
    message_class = Message


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

    def register(self, app: App, options: dict[str, Any]) -> None:
        """See Flask. Pages that were opened through an earlier process of the application go on."""
        super().register(app, options)
        _applications.add(app)
        _announce(app)

    def publish(
        self,
        data: Any,
        type: str | None = None,  # noqa: A002 - 1.0's signature
        id: str | int | None = None,  # noqa: A002 - 1.0's signature
        retry: int | None = None,
        channel: str = DEFAULT_CHANNEL,
        *,
        key: str | None = None,
    ) -> Published:
        """Publish one event to every page that listens to ``channel``.

        Args:
            data: A string is sent as it is, anything else as JSON by the application's provider.
            type: The event type that a page listens to; ``None`` means ``message``.
            id: The event id that a page sees; ``None`` lets the broker give one.
            retry: The reconnection time of the clients, in milliseconds.
            channel: Who gets it: the streams that listen to this channel.
            key: What makes it happen once: a second publication with the same key on the same channel
                within 5 minutes sends nothing and returns what the first one returned. So a publication
                that failed may be tried again.

        Returns:
            The number of receivers, which also has the event's ``id``. For ``memory://`` these are
            streams, for Redis hubs and streams of 1.0.

        Raises:
            KeyError: If the application has no URL of a broker.
            InvalidMessageError: If a field cannot be sent.
            InvalidChannelError: If the channel's name cannot be used.
            MessageTooLargeError: If the event is over ``SSE_MAX_EVENT_BYTES`` on the wire.
            BrokerUnavailableError: If the broker did not take it within 2 seconds.
        """
        return _extension().publisher.publish(data, type, id, retry, channel, key=key)

    def publish_many(self, events: Iterable[Mapping[str, Any]]) -> list[Published]:
        """Publish several events, to one channel or to several, in one round trip for each hundred.

        Nothing is published if one of them is refused before the broker is asked.

        Args:
            events: For each event the arguments of ``publish`` by their names.

        Returns:
            What ``publish`` returns, for each.

        Raises:
            KeyError: If the application has no URL of a broker.
            BrokerUnavailableError: If the broker did not take all within 2 seconds. Its ``published`` has
                what became of the first ones, as far as it is known.
            UsageError: As ``publish``.
        """
        return _extension().publisher.publish_many(events)

    def cursor(self, *channels: str) -> str:
        """Return the position behind the last event of a channel, or of several.

        Take it before the state of a page is read, and give it to the page as ``?last_event_id=`` of its
        stream over the same channels: what is published from now on arrives, and nothing falls in between.

        Args:
            channels: Those of the stream, in any order; none means the channel ``sse``.

        Returns:
            A text for a URL; empty where none of the channels has a history.

        Raises:
            KeyError: If the application has no URL of a broker.
            InvalidChannelError: If a channel's name cannot be used.
            BrokerUnavailableError: If the broker did not answer within 2 seconds.
        """
        return _extension().publisher.cursor(*channels)

    def messages(self, channel: str = DEFAULT_CHANNEL) -> Iterator[Message]:
        """Listen to a channel from Python.

        What is published after this call has returned is yielded, also what was published while the
        broker could not be reached. It goes on until it is closed.

        Yields:
            Messages with their data as it was published, so that an object stays an object.

        Raises:
            KeyError: If the application has no URL of a broker.
            InvalidChannelError: If the channel's name cannot be used.
            HubUnavailableError: If no hub took the stream, or the hub ended it, which it also does when
                messages were lost with the broker; what is published until the next call is missed.
        """
        extension = _extension()
        settings = extension.settings
        channels = (check_channel(channel),)
        rules = replace(settings.rules, max_stream_seconds=None)
        listen = Attach(channels, ENVELOPES, rules, dict.fromkeys(settings.kept(channels), FROM_NOW))
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
        Where it goes on from is what the client sends as ``Last-Event-ID``, or else ``?last_event_id=``: the
        id of an event, a cursor, or ``earliest`` for all that is kept.

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
            Attach(channels, FRAMES, settings.rules, _since(settings.kept(channels))),
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
            ``resumed``, ``resets``, ``refused``, ``foreign_refused`` and ``ended_slow`` since the hub
            started; ``broker_away``; and the ``pid`` of the hub.

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


def _announce(app: App) -> None:
    """Let a hub that holds pages of this application know that it is there again after a restart.

    It would end otherwise if nobody opens a page for a while.
    """
    with contextlib.suppress(KeyError, SSEError):
        settings = Settings.from_mapping(app.config, warn=False)
        # Kept, for the hub counts connections.
        app.extensions[f"{_EXTENSION}.presence"] = announce(settings)


def _announce_all() -> None:
    for app in list(_applications):
        _announce(app)


# A server that loads the application once forks its new workers from there.
_applications: weakref.WeakSet[App] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_announce_all)


def _since(kept: tuple[str, ...]) -> dict[str, str]:
    """Return what the client of this request goes on from, for each channel that has a history."""
    header = request.headers.get("Last-Event-ID", "")
    # Browsers send UTF-8, and WSGI shows each byte as a character.
    last_event_id = header.encode("latin-1", "replace").decode(errors="replace")
    last_event_id = last_event_id or request.args.get("last_event_id", FROM_NOW)
    return dict(zip(kept, positions(last_event_id, kept), strict=True))


def _extension() -> _Extension:
    extensions = current_app.extensions
    if _EXTENSION not in extensions:
        with _creating:
            if _EXTENSION not in extensions:
                settings = Settings.from_mapping(current_app.config)
                # Once more, for settings that were made after the blueprint was registered.
                _announce(current_app)
                link = open_link(settings)
                extensions[_EXTENSION] = _Extension(settings, link, _FlaskPublisher(settings, link))
    extension: _Extension = extensions[_EXTENSION]
    return extension


sse = ServerSentEventsBlueprint("sse", __name__)
sse.add_url_rule(rule="", endpoint="stream", view_func=sse.stream)
