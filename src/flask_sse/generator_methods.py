"""Generator methods of the blueprint: what a generator yields, for one page or as a run."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, current_app

from .door import has_ended, no_stream
from .extension import Message, broker_less_settings, call_in_contexts, current_extension, hint_of_g
from .producing.producer import Producer
from .producing.response import SourceServer, source_request
from .producing.run import start_run
from .producing.run_name import new_run
from .producing.source import Items, Source
from .serving.response import event_stream
from .stream_view import current_visit, in_place_of_stream
from .wire import message as wire_message


class GeneratorMethods:
    """What a view does with a generator."""

    def response(self, items: Items) -> Response:
        """Return a response that streams what a generator yields to this client, as it yields it.

        For what one page waits for, such as an LLM answer or the rows of an export. The generator
        works in a thread, with ``request``, ``session`` and the context variables of this request and a
        ``flask.g`` of its own, and the request holds no worker where the web server lets its socket be taken
        over. While it is silent comments keep the connection alive. When the
        client leaves, a generator ends where it yields next, and an asynchronous one is cancelled where it
        waits. In the end the page gets ``stream-end`` and does not reconnect: a client that names it as its
        ``Last-Event-ID``, or as ``?last_event_id=``, is answered with 204.

        The view's ``session`` and cookies are sent with the head, as with any other answer of a view.

        If the connection breaks, the page reconnects and the view is called again: for what must not begin
        again, see ``run``.

        Where ``SSE_MAX_RESPONSES`` are at work in this process, the page gets a comment and reconnects after
        30 to 90 seconds; the generator is not begun.

        Args:
            items: What is sent: data, or a ``Message``.

        Raises:
            UsageError: If the items cannot be iterated.
        """
        if has_ended(current_visit()):
            return in_place_of_stream(no_stream(HTTPStatus.NO_CONTENT))
        settings = broker_less_settings()
        server = SourceServer(Source(items, hint_of_g), _frame, call_in_contexts(), settings.max_responses)
        may_take_over = settings.takeover == "auto"
        asked = source_request(settings.rules)
        return event_stream(
            current_app.response_class, server, asked, may_take_over=may_take_over, may_set_cookies=True
        )

    def run(self, items: Items, channel: str | None = None) -> str:
        """Start a *run*: publish what a generator yields, in a thread, with or without readers.

        Any number of pages follow it from its start: ``new EventSource("/stream?channel=" + channel)``. They
        get ``run-begin``, the items, and ``stream-end`` with the reason: ``finished``, ``failed``,
        ``cancelled``, ``interrupted`` when this process exits, ``lost`` when it was killed. What they missed
        they get when they reconnect, for an hour. For a run that outlives deployments see
        ``Publisher.produce``.

        Args:
            items: What is published: data, or a ``Message``.
            channel: As ``new_run`` gives it; ``None`` for one that cannot be guessed.

        Returns:
            The channel.

        Raises:
            KeyError: If the application has no URL of a broker.
            UsageError: If the channel is not that of a run, or the items cannot be iterated.
            RunInProgressError: If another producer works on this run, or was killed less than 10 seconds ago.
            TooManyRunsError: If as many runs as ``SSE_MAX_RUNS`` are at work in this process.
        """
        channel = new_run() if channel is None else channel
        extension = current_extension()
        producer = Producer(extension.submitter.run_backend, channel, Source(items, hint_of_g))
        start_run(producer, call_in_contexts(), extension.settings.max_runs)
        return producer.channel


def _frame(item: object) -> bytes:
    return (item if isinstance(item, wire_message.Message) else Message(item)).frame()
