"""What Flask lets an application change is in the stream: JSON, responses, hooks, sessions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import flask
import pytest
from flask.json.provider import DefaultJSONProvider, JSONProvider
from tests.support.brokers import Broker
from tests.support.local import LocalServer, make_app

from flask_sse import InvalidMessageError
from flask_sse.wire.decode import Event

TAKEOVER = pytest.mark.parametrize("takeover", ["auto", "off"])


class Pretty(JSONProvider):
    """A provider that shares nothing with Flask's own."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        assert not kwargs, "options of Flask's own provider"
        return json.dumps(obj, indent=1, ensure_ascii=False)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return json.loads(s, **kwargs)


class WithLineFeed(Pretty):
    """As ``orjson.OPT_APPEND_NEWLINE`` does."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return super().dumps(obj) + "\n"


class WithSpaceFirst(Pretty):
    """JSON allows white space on both sides."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return " \n" + super().dumps(obj)


class Money(DefaultJSONProvider):
    """Flask's provider with its documented options changed."""

    sort_keys = False
    ensure_ascii = False

    @staticmethod
    def default(o: Any) -> Any:
        return f"{o:.2f} €" if isinstance(o, Decimal) else DefaultJSONProvider.default(o)


class NoNumber(Pretty):
    """It knows no rule for ``NaN`` and writes what no browser reads."""


class NullForNaN(Pretty):
    """It has a rule of its own."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return super().dumps(None if obj != obj else obj)  # noqa: PLR0124 - NaN is not itself


class NotJSON(Pretty):
    """It writes something else."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return f"{obj!r}"


@contextmanager
def serving(valkey: Broker, **config: Any) -> Iterator[LocalServer]:
    with LocalServer(make_app(REDIS_URL=valkey.url, **config)) as server:
        yield server


@pytest.fixture(params=["memory", "valkey"])
def app(request: pytest.FixtureRequest) -> flask.Flask:
    if request.param == "memory":
        return make_app(SSE_BROKER_URL=MEMORY_URL)
    return make_app(REDIS_URL=request.getfixturevalue("valkey").url)


MEMORY_URL = f"memory://flask-{uuid.uuid4().hex}"


@pytest.mark.parametrize("provider", [Pretty, WithLineFeed, WithSpaceFirst, Money, NullForNaN])
@pytest.mark.parametrize("data", [{"b": [1, {"c": "ü"}], "a": []}, 1.50, None])
def test_the_text_of_the_applications_json_provider_reaches_the_page_as_written(
    provider: type[JSONProvider], data: Any, app: flask.Flask, channel: str
) -> None:
    app.json = provider(app)
    with LocalServer(app) as server, server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        assert server.publish(data, type="json", id=1, channel=channel) == 1
        # White space around it is no part of the value.
        assert stream.next_event() == Event("json", app.json.dumps(data).strip(), "1")


def test_options_and_types_of_flasks_own_provider_hold(app: flask.Flask, channel: str) -> None:
    app.json = Money(app)
    with LocalServer(app) as server, server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        server.publish({"price": Decimal("1.5"), "id": uuid.UUID(int=1)}, channel=channel)
        data = '{"price": "1.50 €", "id": "00000000-0000-0000-0000-000000000001"}'
        assert stream.next_event().data == data


@pytest.mark.parametrize("provider", [None, NoNumber, NotJSON])
@pytest.mark.parametrize("data", [float("nan"), {"a": [float("inf")]}])
def test_what_no_browser_can_read_is_refused_when_it_is_published(
    provider: type[JSONProvider] | None, data: Any, app: flask.Flask, channel: str
) -> None:
    """Published, it would be dropped by the hub, and nobody would know."""
    if provider:
        app.json = provider(app)
    with LocalServer(app) as server:
        before = server.status()["foreign_dropped"]
        with pytest.raises(InvalidMessageError, match="data"):
            server.publish(data, channel=channel)
        assert server.status()["foreign_dropped"] == before


def test_a_providers_own_rule_for_nan_holds(app: flask.Flask, channel: str) -> None:
    app.json = NullForNaN(app)
    with LocalServer(app) as server, server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        assert server.publish(float("nan"), channel=channel) == 1
        assert stream.next_event().data == "null"


class Branded(flask.Response):
    """A response class of an application's own."""

    default_mimetype = "application/x-branded"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headers["X-Brand"] = "ours"

    def get_wsgi_headers(self, environ: Any) -> Any:
        headers = super().get_wsgi_headers(environ)
        headers["X-Path"] = environ["PATH_INFO"]
        return headers


@TAKEOVER
def test_a_response_class_of_the_application_is_the_streams_too(takeover: str, channel: str) -> None:
    app = make_app(SSE_BROKER_URL=MEMORY_URL, SSE_TAKEOVER=takeover)
    app.response_class = Branded
    seen: list[flask.Response] = []

    @app.after_request
    def see(response: flask.Response) -> flask.Response:
        seen.append(response)
        return response

    with LocalServer(app) as server:
        with server.stream(f"/stream?channel={channel}") as stream:
            stream.wait_opened()
            assert stream.headers["X-Brand"] == "ours"
            assert stream.headers["X-Path"] == "/stream"
            assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert server.publish("branded", channel=channel) == 1
            assert stream.next_event().data == "branded"
        assert server.get("/stream?channel=%00").headers["X-Brand"] == "ours"
    assert [isinstance(response, Branded) for response in seen] == [True, True]


@TAKEOVER
def test_headers_that_hooks_add_are_in_the_head_but_cookies_are_not(takeover: str, channel: str) -> None:
    app = make_app(SSE_BROKER_URL=MEMORY_URL, SSE_TAKEOVER=takeover)
    app.secret_key = "k"

    @app.before_request
    def remember() -> None:
        flask.session["visits"] = flask.session.get("visits", 0) + 1

        @flask.after_this_request
        def add(response: flask.Response) -> flask.Response:
            response.headers["X-Once"] = "this request"
            return response

    @app.after_request
    def add_marks(response: flask.Response) -> flask.Response:
        response.headers["Access-Control-Allow-Origin"] = "https://example.org"
        response.headers["X-Latin"] = "gr\xfc\xdfe"
        response.headers.add("Link", "<a>")
        response.headers.add("Link", "<b>")
        response.headers["Cache-Control"] = "private"
        response.set_cookie("who", "me")
        return response

    with LocalServer(app) as server, server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        assert stream.headers["X-Once"] == "this request"
        assert stream.headers["Access-Control-Allow-Origin"] == "https://example.org"
        assert stream.headers["X-Latin"] == "gr\xfc\xdfe"
        assert stream.headers.get_all("Link") == ["<a>", "<b>"]
        assert stream.headers["Cache-Control"] == "private"
        assert "Set-Cookie" not in stream.headers
        assert stream.raw.count(b"HTTP/1.1 200 OK") == 1


@TAKEOVER
def test_a_hook_that_answers_for_the_stream_is_the_answer(takeover: str, channel: str) -> None:
    """A hook may change its mind after the stream was made: nothing is opened for it."""
    app = make_app(SSE_BROKER_URL=MEMORY_URL, SSE_TAKEOVER=takeover)

    @app.after_request
    def refuse(response: flask.Response) -> flask.Response:
        if flask.request.args.get("how") == "status":
            response.status_code = 403
            return response
        return flask.Response("another", 404)

    with LocalServer(app) as server:
        before = server.status()["streams"]
        answer = server.get(f"/stream?channel={channel}&how=replace")
        assert (answer.status, answer.body) == (404, b"another")
        assert server.status()["streams"] == before
        with server.stream(f"/stream?channel={channel}&how=status") as stream:
            assert stream.status == 403
