"""Publisher: publish from anywhere, such as a web application, a worker or a cron job. No Flask needed."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from .channels import DEFAULT_CHANNEL
from .errors import InvalidSettingError
from .hub.client.open_client import open_hub_client, reaches_this_process_only
from .hub.client.override import active_override
from .producing.producer import Producer
from .producing.source import Items, Source
from .settings import Settings, warn_of_unknown_settings
from .submitter import Published, Submitter
from .urls import check_url

logger = logging.getLogger(__name__)


class PublishMethods(ABC):
    """What an application does with events, runs and streams, the same with and without Flask."""

    @abstractmethod
    def _submitter(self) -> Submitter:
        """Return what the events go through.

        Raises:
            KeyError: If the application has no URL of a broker.
            InvalidSettingError: If a setting cannot be used.
        """

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
        """Publish one event to every page that listens to ``channel``.

        Args:
            data: A string is sent as it is, anything else as JSON; in Flask by the application's provider.
            type: The event type that a page listens to; ``None`` means ``message``.
            id: The event id that a page sees; ``None`` lets the broker give one.
            retry: The reconnection time of the clients, in milliseconds.
            channel: Where it is published: streams that listen to this channel get it.
            key: Idempotency key: a second publication with the same key on the same channel within 5 minutes
                sends nothing and returns what the first one returned. So a publication that failed may be
                tried again.
            collapse: What it replaces, such as ``"AAPL"``: a page that is behind does not get earlier events
                of this channel with the same one that it has not got yet. Others get all of them, and so do
                those that reconnect.

        Returns:
            The number of receivers, which also has the event's ``id``. For ``memory://`` these are
            streams, for Redis hubs and streams of 1.0.

        Raises:
            KeyError: If the Flask application has no URL of a broker.
            InvalidMessageError: If a field cannot be sent.
            InvalidChannelError: If the channel's name cannot be used.
            MessageTooLargeError: If the event is over ``SSE_MAX_EVENT_BYTES`` on the wire.
            BrokerUnavailableError: If the broker did not take it within 2 seconds.
        """
        submitter = self._submitter()
        fields = {"type": type, "id": id, "retry": retry}
        event = submitter.checked(data, channel=channel, key=key, collapse=collapse, **fields)
        return submitter.submit([event])[0]

    def publish_many(self, events: Iterable[Mapping[str, Any]]) -> list[Published]:
        """Publish several events, to one channel or to several, in one round trip for each hundred.

        Nothing is published if one of them is refused before the broker is asked.

        Args:
            events: For each event the arguments of ``publish`` by their names.

        Returns:
            What ``publish`` returns, for each.

        Raises:
            KeyError: If the Flask application has no URL of a broker.
            BrokerUnavailableError: If the broker did not take all of them together within 2 seconds. Its
                ``published`` has what became of the first ones, as far as it is known.
            UsageError: As ``publish``.
        """
        submitter = self._submitter()
        return submitter.submit(submitter.checked_many(events))

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
            KeyError: If the Flask application has no URL of a broker.
            UsageError: As ``publish``, if it is no session, or if it has ``autobegin=False`` and has begun
                no transaction.
        """
        self._submitter().submit_on_commit(session, {"data": data, **fields})

    def cursor(self, *channels: str) -> str:
        """Return the position behind the last event of a channel, or of several.

        Take it before the state of a page is read, and give it to the page as ``?last_event_id=`` of its
        stream over the same channels: what is published from now on arrives, and nothing falls in between.

        Args:
            channels: Those of the stream, in any order; none means the channel ``sse``.

        Returns:
            A text for a URL; empty where none of the channels has a history.

        Raises:
            KeyError: If the Flask application has no URL of a broker.
            InvalidChannelError: If a channel's name cannot be used.
            BrokerUnavailableError: If the broker did not answer within 2 seconds.
        """
        return self._submitter().cursor(channels)

    def disconnect(
        self, *, subject: str | None = None, channel: str | None = None, reason: str = "disconnected"
    ) -> None:
        """End streams on every hub, within a second. Their pages get ``stream-end`` and do not reconnect.

        Tickets that were made before are revoked, and so are rights of requests that began before. A page
        that is loaded again is asked for its right again, so take that away first. A request that calls this
        may give rights again: a ticket that it makes afterwards is valid.

        Args:
            subject: Those of this subject; ``None`` for those of all subjects.
            channel: Those that listen to this channel, also where they listen to others, too.
            reason: What the pages receive as the reason, up to 1000 characters.

        Raises:
            KeyError: If the Flask application has no URL of a broker.
            UsageError: If neither subject nor channel is given, or the subject or the reason cannot be used.
            InvalidChannelError: If the channel's name cannot be used.
            BrokerUnavailableError: If the broker did not take it within 2 seconds.
        """
        self._submitter().revoke(subject, channel, reason)

    def cancel(self, channel: str) -> None:
        """End a run in any process: its pages receive it at once, its generator ends where it yields next.

        Raises:
            KeyError: If the Flask application has no URL of a broker.
            UsageError: If the channel is not that of a run.
            BrokerUnavailableError: If the broker did not take it within 2 seconds.
        """
        self._submitter().cancel(channel)


class Publisher(PublishMethods):
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
        if active_override() is None and reaches_this_process_only(settings, hub_client):
            logger.warning(
                "Publisher(%r) with SSE_HUB=thread has a hub of its own, so its events reach no page; "
                "leave SSE_HUB out, or use a Redis URL",
                url,
            )
        self._own_submitter = Submitter(settings, hub_client)

    def _submitter(self) -> Submitter:
        return self._own_submitter

    def produce(self, items: Items, channel: str) -> str:
        """Publish what a generator yields as a *run*, in this thread, until it ends.

        For jobs of Celery, RQ or cron; ``new_run()`` gives the channel. Pages follow it from its start,
        whenever they come, and receive how it ended: ``stream-end`` has the reason, which is ``lost`` if this
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
            Exception: What the generator raised; pages receive ``failed``.
        """
        return Producer(self._own_submitter.run_backend, channel, Source(items)).work(waits=True)

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        self._own_submitter.close()
