"""Teardown functions of an application that raise: what a generator yields arrives whole all the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from tests.support.local import LocalServer, make_app
from tests.support.processes import wait_until
from werkzeug.wrappers import Response

from flask_sse import generator_methods, sse
from flask_sse.producing.slots import responses, runs


def work() -> Iterator[str]:
    yield "one"
    yield "two"


@pytest.fixture
def app() -> Flask:
    app = make_app(SSE_BROKER_URL="memory://teardown", SSE_HUB="thread")

    @app.teardown_request
    @app.teardown_appcontext
    def fail(_: BaseException | None) -> None:
        if threading.current_thread().name.startswith("flask-sse"):
            raise RuntimeError("the teardown failed")

    app.add_url_rule("/answer", "answer", lambda: sse.response(work()))
    app.add_url_rule("/run", "run", lambda: Response(sse.run(work())))
    return app


@pytest.mark.parametrize("path", ["/answer", "/run"])
def test_what_a_generator_yields_is_whole_and_the_log_says_what_failed(
    app: Flask, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    # 15, must hold
    with LocalServer(app) as server:
        if path == "/run":
            path = f"/stream?channel={server.get(path).body.decode()}"
        with server.stream(path) as stream:
            assert stream.wait_closed() == "eof"
            seen = [event.data for event in stream.events(3) if event.type != "run-begin"]
            assert seen[:2] == ["one", "two"]
            assert b"finished" in stream.raw
        wait_until(lambda: responses.taken + runs.taken == 0, what="the generators to be over")
        wait_until(lambda: "the teardown failed" in caplog.text, what="the log")


def test_a_response_whose_contexts_cannot_be_entered_has_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Callable[[], None]) -> None:
        raise RuntimeError("no context")

    monkeypatch.setattr(generator_methods, "call_in_contexts", lambda: fail)
    app = Flask("answers")
    app.add_url_rule("/answer", "answer", lambda: sse.response(work()))
    with LocalServer(app) as server, server.stream("/answer") as stream:
        assert stream.wait_closed() == "eof"
        assert [event.data for event in stream.events(1)] == ['{"reason": "failed"}']
    assert "no context" in caplog.text
