"""Publish from anywhere: a web application, a worker, a cron job. No Flask needed."""

from __future__ import annotations

import builtins
import difflib
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

from .brokers.base import BrokerPublisher, Publication, Receipt
from .brokers.deadline import deadline
from .brokers.memory import MemoryPublisher
from .brokers.registry import open_publisher
from .caller import warn_caller
from .channels import CONTROL_CHANNEL, DEFAULT_CHANNEL, check_channel, requested_channels
from .errors import (
    BrokerUnavailableError,
    InvalidMessageError,
    InvalidSettingError,
    MessageTooLargeError,
    UsageError,
    shown,
)
from .hub.client.hub_client import HubClient, open_hub_client, reaches_this_process_only
from .hub.client.override import MEMORY_URL, override
from .hub.protocol import revocation
from .producing.commit import listen_to_sessions, send_on_commit
from .producing.run import Line, Producer, cancel
from .producing.source import Items, Source
from .settings import Settings, warn_of_unknown_settings
from .subjects import checked_subject
from .urls import check_url
from .wire.envelope import pack
from .wire.message import Message
from .wire.run import END_TYPE, check_type
from .wire.text import flaw_of_text, plain_text

logger = logging.getLogger(__name__)

MAX_KEY_BYTES = 200
MAX_REASON_CHARACTERS = 1000
# Far fewer than a broker takes within the deadline of one call.
EVENTS_OF_A_CALL = 1000
_FIELDS = ("data", "type", "id", "retry", "channel", "key", "collapse")
# Types that can be sent, but do not do in a page what they seem to.
_SURPRISING_TYPES = {
    "error": "events of type 'error' reach a page's onerror; use another type",
    "open": "events of type 'open' reach a page's onopen, as if it had connected again; use another type",
    "": "events of type '' reach a page's onmessage, as those without a type do; leave it out, or name one",
}
# Line feeds grow most: two bytes of an envelope become six of a frame.
_FRAME_GROWTH = 6


class Published(int):
    """What became of an event: the number of its receivers, as in 1.0.

    For ``memory://`` these are streams, for Redis hubs and streams of 1.0.

    Attributes:
        id: The event id as a page sees it: the one that was given, or else its cursor; ``None`` where
            no history is kept.
    """

    id: str | None

    def __new__(cls, receivers: int, id: str | None = None) -> Self:  # noqa: A002 - as published
        """Make an int that knows the event's id."""
        published = super().__new__(cls, receivers)
        published.id = id
        return published


class LinkedPublisher:
    """Publishes with an application's settings and hub client.

    Attributes:
        line: What a run needs of it.
    """

    message_class: builtins.type[Message] = Message

    def __init__(self, settings: Settings, hub_client: HubClient) -> None:
        self._settings = settings
        self._hub_client = hub_client
        self._own_broker = open_publisher(settings.broker_url, hub_client)
        self.line = Line(lambda: self._broker, self._checked_message, settings.history_of)
        listen_to_sessions()

    @property
    def _broker(self) -> BrokerPublisher:
        instead = override()
        if instead is None:
            return self._own_broker
        return MemoryPublisher(MEMORY_URL, instead.open_hub_client(self._settings))

    def publish(
        self,
        data: Any,
        type: str | None = None,  # noqa: A002 - 1.0's signature
        id: str | int | None = None,  # noqa: A002 - 1.0's signature
        retry: int | None = None,
        channel: str = DEFAULT_CHANNEL,
        *,
        key: str | None = None,
        collapse: str | None = None,
    ) -> Published:
        """Publish one event.

        Args:
            data: A string is sent as it is, anything else as JSON.
            type: The event type that a page listens to; ``None`` means ``message``.
            id: The event id that a page sees; ``None`` lets the broker give one.
            retry: The reconnection time of the clients, in milliseconds.
            channel: Who gets it: the streams that listen to this channel.
            key: What makes it happen once: a second publication with the same key on the same channel
                within 5 minutes sends nothing and returns what the first one returned. So a publication
                that failed may be tried again.
            collapse: What it replaces: a page that is behind does not get earlier events of this channel with
                the same one that it has not got yet.

        Returns:
            The number of receivers, which also has the event's ``id``.

        Raises:
            InvalidMessageError: If a field cannot be sent.
            InvalidChannelError: If the channel's name cannot be used.
            MessageTooLargeError: If the event is over ``SSE_MAX_EVENT_BYTES`` on the wire.
            BrokerUnavailableError: If the broker did not take it within 2 seconds.
        """
        fields = {"type": type, "id": id, "retry": retry}
        event = self._checked(data, channel=channel, key=key, collapse=collapse, **fields)
        return self._send([event])[0]

    def publish_many(self, events: Iterable[Mapping[str, Any]]) -> list[Published]:
        """Publish several events, to one channel or to several, in one round trip for each hundred.

        Nothing is published if one of them is refused before the broker is asked.

        Args:
            events: For each event the arguments of ``publish`` by their names.

        Returns:
            What ``publish`` returns, for each.

        Raises:
            BrokerUnavailableError: If the broker did not take all of them together within 2 seconds. Its
                ``published`` has what became of the first ones, as far as it is known.
            UsageError: As ``publish``.
        """
        return self._send([self._checked(**event) for event in _checked_events(events)])

    def publish_on_commit(self, session: Any, data: Any, **fields: Any) -> None:
        """Publish one event when a session of SQLAlchemy has committed.

        It is checked and turned into JSON now. It belongs to the session's transaction, which the call
        begins if there is none, as ``session.add`` does; it is dropped when that, or the savepoint that it
        was made in, is rolled back or closed. Events of one transaction go in the order of the calls, in
        one round trip. If the broker does not take them the data is committed nevertheless, so that is
        logged, not raised.

        Args:
            session: A ``Session``, a ``scoped_session`` as Flask-SQLAlchemy's, or an ``AsyncSession``.
            data: As for ``publish``.
            fields: Its other arguments by their names.

        Raises:
            UsageError: As ``publish``, if it is no session, or if it has ``autobegin=False`` and has begun
                no transaction.
        """
        event = {"data": data, **fields}
        _check_fields("the event", event)
        send_on_commit(session, self._send_committed, self._checked(**event))

    def cursor(self, *channels: str) -> str:
        """Return the position behind the last event of a channel, or of several.

        A stream over the same channels that goes on from there (``?last_event_id=``) gets what is
        published from now on: take it before the state of a page is read, and nothing falls in between.

        Raises:
            InvalidChannelError: If a channel's name cannot be used.
            BrokerUnavailableError: If the broker did not answer within 2 seconds.
        """
        kept = self._settings.kept(requested_channels(channels))
        return ",".join(map(str, self._broker.cursors(kept))) if kept else ""

    def disconnect(
        self, *, subject: str | None = None, channel: str | None = None, reason: str = "disconnected"
    ) -> None:
        """End streams on every hub, within a second. Their pages get ``stream-end`` and do not come back.

        Tickets that were made before are revoked, and so are rights of requests that began before.

        Args:
            subject: Those of this subject; ``None`` for those of everybody.
            channel: Those that listen to this channel, also where they listen to others, too.
            reason: What the pages are told, up to 1000 characters.

        Raises:
            UsageError: If neither subject nor channel is given, or the subject or the reason cannot be used.
            InvalidChannelError: If the channel's name cannot be used.
            BrokerUnavailableError: If the broker did not take it within 2 seconds.
        """
        if subject is None and channel is None:
            raise UsageError("disconnect() needs a subject, a channel or both")
        if channel is not None:
            channel = check_channel(channel)
        order = revocation.Revocation(checked_subject(subject), channel, _checked_reason(reason), time.time())
        self._broker.submit([Publication(CONTROL_CHANNEL, order.envelope(), revocation.HISTORY)])

    def produce(self, items: Items, channel: str) -> str:
        """Publish what a generator yields as a *run*, in this thread, until it ends.

        For jobs of Celery, RQ or cron; ``new_run()`` gives the channel. Pages follow it from its start,
        whenever they come, and learn how it ended: ``stream-end`` has the reason, which is ``lost`` if this
        process is killed. While the broker is away it waits, for at most a minute.

        Args:
            items: What is published: data, or a ``Message``. Asynchronous ones are awaited in a loop of their
                own.
            channel: The run's.

        Returns:
            ``"finished"``, or ``"cancelled"``.

        Raises:
            UsageError: If the channel is not that of a run, or keeps no history.
            BrokerUnavailableError: If the broker stayed away.
            Exception: What the generator raised; pages are told ``failed``.
        """
        return Producer(self.line, channel, Source(items)).work(waits=True)

    def cancel(self, channel: str) -> None:
        """End a run, wherever it works: pages are told at once, its generator ends where it yields next.

        Raises:
            UsageError: If the channel is not that of a run.
            BrokerUnavailableError: If the broker did not take it within 2 seconds.
        """
        with deadline():
            cancel(self.line, check_channel(channel))

    def _checked(
        self,
        data: Any,
        *,
        channel: str = DEFAULT_CHANNEL,
        key: str | None = None,
        collapse: str | None = None,
        **fields: Any,
    ) -> Publication:
        channel = check_channel(channel)
        message = self.message_class(data, **fields)
        # Others may stand in for a producer, as tests do, but pages are gone for good after an end.
        check_type(message.type, channel, (END_TYPE,))
        if message.type in _SURPRISING_TYPES:
            warn_caller(_SURPRISING_TYPES[message.type])
        # Of its channel: the same word may mean something else in another one.
        replaced = None if collapse is None else f"{channel} {_checked_key('collapse', collapse)}"
        return self._publication(message, channel, replaced, _checked_key("key", key))

    def _checked_message(self, message: Message, channel: str) -> Publication:
        own = self.message_class(message.data, message.type, message.id, message.retry)
        return self._publication(own, channel)

    def _publication(
        self, message: Message, channel: str, collapse: str | None = None, key: str | None = None
    ) -> Publication:
        envelope = pack(message, collapse)
        # Most are so small that they need not be encoded to know that they fit.
        if _FRAME_GROWTH * len(envelope) > self._settings.max_event_bytes:
            size = len(message.frame())
            if size > self._settings.max_event_bytes:
                raise MessageTooLargeError(size, self._settings.max_event_bytes)
        own_id = None if message.id is None else str(message.id)
        return Publication(channel, envelope, self._settings.history_of(channel), own_id, key)

    def _send(self, publications: list[Publication]) -> list[Published]:
        try:
            receipts = self._broker.submit(publications)
        except BrokerUnavailableError as error:
            error.published = list(map(_published, error.published))
            raise
        return list(map(_published, receipts))

    def _send_committed(self, publications: list[Publication]) -> None:
        """Send the events of a transaction; nobody can send them again, so more of them have more time."""
        for start in range(0, len(publications), EVENTS_OF_A_CALL):
            self._send(publications[start : start + EVENTS_OF_A_CALL])

    def close(self) -> None:
        """Give back all connections; a later call opens new ones."""
        self._own_broker.close()
        self._hub_client.close()


def _published(receipt: Receipt) -> Published:
    cursor = None if receipt.cursor is None else str(receipt.cursor)
    return Published(receipt.receivers, cursor if receipt.own_id is None else receipt.own_id)


def _checked_events(events: Any) -> list[Mapping[str, Any]]:
    """Return events whose fields are those of ``publish``."""
    if isinstance(events, Mapping | str | bytes) or not isinstance(events, Iterable):
        raise UsageError(
            f"publish_many() needs a list of mappings such as {{'data': 7}}, not {shown(events)}"
        )
    checked = list(events)
    for number, event in enumerate(checked):
        _check_fields(f"event {number} of publish_many()", event)
    return checked


def _check_fields(name: str, event: Any) -> None:
    if not isinstance(event, Mapping):
        raise UsageError(f"{name} is {shown(event)}: it must be a mapping such as {{'data': 7}}")
    if "data" not in event:
        raise UsageError(f"{name} has no field data; it has {shown(list(event))}")
    for field in event:
        if field not in _FIELDS:
            near = difflib.get_close_matches(str(field), _FIELDS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(_FIELDS)
            raise UsageError(f"{name} has a field {shown(field)}: {hint}The fields are {known}")


def _checked_key(field: str, key: Any) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not key:
        raise InvalidMessageError(field, key, "it must be a string that is not empty")
    flaw = flaw_of_text(key, MAX_KEY_BYTES)
    if flaw is not None:
        raise InvalidMessageError(field, key, flaw)
    return plain_text(key)


def _checked_reason(reason: Any) -> str:
    flaw = flaw_of_text(reason) if isinstance(reason, str) else "it must be a string"
    if flaw is None and len(reason) > MAX_REASON_CHARACTERS:
        flaw = f"it has {len(reason)} characters, the most is {MAX_REASON_CHARACTERS}"
    if flaw is not None:
        raise UsageError(f"the reason cannot be used: {flaw}")
    return plain_text(reason)


class Publisher(LinkedPublisher):
    """Publishes events with nothing but the URL of the broker.

    Safe from every thread, greenlet and forked process. It connects when it is used.

    Args:
        url: The broker: ``redis://``, ``rediss://``, ``unix://``, ``valkey://``, or ``memory://NAME`` with
            the same name as in the application.
        config: Further settings by their names in ``app.config``.

    Raises:
        InvalidSettingError: If the URL or a setting cannot be used.

    Example::

        from flask_sse import Publisher

        Publisher("redis://localhost").publish({"done": 7}, type="progress", channel="job-1")
    """

    def __init__(self, url: str, **config: Any) -> None:
        if not url:
            hint = "Publisher needs the URL of the application's broker, such as redis://localhost"
            raise InvalidSettingError("url", url, hint)
        if isinstance(url, str):
            check_url("url", url)
        # A hub need not wait for the next publisher as it waits for the next application.
        defaults = {"SSE_BROKER_URL": url, "SSE_HUB_LINGER_SECONDS": 0}
        settings = Settings.from_mapping({**defaults, **config})
        warn_of_unknown_settings(config, set())
        hub_client = open_hub_client(settings)
        if override() is None and reaches_this_process_only(settings, hub_client):
            logger.warning(
                "Publisher(%r) with SSE_HUB=thread has a hub of its own, so its events reach no page; "
                "leave SSE_HUB out, or use a Redis URL",
                url,
            )
        super().__init__(settings, hub_client)
