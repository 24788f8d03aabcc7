"""Blueprint: the face of the package to Flask, with the names and signatures of 1.0."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import redis
from flask import Blueprint, Flask, Response, current_app, has_request_context, request, url_for
from flask.sansio.app import App

from .access import Access, make_ticket
from .brokers.redis.client import redis_py_url
from .caller import warn_caller
from .channels import DEFAULT_CHANNEL, requested_channels
from .errors import SSEError, UsageError
from .extension import (
    Message,
    announce_from_now_on,
    check_configuration,
    current_extension,
)
from .generator_methods import GeneratorMethods
from .message_stream import listen
from .producing.commit import listen_to_sessions
from .publisher import PublishMethods
from .rights import note_begin_of_requests
from .serving.dev_server import BrokerErrorsOfDevServer
from .sessions import save_no_session
from .settings import redis_url
from .stream_view import allow_origin, answer_preflight, stream_endpoint, stream_response
from .submitter import Submitter
from .ticket_log_filter import keep_tickets_out_of_logs
from .tickets import TICKET

OVERRIDES_MESSAGES = (
    "{} overrides messages(), so its streams come from there, as in Flask-SSE 1.0: one channel and a thread "
    "for each page (at most SSE_MAX_RESPONSES in a process), and nothing of what a page missed; "
    "sse.disconnect() and the limits of streams do not reach them. To move: publish what a page may see on a "
    "channel of its own, say with @authorize who may listen to it, and remove messages()"
)
OVERRIDES_REDIS = (
    "{} overrides redis, which is not used: events go to, and come from, the server in SSE_BROKER_URL, "
    "SSE_REDIS_URL or REDIS_URL. To move: set one of them to the URL of that server, and remove redis"
)

F = TypeVar("F", bound=Callable[..., Any])


class ServerSentEventsBlueprint(PublishMethods, GeneratorMethods, Blueprint):
    """A blueprint that knows how to publish and to stream server-sent events.

    It keeps nothing of an application, so one instance serves several applications of a process.
    Guards added with ``before_request`` before it is registered run for every stream.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._access = Access()
        self.before_request(self._answer_preflight)
        self.after_request(self._allow_origin)
        self.app_context_processor(lambda: {self.name: self})

    def register(self, app: App, options: dict[str, Any]) -> None:
        """See Flask. Pages that were opened through an earlier process of the application stay connected.

        Raises:
            InvalidSettingError: If a setting that is there cannot be used. More may be set later.
            UsageError: If its streams would have no address.
        """
        check_configuration(app)
        try:
            super().register(app, options)
        except ValueError as error:
            # Werkzeug's words name neither the blueprint nor what is missing.
            if "start with a slash" in str(error):
                hint = f"app.register_blueprint({self.name}, url_prefix='/stream')"
                raise UsageError(f"{self.name} needs an address for its streams: {hint}") from error
            raise
        if self._overrides_messages:
            warn_caller(OVERRIDES_MESSAGES.format(type(self).__name__))
        if type(self).redis is not ServerSentEventsBlueprint.redis:
            warn_caller(OVERRIDES_REDIS.format(type(self).__name__))
        keep_tickets_out_of_logs()
        note_begin_of_requests(app)
        announce_from_now_on(app)
        listen_to_sessions()
        if isinstance(app, Flask):
            app.wsgi_app = BrokerErrorsOfDevServer(app.wsgi_app)  # type: ignore[method-assign]

    # -- who may listen ------------------------------------------------------------------------

    def authorize(self, may_listen: F) -> F:
        """Decorate the function that tells who may listen to a channel.

        It is called in the request of each stream, for every channel that is requested, and again
        whenever the client reconnects. If it rejects one, the request is answered with 403. What it writes
        into ``session`` is dropped.

        Example::

            @sse.authorize
            def may_listen(channel):
                return channel == f"user-{session['user_id']}"
        """
        self._access.set_may_listen(may_listen)
        return may_listen

    def identify(self, subject: F) -> F:
        """Decorate the function that returns who the visitor of a request is.

        What it returns, as text of up to 256 characters, is the stream's *subject*: ``disconnect`` ends the
        streams of one, and ``SSE_MAX_STREAMS_PER_SUBJECT`` counts them. ``None`` means that the visitor
        is unknown. Without such a function it is the user id of Flask-Login, where the application uses that.
        """
        self._access.set_subject_of_request(subject)
        return subject

    def url(
        self,
        *channels: str,
        subject: str | None = None,
        expires_in: float = 3600,
        cursor: bool = False,
        external: bool = False,
    ) -> str:
        """Return the address of a stream, with a *ticket* that lets each client listen that has it.

        For pages that have no session of this application: those of other origins, and cached ones. The
        rules of ``authorize`` are not asked. The ticket is signed with ``SECRET_KEY``; keys of
        ``SECRET_KEY_FALLBACKS`` are still known. In templates: ``{{ sse.url("news") }}``.

        Args:
            channels: All that the stream may listen to; none means the channel ``sse``.
            subject: The user it belongs to; ``None`` for the visitor of this request, if there is one.
            expires_in: When the right ends, in seconds from now, at most a day. The stream ends then.
            cursor: Whether the stream is to begin with what is published from now on, so that nothing falls
                between the state that the page shows and its first event.
            external: Whether to return the whole address, with scheme and host.

        Raises:
            InvalidSettingError: If there is no ``SECRET_KEY``.
            InvalidChannelError: If a channel's name cannot be used.
            UsageError: If the time or the subject cannot be used, or the blueprint is not registered.
            BrokerUnavailableError: If the broker did not tell the cursor within 2 seconds.
        """
        names = requested_channels(channels)
        if subject is None and has_request_context():
            subject = self._access.subject()
        ticket = make_ticket(names, subject, expires_in)
        values: dict[str, Any] = {"channel": list(names), TICKET: ticket}
        if cursor:
            values["last_event_id"] = self.cursor(*names)
        return url_for(stream_endpoint(self, self.stream), _external=external, **values)

    @property
    def _view(self) -> Callable[..., Any] | None:
        """The view of this request; ``None`` if no address was found for it."""
        return current_app.view_functions.get(request.endpoint or "")

    @property
    def _is_for_a_stream(self) -> bool:
        """Whether this request is for ``stream``, also behind decorators, which may guard it."""
        view = self._view
        return view is not None and inspect.unwrap(view) == self.stream

    def _answer_preflight(self) -> Response | None:
        if request.method != "OPTIONS" or not self._is_for_a_stream:
            return None
        return answer_preflight(current_extension().settings)

    def _allow_origin(self, response: Response) -> Response:
        """Let pages read what guards and errors answer, too."""
        if self._is_for_a_stream:
            # Without settings the request has failed with a better error.
            with contextlib.suppress(KeyError, SSEError):
                allow_origin(response, current_extension().settings)
        return response

    # -- events --------------------------------------------------------------------------------

    def _submitter(self) -> Submitter:
        return current_extension().submitter

    def messages(self, channel: str = DEFAULT_CHANNEL) -> Iterator[Message]:
        """Listen to a channel from Python.

        What is published after this call has returned is yielded, also what was published while the
        broker could not be reached. It continues until it is closed.

        Yields:
            Messages with their data as it was published, so that an object stays an object.

        Raises:
            KeyError: If the application has no URL of a broker.
            InvalidChannelError: If the channel's name cannot be used.
            HubUnavailableError: If no hub took the stream, or the hub ended it, which it also does when
                messages were lost with the broker; what is published until the next call is missed.
        """
        extension = current_extension()
        received = listen(extension.hub_client, extension.settings, channel)
        return (Message(message.data, message.type, message.id, message.retry) for message in received)

    def stream(self, *channels: str) -> Response:
        """Answer a request with an event stream.

        ``?channel=`` names what it listens to, once or several times; without it, the channel ``sse``. A view
        of the application's own may name the channels instead::

            @app.get("/my-events")
            @login_required
            def my_events():
                return sse.stream(f"user-{current_user.id}", "news")

        It resumes behind what the client sends as ``Last-Event-ID``, or else ``?last_event_id=``: the
        id of an event, a cursor, or ``earliest`` for all that is kept.

        It sets no cookie and saves no session: what was written into ``session`` in its request, by
        ``authorize`` or before, is dropped.

        Args:
            channels: What it listens to, whatever the request asks for. The view decides then who may
                listen, and ``authorize`` is not asked. None means those of the request.

        Returns:
            A response that holds no worker where the web server lets its socket be taken over. The
            request and application contexts end when it begins. A channel that cannot be used is
            answered with 400 and a text that says why, a visitor who may not listen with 403, and one whose
            stream has ended for good with 204.

        Raises:
            KeyError: If the application has no URL of a broker.
        """
        save_no_session()
        extension = current_extension()
        if request.method == "OPTIONS":
            # A view of the application's own, which lets its guard and this see the question of a browser.
            return answer_preflight(extension.settings) or current_app.make_default_options_response()
        return stream_response(
            extension,
            self._access,
            channels,
            is_guarded=self._view != self.stream or self._is_guarded(),
            messages=(lambda channel: self.messages(channel=channel)) if self._overrides_messages else None,
        )

    @property
    def _overrides_messages(self) -> bool:
        return getattr(self.messages, "__func__", None) is not ServerSentEventsBlueprint.messages

    def _is_guarded(self) -> bool:
        """Return whether a guard of the blueprint, or of one around it, was asked."""
        guards = [
            guard for name in request.blueprints for guard in current_app.before_request_funcs.get(name, ())
        ]
        return any(guard != self._answer_preflight for guard in guards)

    def status(self, *, details: bool = False) -> dict[str, Any]:
        """Return the state of the hub.

        Args:
            details: Whether to return rates and the busiest channels, too, which costs the hub more.

        Returns:
            Counts by name. ``streams``, ``channels`` and ``apps`` that are open now; ``opened``, ``events``,
            ``deliveries``, ``lost_runs``, ``resumed``, ``resets``, ``rejected`` (of these by a limit
            ``rejected_subject``, ``rejected_address``, ``rejected_channels``, ``rejected_stream_channels``
            and ``rejected_reads``), ``revoked`` by ``disconnect``, ``foreign_dropped`` and ``ended_slow``
            since the hub started; ``broker_away``; and the ``pid`` of the hub. With ``details`` also
            ``events_per_second`` and ``deliveries_per_second`` over the last
            10 seconds, ``backlog_bytes`` that wait for all clients, and the ``busiest`` channels and the
            ``slowest`` clients.

        Raises:
            KeyError: If the application has no URL of a broker.
            HubUnavailableError: If no hub answered.
        """
        hub_client = current_extension().hub_client
        return hub_client.details() if details else hub_client.status()

    @property
    def redis(self) -> redis.Redis:
        """A client of the Redis server in ``SSE_REDIS_URL`` or ``REDIS_URL``.

        Raises:
            KeyError: If neither is set.
        """
        url = redis_url(current_app.config)
        clients = current_app.extensions.setdefault("sse.redis", {})
        if url not in clients:
            clients[url] = redis.Redis.from_url(redis_py_url(url))
        client: redis.Redis = clients[url]
        return client


sse = ServerSentEventsBlueprint("sse", __name__)
sse.add_url_rule(rule="", endpoint="stream", view_func=sse.stream)
