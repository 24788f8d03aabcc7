"""Submitter: checks an application's events and submits them to its broker. No Flask."""

from __future__ import annotations

import builtins
import difflib
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

from .brokers.base import BrokerPublisher, Publication, Receipt
from .brokers.deadline import deadline
from .brokers.memory import MemoryPublisher
from .brokers.registry import open_publisher
from .caller import warn_caller
from .channels import CONTROL_CHANNEL, DEFAULT_CHANNEL, check_channel, requested_channels
from .errors import BrokerUnavailableError, InvalidMessageError, MessageTooLargeError, UsageError, shown
from .hub.client.hub_client import HubClient
from .hub.client.override import MEMORY_URL, active_override
from .hub.protocol import revocation
from .producing.commit import listen_to_sessions, send_on_commit
from .producing.producer import RunBackend
from .producing.run import cancel
from .settings import Settings
from .subjects import checked_subject
from .wire.envelope import pack
from .wire.message import Message
from .wire.run import END_TYPE, check_type
from .wire.text import flaw_of_text, plain_text

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


class Submitter:
    """What the methods of ``PublishMethods`` do, with the settings and the hub client of one application.

    Attributes:
        run_backend: What a run needs of it.
    """

    message_class: builtins.type[Message] = Message

    def __init__(self, settings: Settings, hub_client: HubClient) -> None:
        self._settings = settings
        self._hub_client = hub_client
        self._own_broker = open_publisher(settings.broker_url, hub_client)
        self.run_backend = RunBackend(lambda: self._broker, self._checked_message, settings.history_of)
        listen_to_sessions()

    @property
    def _broker(self) -> BrokerPublisher:
        override = active_override()
        if override is None:
            return self._own_broker
        return MemoryPublisher(MEMORY_URL, override.open_hub_client(self._settings))

    def checked(
        self,
        data: Any,
        *,
        channel: str = DEFAULT_CHANNEL,
        key: str | None = None,
        collapse: str | None = None,
        **fields: Any,
    ) -> Publication:
        """Return what ``submit`` takes, if the fields of ``publish`` can be sent."""
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

    def checked_many(self, events: Any) -> list[Publication]:
        """Return what ``submit`` takes for all events of ``publish_many``."""
        return [self.checked(**event) for event in _checked_events(events)]

    def submit(self, publications: list[Publication]) -> list[Published]:
        """Hand publications to the broker, in one round trip for each hundred."""
        try:
            receipts = self._broker.submit(publications)
        except BrokerUnavailableError as error:
            error.published = list(map(_published, error.published))
            raise
        return list(map(_published, receipts))

    def submit_on_commit(self, session: Any, event: Mapping[str, Any]) -> None:
        """Check one event now, and submit it when a session of SQLAlchemy has committed."""
        _check_fields("the event", event)
        send_on_commit(session, self._submit_committed, self.checked(**event))

    def _submit_committed(self, publications: list[Publication]) -> None:
        """Submit the events of a transaction: it cannot be done again, so many of them have more time."""
        for start in range(0, len(publications), EVENTS_OF_A_CALL):
            self.submit(publications[start : start + EVENTS_OF_A_CALL])

    def cursor(self, channels: Iterable[str]) -> str:
        """Return the position behind the last events of the channels that have a history."""
        kept = self._settings.kept(requested_channels(channels))
        return ",".join(map(str, self._broker.cursors(kept))) if kept else ""

    def revoke(self, subject: str | None, channel: str | None, reason: str) -> None:
        """Submit a revocation to all hubs."""
        if subject is None and channel is None:
            raise UsageError("disconnect() needs a subject, a channel or both")
        if channel is not None:
            channel = check_channel(channel)
        order = revocation.Revocation(checked_subject(subject), channel, _checked_reason(reason), time.time())
        self._broker.submit([Publication(CONTROL_CHANNEL, order.envelope(), revocation.HISTORY)])

    def cancel(self, channel: str) -> None:
        """End a run."""
        with deadline():
            cancel(self.run_backend, check_channel(channel))

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
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
