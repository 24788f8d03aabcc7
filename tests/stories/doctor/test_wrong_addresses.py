"""An address that has no stream is told apart from a stream that is ill."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, redirect
from flask.typing import ResponseReturnValue
from tests.support.diagnosis import HURRY, diagnose
from tests.support.local import LocalServer, local_app, serve
from tests.support.nginx import Nginx
from tests.support.processes import free_port
from tests.support.webservers import CERTIFICATE, KEY, make_certificate
from tests.support.webservers import start as start_server

from flask_sse import sse

Start = Callable[..., LocalServer]
APPS = Path(__file__).parent.parent / "integration" / "apps"


def html(*_: object, **__: object) -> ResponseReturnValue:
    return "<!doctype html><title>Welcome\x1b[31m</title>"


def test_no_server_listens_at_a_port(start: Start) -> None:
    found = diagnose(start().app, f"http://127.0.0.1:{free_port()}/stream")
    assert found.problems == ["The connection is refused"]


def test_a_host_without_an_address(start: Start) -> None:
    found = diagnose(start().app, f"http://{'a' * 64}.invalid/stream")
    assert found.problems == ["The host name cannot be resolved"]


def test_another_path_is_not_found(start: Start) -> None:
    server = start()
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/events")
    assert found.problems == ["There is no stream at this address"]
    assert any("flask routes" in line for line in found["There is no stream at this address"].hint["shell"])


def test_a_page_is_no_stream_and_its_escapes_do_not_reach_the_terminal(start: Start) -> None:
    server = start()
    server.app.add_url_rule("/page", view_func=html)
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/page")
    assert found.problems == ["The response is not an event stream"]
    assert (
        "text/html: <!doctype html><title>Welcome?[31m" in found["The response is not an event stream"].seen
    )


def test_a_page_to_sign_in_is_named_without_its_query(start: Start) -> None:
    server = start()
    server.app.before_request(lambda: redirect("/login?next=/stream&token=geheim"))
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/stream")
    assert found.problems == ["The request is redirected"]
    seen = found["The request is redirected"].seen
    assert seen == f"status 302 to http://127.0.0.1:{server.port}/login"


def test_a_slash_that_flask_adds_is_a_redirection_to_the_stream(start: Start) -> None:
    server = start()
    server.app.add_url_rule("/other/", view_func=html)
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/other")
    assert found["The request is redirected"].seen.endswith("/other/")


def test_a_proxy_without_an_application_behind_it(start: Start) -> None:
    with Nginx(free_port()) as nginx:
        found = diagnose(start().app, f"{nginx.url}/stream")
    assert found.problems == ["The proxy cannot reach the application"]
    assert "status 502 from nginx" in found["The proxy cannot reach the application"].seen


def test_an_application_that_fails(start: Start) -> None:
    server = start()
    server.app.add_url_rule("/fails", view_func=lambda: str(1 / 0))
    found = diagnose(server.app, f"http://127.0.0.1:{server.port}/fails")
    assert found.problems == ["The application fails"]


@pytest.mark.parametrize("config", [{}, {"SSE_HISTORY_SIZE": 0}])
def test_the_stream_of_another_application_is_one_where_nothing_arrives(
    start: Start, config: dict[str, object]
) -> None:
    server = start(**config)
    with local_app(SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}", SSE_HUB="thread") as other:
        found = diagnose(other, f"http://127.0.0.1:{server.port}/stream", HURRY)
    assert found.problems == ["Events do not arrive"]
    assert "0 of 5 arrived; publish returned 0 receivers" in found["Events do not arrive"].seen
    assert "another application" in found["Events do not arrive"].why


# -- TLS -------------------------------------------------------------------------------------------------


def test_a_certificate_is_checked_as_a_browser_does_and_http_2_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path)
    certificate, key = tmp_path / CERTIFICATE, tmp_path / KEY
    broker = f"memory://{uuid.uuid4().hex}"
    env = {"FLASK_SSE_BROKER_URL": broker, "FLASK_SSE_HEARTBEAT_SECONDS": "0.5"}
    options = ["--certfile", str(certificate), "--keyfile", str(key)]
    with (
        start_server("hypercorn", "plain:app", APPS, env, options) as server,
        local_app(SSE_BROKER_URL=broker, SSE_HEARTBEAT_SECONDS=0.5) as app,
    ):
        with app.app_context():
            sse.publish("x")  # starts the hub, whose start is not what is examined
        url = server.url.replace("http:", "https:") + "/stream"
        found = diagnose(app, url)
        assert found.problems == ["TLS fails"]
        assert "certificate" in found["TLS fails"].seen
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        found = diagnose(app, url)
        assert found.problems == []
        assert {"TLS", "HTTP/2"} <= set(found.titles("fine"))


def test_a_server_that_speaks_no_tls(start: Start) -> None:
    server = start()
    found = diagnose(server.app, f"https://127.0.0.1:{server.port}/stream")
    assert found.problems in (["TLS fails"], ["The connection is refused"])


def test_an_application_of_its_own_hub_process_is_seen_with_it() -> None:
    broker = f"memory://{uuid.uuid4().hex}"
    with serve(SSE_BROKER_URL=broker, SSE_HEARTBEAT_SECONDS=0.5) as server:
        pid = server.status()["pid"]  # its start is not what is examined
        # As the command does it: with an application of the same settings in another process.
        app = Flask("elsewhere")
        app.config.update(SSE_BROKER_URL=broker, SSE_HEARTBEAT_SECONDS=0.5)
        url = f"http://127.0.0.1:{server.port}/stream"
        found = diagnose(app, url)
        assert found.problems == []
        assert f"hub {pid} on this machine" in found["Takeover or relay"].seen
