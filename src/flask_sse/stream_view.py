"""The view of streams in Flask: a request becomes a visit, and what the door decides on it a response."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, current_app, has_request_context, request

from .access import Access, signing_keys, warn_of_blocked_origin
from .cors import blocked_origin, cors_headers, is_preflight, preflight
from .door import Admitted, Question, Rules, TooManyChannels, answered, decide
from .errors import HubError, UsageError
from .extension import Extension, call_in_contexts, hint_of_g
from .hub.protocol.hub_events import goodbye
from .hub.protocol.requests import STREAM_CHANNELS
from .hub.protocol.stream_request import FRAMES
from .jitter import draw_ms
from .producing.response import SourceServer, source_request
from .producing.source import Source
from .serving.response import event_stream, without_cookies
from .settings import Settings
from .visit import Answer, Visit

# Yields what an overridden ``messages`` does for a channel.
Messages = Callable[[str], Iterable[object]]


def current_visit() -> Visit:
    """Return the request of now as the door sees it."""
    headers = {
        # Clients send UTF-8, and WSGI shows each byte as a character.
        name.lower(): value.encode("latin-1", "replace").decode(errors="replace")
        for name, value in request.headers
    }
    return Visit(
        request.method,
        request.path,
        request.args.to_dict(flat=False),
        headers,
        request.remote_addr,
        # Flask checks the host for it, which is no matter of requests without an origin.
        request.host_url.rstrip("/") if "origin" in headers else "",
    )


def answer_preflight(settings: Settings) -> Response | None:
    """Return the answer to this request if it is a preflight of a page that may listen."""
    visit = current_visit()
    if not is_preflight(visit):
        return None
    _log_blocked_origin(visit, settings)
    answer = preflight(visit, settings)
    return None if answer is None else Response(answer.body, answer.status, answer.headers)


def allow_origin(response: Response, settings: Settings) -> None:
    """Let the page of this request read an answer if its origin may; twice does no harm."""
    visit = current_visit()
    _log_blocked_origin(visit, settings)
    _add_headers(response, cors_headers(visit, settings))


def stream_response(
    extension: Extension,
    access: Access,
    named: tuple[str, ...],
    *,
    is_guarded: bool,
    messages: Messages | None,
) -> Response:
    """Return the response to this request of a stream.

    Args:
        extension: Of the application.
        access: The rules of the blueprint.
        named: The channels that the view names; empty where the request names them.
        is_guarded: Whether a guard may have been asked.
        messages: What the stream consists of in place of what the hub sends; ``None`` for that.
    """
    settings = extension.settings
    visit = current_visit()
    rules = Rules(
        settings,
        signing_keys(),
        named,
        has_rule=access.may_listen is not None,
        is_guarded=is_guarded,
        max_channels=None if messages is None else 1,
    )

    def answer(question: Question) -> Any:
        if isinstance(question, TooManyChannels):
            with contextlib.suppress(HubError):
                extension.hub_client.count_rejected(STREAM_CHANNELS)
        return access.answer(question)

    outcome = answered(decide(visit, rules, time.time()), answer)
    _log_blocked_origin(visit, settings)
    if isinstance(outcome, Answer):
        return in_place_of_stream(outcome)
    if messages is None:
        response = _stream_of_hub(extension, outcome)
    else:
        response = _stream_of_messages(messages, settings, outcome)
    _add_headers(response, outcome.headers)
    return response


def _stream_of_hub(extension: Extension, admitted: Admitted) -> Response:
    return event_stream(
        current_app.response_class,
        extension.hub_client,
        admitted.request,
        may_take_over=extension.settings.takeover == "auto",
        may_set_cookies=False,
    )


def in_place_of_stream(answer: Answer) -> Response:
    """Return an answer of the application's own response class, which sets no cookie."""
    return without_cookies(current_app.response_class)(answer.body, answer.status, answer.headers)


def stream_endpoint(blueprint: Blueprint, view: Callable[..., Any]) -> str:
    """Return the endpoint of a blueprint's streams: Flask prefixes it with the name of the registration.

    Raises:
        UsageError: If the current application has none.
    """
    names = [name for name, each in current_app.blueprints.items() if each is blueprint]
    # Registered several times, it is that of the request at hand, or else the one without another name.
    around = request.blueprints if has_request_context() else []
    names.sort(key=lambda name: (name not in around, name != blueprint.name))
    views = current_app.view_functions
    endpoints = [f"{name}.stream" for name in names if f"{name}.stream" in views]
    endpoints += [
        endpoint
        for name in names
        for endpoint in views
        if endpoint.rpartition(".")[0] == name
        if views[endpoint] == view
    ]
    if not endpoints:
        raise UsageError(
            f"the blueprint {blueprint.name!r} has no address of streams in this application: "
            f"app.register_blueprint({blueprint.name}, url_prefix='/stream'), and before that, with a "
            f"blueprint of your own, {blueprint.name}.add_url_rule('', 'stream', {blueprint.name}.stream)"
        )
    return endpoints[0]


def _stream_of_messages(messages: Messages, settings: Settings, admitted: Admitted) -> Response:
    """Return a stream of what an overridden ``messages`` yields, as 1.0 did: it may hide events."""
    (channel,) = admitted.request.channels

    def items() -> Iterable[object]:
        # A generator, so that the application's code begins in the thread of the stream.
        yield from messages(channel)

    grant = admitted.request.grant
    ends = [end for end in (grant.ends_in, settings.rules.max_stream_seconds) if end is not None]
    server = SourceServer(
        Source(items(), hint_of_g),
        lambda message: str(message).encode(),
        call_in_contexts(),
        settings.max_responses,
        # Whatever ended it, the page reconnects, and its right is checked again.
        lambda _: goodbye(FRAMES, draw_ms(settings.rules.retry_ms)),
    )
    return event_stream(
        current_app.response_class,
        server,
        replace(source_request(settings.rules), grant=replace(grant, ends_in=min(ends, default=None))),
        may_take_over=settings.takeover == "auto",
        may_set_cookies=False,
    )


def _add_headers(response: Response, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if name == "Vary":
            response.vary.add(value)
        else:
            response.headers[name] = value


def _log_blocked_origin(visit: Visit, settings: Settings) -> None:
    text = blocked_origin(visit, settings)
    if text is not None:
        warn_of_blocked_origin(text)
