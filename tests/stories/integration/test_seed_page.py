"""Each sentence of the configuration page of Flask-SSE 1.0: it holds, or it is surpassed."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import flask
import pytest
import redis
from tests.support import webservers
from tests.support.brokers import Broker, start_valkey
from tests.support.local import LocalServer, local_app, make_app, serve
from tests.support.processes import wait_until
from tests.support.webservers import RunningServer

from flask_sse import sse

APPS = Path(__file__).parent / "apps"

Start = Callable[[str], RunningServer]


@pytest.fixture(scope="module")
def start(valkey: Broker) -> Iterator[Start]:
    """Start web servers of the smallest application, each once for all tests."""
    with ExitStack() as stack:
        running: dict[str, RunningServer] = {}

        def start_once(name: str) -> RunningServer:
            if name not in running:
                env = {"FLASK_REDIS_URL": valkey.url}
                running[name] = stack.enter_context(webservers.start(name, "plain:app", APPS, env))
            return running[name]

        yield start_once


@contextmanager
def streams_that_work(server: RunningServer, channel: str, count: int = 1) -> Iterator[None]:
    """Open streams, and see that an event which the server publishes meanwhile reaches all of them."""
    with ExitStack() as stack:
        path = f"/stream?channel={channel}"
        streams = [stack.enter_context(server.stream(path)) for _ in range(count)]
        for stream in streams:
            stream.wait_opened()
        event = quote(json.dumps({"data": "hello", "channel": channel}))
        assert server.get(f"/publish?event={event}").body == b"1"  # one hub
        for stream in streams:
            assert stream.next_event().data == "hello"
        yield


# -- Redis ------------------------------------------------------------------------------------------


def test_in_order_to_use_flask_sse_you_need_a_redis_server_to_handle_pubsub(channel: str) -> None:
    """Surpassed: ``memory://`` needs no server."""
    with (
        serve(SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}") as server,
        server.stream(f"/stream?channel={channel}") as stream,
    ):
        stream.wait_opened()
        assert server.publish("hello", channel=channel) == 1
        assert stream.next_event().data == "hello"


def test_flask_sse_will_search_the_application_config_for_a_redis_connection_url(
    valkey: Broker, channel: str
) -> None:
    """Holds, and whatever fills the config before it is used will do."""
    with LocalServer(make_app()) as server:
        server.app.config["REDIS_URL"] = valkey.url
        with server.stream(f"/stream?channel={channel}") as stream:
            stream.wait_opened()
            assert server.publish("hello", channel=channel) == 1


def test_it_will_try_sse_redis_url_then_redis_url_in_order(
    valkey: Broker, redis_server: Broker, channel: str
) -> None:
    """Holds."""
    both = {"SSE_REDIS_URL": valkey.url, "REDIS_URL": redis_server.url}
    for config, url in ((both, valkey.url), ({"REDIS_URL": redis_server.url}, redis_server.url)):
        with (
            serve(**config) as server,
            contextlib.closing(redis.Redis.from_url(url)) as expected,
            server.stream(f"/stream?channel={channel}") as stream,
        ):
            stream.wait_opened()
            assert expected.pubsub_numsub(channel) == [(channel.encode(), 1)]
            assert server.publish("hello", channel=channel) == 1
            assert stream.next_event().data == "hello"


def test_it_raises_a_key_error_any_time_a_client_accesses_the_stream_or_an_event_is_published() -> None:
    """Holds."""
    with local_app() as app:
        app.testing = True
        for _ in range(2):
            with pytest.raises(KeyError, match="Must set a redis connection URL in app config"):
                app.test_client().get("/stream")
            with (
                app.app_context(),
                pytest.raises(KeyError, match="Must set a redis connection URL in app config"),
            ):
                sse.publish("hello")


def test_we_recommend_that_you_set_this_url_in_an_environment_variable_using_os_environ(
    valkey: Broker, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holds; where the variable is not set, the application starts and says what is missing when asked."""
    for url in (valkey.url, None):
        monkeypatch.delenv("REDIS_URL", raising=False)
        if url:
            monkeypatch.setenv("REDIS_URL", url)
        app = make_app()
        app.config["REDIS_URL"] = os.environ.get("REDIS_URL")
        with LocalServer(app) as server:
            if url is None:
                assert server.get("/stream").status == 500
                continue
            assert server.publish("to nobody", channel=channel) == 0


def test_if_you_are_using_a_redis_server_that_has_a_password_use_it_in_the_url(channel: str) -> None:
    """Holds, with ``localhost`` as on the page."""
    with start_valkey(password="password") as broker:
        url = broker.url.replace("127.0.0.1", "localhost")
        assert url.startswith("redis://:password@localhost")
        with serve(REDIS_URL=url) as server, server.stream(f"/stream?channel={channel}") as stream:
            stream.wait_opened()
            assert server.publish("hello", channel=channel) == 1
            assert stream.next_event().data == "hello"


# -- Application server -----------------------------------------------------------------------------


def test_flask_sse_does_not_work_with_flasks_built_in_development_server(start: Start, channel: str) -> None:
    """Surpassed: it does."""
    with streams_that_work(start("flask-single"), channel):
        pass


def test_an_http_request_to_the_event_stream_will_effectively_never_complete(channel: str) -> None:
    """Surpassed: for the client it goes on, for the web server it is complete as soon as it has begun."""
    app = make_app(SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}")
    ended: list[str] = []
    app.teardown_request(lambda _: ended.append(flask.request.path))
    with LocalServer(app) as server, server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        wait_until(lambda: ended == ["/stream"], what="the end of the request")
        assert server.publish("goes on", channel=channel) == 1
        assert stream.next_event().data == "goes on"


def test_flasks_development_server_can_only_handle_one_http_request_at_a_time(
    start: Start, channel: str
) -> None:
    """Holds for requests (of the server without threads), but streams are none."""
    with streams_that_work(start("flask-single"), channel, count=20):
        pass


def test_a_client_on_the_event_stream_cannot_make_any_other_http_requests_to_your_site(
    start: Start, channel: str
) -> None:
    """Surpassed."""
    server = start("flask-single")
    with streams_that_work(server, channel):
        for _ in range(20):
            assert server.get("/ordinary").body == b"ordinary"


def test_instead_you_must_use_a_web_server_with_asynchronous_workers(start: Start, channel: str) -> None:
    """Surpassed: one synchronous worker will do."""
    with streams_that_work(start("gunicorn-sync"), channel):
        pass


def test_asynchronous_workers_handle_the_stream_while_other_workers_handle_other_requests(
    start: Start, channel: str
) -> None:
    """Surpassed: the same worker handles both, and it is a synchronous one."""
    server = start("gunicorn-sync")
    with streams_that_work(server, channel, count=50):
        for _ in range(50):
            assert server.get("/ordinary").body == b"ordinary"


def test_gunicorn_is_an_excellent_choice_since_it_can_work_with_gevent(start: Start, channel: str) -> None:
    """Holds."""
    server = start("gunicorn-gevent")
    with streams_that_work(server, channel, count=50):
        assert server.get("/ordinary").body == b"ordinary"


@pytest.mark.parametrize("name", ["waitress", "uwsgi-http-socket", "gevent-pywsgi", "uvicorn-asyncio"])
def test_for_further_information_see_flasks_deployment_documentation(
    name: str, start: Start, channel: str
) -> None:
    """Holds: the other servers that it names will do as well, with one worker and one thread."""
    server = start(name)
    with streams_that_work(server, channel, count=2):
        assert server.get("/ordinary").body == b"ordinary"


def test_flasks_development_server_should_never_be_used_for_deployment(start: Start, channel: str) -> None:
    """Holds: streams change nothing about that, and the server goes on saying so."""
    server = start("flask-single")
    with streams_that_work(server, channel):
        server.process.wait_for_line("This is a development server. Do not use it in a production deployment")
