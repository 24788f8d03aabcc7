"""What users see of the test kit and of views is public: signatures, representations, types of views."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from tests.support.local import make_app

import flask_sse
from flask_sse import ServerSentEventsBlueprint, sse, testing
from flask_sse.testing import capture, containing, event, open_stream

PUBLIC = {id(getattr(module, name)) for module in (flask_sse, testing) for name in module.__all__}


def members(name: str) -> Iterator[Callable[..., Any]]:
    """Yield what users can call: the object itself, and the methods and properties of a class."""
    named = getattr(testing, name)
    if not inspect.isclass(named):
        yield named
        return
    yield named.__init__
    for key, value in vars(named).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if inspect.isfunction(function) and (not key.startswith("_") or key == "__getitem__"):
            yield function


def types_in(hint: object) -> Iterator[object]:
    yield hint
    for argument in typing.get_args(hint):
        yield from types_in(argument)


@pytest.mark.parametrize("name", testing.__all__)
def test_signatures_of_the_test_kit_name_no_internal_type(name: str) -> None:
    # 42
    functions = list(members(name))
    assert functions
    for function in functions:
        for parameter, hint in typing.get_type_hints(function).items():
            for each in types_in(hint):
                module = getattr(each, "__module__", "") or ""
                assert not module.startswith("flask_sse") or id(each) in PUBLIC, (function, parameter, each)


def test_representations_of_the_test_kit_name_no_internal_type() -> None:
    # 42
    app = make_app()
    with (
        capture() as events,
        open_stream(app.test_client(), "/stream?channel=a") as stream,
        app.app_context(),
    ):
        sse.publish({"a": 1}, channel="a")
        shown = [
            repr(each) for each in (stream, stream.next(), events, events[0], event(data=containing(a=1)))
        ]
    assert shown[0] == "<LiveStream of /stream?channel=a: 1 event, open>"
    assert not any("flask_sse" in each or " object at " in each for each in shown), shown


# These two are what ``make lint`` checks: a view of an application is typed with Flask's response.


def response() -> flask.Response:
    return sse.response(["x"])


def stream() -> flask.Response:
    return sse.stream()


def test_views_may_be_typed_with_the_response_of_flask() -> None:
    # 42
    for method in (ServerSentEventsBlueprint.stream, ServerSentEventsBlueprint.response):
        assert typing.get_type_hints(method)["return"] is flask.Response
    app = make_app(SSE_BROKER_URL="memory://typed")
    with app.test_request_context(), capture():
        assert isinstance(response(), flask.Response)
        assert isinstance(stream(), flask.Response)
