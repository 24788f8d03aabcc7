"""14.41: Werkzeug's development server takes no error of the broker for a client that left."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, free_port

APP = """
from flask import Flask, Response, stream_with_context
from flask_sse import sse

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "redis://127.0.0.1:{closed}"
app.register_blueprint(sse, url_prefix="/stream")

@app.get("/view")
def view():
    sse.publish("hello")
    return "published"

@app.get("/body")
def body():
    def parts():
        yield "first"
        sse.publish("hello")
    return Response(stream_with_context(parts()))

@app.get("/close")
def close():
    response = Response("done")
    @response.call_on_close
    def publish():
        with app.app_context():
            sse.publish("hello")
    return response
"""
MODES = {
    "no debug": ["run"],
    "debug": ["--debug", "run", "--no-reload"],
    "debug without debugger": ["--debug", "run", "--no-reload", "--no-debugger"],
}


@contextmanager
def flask_run(folder: Path, arguments: list[str]) -> Iterator[tuple[Process, int]]:
    (folder / "app.py").write_text(APP.format(closed=free_port()))
    port = free_port()
    argv = [sys.executable, "-m", "flask", "--app", "app", *arguments, "--port", str(port)]
    with Process(argv, cwd=folder, ready=port) as server:
        yield server, port


def status_of(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        try:
            response.read()
        except http.client.IncompleteRead:
            assert path == "/body"
        return response.status
    finally:
        connection.close()


@pytest.mark.parametrize("arguments", MODES.values(), ids=MODES)
def test_an_error_of_a_view_is_answered_with_500_and_logged(tmp_path: Path, arguments: list[str]) -> None:
    with flask_run(tmp_path, arguments) as (server, port):
        assert status_of(port, "/view") == 500
        server.wait_for_line("RedisUnavailableError: ")
        assert "Traceback (most recent call last)" in server.output()


@pytest.mark.parametrize("path", ["/body", "/close"])
@pytest.mark.parametrize("arguments", MODES.values(), ids=MODES)
def test_an_error_after_the_view_is_logged(tmp_path: Path, arguments: list[str], path: str) -> None:
    with flask_run(tmp_path, arguments) as (server, port):
        status_of(port, path)
        server.wait_for_line("RedisUnavailableError: ")
        assert "Traceback (most recent call last)" in server.output()
