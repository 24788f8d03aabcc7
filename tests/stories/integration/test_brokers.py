"""Redis and Valkey servers as they are found: their URLs, their passwords, their connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import redis
from tests.support.brokers import Broker, start_redis, start_valkey
from tests.support.local import LocalServer, local_app, serve
from tests.support.processes import wait_until
from tests.support.promises import promised

from flask_sse import BrokerUnavailableError, InvalidSettingError, Publisher, sse
from flask_sse.brokers.redis.client import redis_py_url
from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.settings import Settings

PASSWORD = f"secret-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def plain() -> Iterator[Broker]:
    """A server without password that no other module uses."""
    with start_valkey() as broker:
        yield broker


@pytest.fixture(scope="module")
def guarded() -> Iterator[Broker]:
    with start_redis(password=PASSWORD) as broker:
        yield broker


@pytest.fixture(scope="module")
def guarded_socket() -> Iterator[Broker]:
    with start_valkey(password=PASSWORD, unix=True) as broker:
        yield broker


@pytest.fixture(scope="module")
def encrypted() -> Iterator[Broker]:
    with start_redis(password=PASSWORD, tls=True) as broker:
        yield broker


def hello_through(server: LocalServer, channel: str) -> None:
    """Publish as a view does, and see the event in a stream."""
    with server.stream(f"/stream?channel={channel}") as stream:
        stream.wait_opened()
        assert server.publish("hello", channel=channel) == 1
        assert stream.next_event().data == "hello"


# -- URLs -------------------------------------------------------------------------------------------


# What is changed in the URL of a server.
URLS: dict[str, tuple[str, tuple[str, str]]] = {
    "redis": ("plain", ("redis://", "redis://")),
    "valkey": ("plain", ("redis://", "valkey://")),
    "host name": ("plain", ("127.0.0.1", "localhost")),
    "no database": ("plain", ("/0", "")),
    "database as option": ("plain", ("/0", "?db=3")),
    "options": ("plain", ("/0", "/0?health_check_interval=30&client_name=shop&retry_on_timeout=yes")),
    "text": ("plain", ("/0", "/0?decode_responses=yes")),
    "protocol": ("plain", ("/0", "/0?protocol=3")),
    "password": ("guarded", ("redis://", "redis://")),
    "user": ("guarded", ("redis://:", "redis://default:")),
    "password as option": ("guarded", (f":{PASSWORD}@", "")),
    "unix": ("guarded_socket", ("unix://", "unix://")),
    "TLS": ("encrypted", ("rediss://", "rediss://")),
    "valkey and TLS": ("encrypted", ("rediss://", "valkeys://")),
    "TLS without check": ("encrypted", ("?", "?ssl_cert_reqs=none&")),
}


@pytest.mark.parametrize(("server", "change"), URLS.values(), ids=URLS.keys())
def test_a_url_works_for_publish_for_streams_and_for_sse_redis(
    server: str, change: tuple[str, str], channel: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(server).url.replace(*change)
    if server != "plain" and PASSWORD not in url:
        url += f"?password={PASSWORD}"
    with serve(REDIS_URL=url) as running:
        hello_through(running, channel)
        with running.app.app_context():
            assert sse.redis.ping()
        with contextlib.closing(Publisher(url)) as publisher:
            assert publisher.publish("again", channel=channel) == 1


def test_options_of_the_url_do_not_make_publish_wait_longer(channel: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=10) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}?socket_timeout=30&socket_connect_timeout=30"
        publisher = Publisher(url)
        with contextlib.closing(publisher), promised(2.2), pytest.raises(BrokerUnavailableError):
            publisher.publish("hello", channel=channel)


def test_a_tls_certificate_that_nobody_vouches_for_is_refused(encrypted: Broker, channel: str) -> None:
    url = encrypted.url.partition("?")[0]
    with (
        contextlib.closing(Publisher(url)) as publisher,
        pytest.raises(BrokerUnavailableError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        publisher.publish("hello", channel=channel)


@pytest.mark.parametrize("url", ["amqp://localhost", "redis:/localhost", "localhost:6379", "redis://h:port"])
def test_a_url_that_no_broker_has_is_refused_with_the_mend(url: str) -> None:
    with pytest.raises(InvalidSettingError, match="redis://") as refused:
        Publisher(url)
    assert (refused.value.key, refused.value.value) == ("url", url)


@pytest.mark.parametrize("option", ["health_check_interval=soon", "colour=red"])
def test_an_option_that_redis_py_does_not_know_is_refused_before_it_connects(option: str) -> None:
    """(14.38)"""
    with pytest.raises(InvalidSettingError, match="an option behind"):
        Publisher(f"redis://127.0.0.1:1/0?{option}")


# -- passwords --------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["guarded", "guarded_socket", "encrypted"])
def test_a_password_is_on_no_command_line_and_in_no_log(
    server: str,
    channel: str,
    request: pytest.FixtureRequest,
    runtime_directory: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    broker: Broker = request.getfixturevalue(server)
    with serve(REDIS_URL=broker.url) as running:
        hello_through(running, channel)
        # The servers hide the password that they were started with.
        lines = command_lines()
        assert any("flask_sse.hub" in line for line in lines)
        assert not any(PASSWORD in line for line in lines)
        log = hub_path(Settings(broker.url)).with_suffix(".log")
        assert str(log).startswith(runtime_directory)
        assert "ready at" in log.read_text()
    files = [path for path in Path(runtime_directory).rglob("*") if path.is_file()]
    assert log in files
    assert PASSWORD not in caplog.text + "".join(path.read_text() for path in files)
    assert not any(PASSWORD in path.name for path in files)


def command_lines() -> list[str]:
    lines = []
    for pid in psutil.pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))
    return lines


@pytest.mark.parametrize("server", ["guarded", "guarded_socket", "encrypted"])
def test_a_wrong_password_is_told_by_publish_and_by_the_hub_but_not_shown(
    server: str, channel: str, request: pytest.FixtureRequest, runtime_directory: str
) -> None:
    url = request.getfixturevalue(server).url.replace(PASSWORD, "wrong-secret")
    with serve(REDIS_URL=url) as running:
        with running.stream(f"/stream?channel={channel}") as stream:
            stream.wait_for_bytes(b":the broker cannot be reached")
        with pytest.raises(BrokerUnavailableError, match="invalid username-password pair") as caught:
            running.publish("hello", channel=channel)
    shown = f"{caught.value} {caught.value!r} {caught.value.__dict__}"
    log = hub_path(Settings(url)).with_suffix(".log").read_text()
    assert "invalid username-password pair" in log
    assert "wrong-secret" not in shown + log


@pytest.mark.parametrize(
    "url",
    [
        "redis://:wrong-secret@127.0.0.1:1/0",
        "redis://user:wrong-secret@127.0.0.1:1/0",
        "redis://:wrong-secret%40@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0?password=wrong-secret",
        "redis://127.0.0.1:1/0?password=a@wrong-secret",
        "unix:///nowhere?password=a@wrong-secret",
        "unix://:wrong-secret@/nowhere",
        "rediss://:wrong-secret@127.0.0.1:1/0",
        # Characters that must be quoted in a URL, and were not.
        "redis://:wrong-secret/0@127.0.0.1:1/0",
        "redis://:wrong-secret?0@127.0.0.1:1/0",
        "redis://:wrong-secret#0@127.0.0.1:1/0",
        "redis://:wrong-secret@0@127.0.0.1:1/0",
        "redis://:[wrong-secret@127.0.0.1:1/0",
        "redis://:wrong-secret@127.0.0.1:port/0",
        "postgres://:wrong-secret@127.0.0.1/0",
        "redis:/:wrong-secret@127.0.0.1/0",
        ":wrong-secret@127.0.0.1/0",
        "redis://:wrong-secret@127.0.0.1/0?socket_timeout=soon",
        b"redis://:wrong-secret@127.0.0.1/0",
    ],
)
def test_errors_never_show_a_password(url: str | bytes, channel: str) -> None:
    with (
        pytest.raises((BrokerUnavailableError, InvalidSettingError)) as caught,
        local_app(REDIS_URL=url) as app,
        app.app_context(),
    ):
        sse.publish("hello", channel=channel)
    assert "secret" not in f"{caught.value} {caught.value!r} {caught.value.__dict__}"


def test_a_password_with_any_character_works_when_it_is_quoted(channel: str) -> None:
    password = "p@ss:/?#[]% ü+&=\N{TEST TUBE}"
    with start_valkey() as broker:
        with contextlib.closing(redis.Redis.from_url(broker.url)) as admin:
            admin.config_set("requirepass", password)
        url = broker.url.replace("redis://", f"redis://:{quote(password, safe='')}@")
        with serve(REDIS_URL=url) as running:
            hello_through(running, channel)


# -- connections ------------------------------------------------------------------------------------


@pytest.fixture
def admin(own_valkey: Broker) -> Iterator[Any]:
    """A client that looks at the server from outside."""
    with contextlib.closing(redis.Redis.from_url(own_valkey.url)) as client:
        client.ping()
        yield client


def connections(admin: Any) -> int:
    """Return how many clients have connected since the server started."""
    return int(admin.info("stats")["total_connections_received"])


def connections_but_probes(admin: Any) -> int:
    """Return the same without those of a hub's probe, which has one for each PUBLISH when it heard nothing.

    For tests that publish nothing. A probe that is under way counts until its PUBLISH is there.
    """
    stats = admin.info("stats", "commandstats")
    probes = stats.get("cmdstat_publish", {"calls": 0})["calls"]
    return int(stats["total_connections_received"]) - int(probes)


def test_publishers_of_a_process_share_one_pool(own_valkey: Broker, admin: Any, channel: str) -> None:
    """Flask-SSE 1.0 opened a connection for every publish."""
    with local_app(REDIS_URL=own_valkey.url) as app:
        before, open_before = connections(admin), len(admin.client_list())

        def publish() -> None:
            for number in range(50):
                with app.app_context():
                    sse.publish(number, channel=channel)

        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        new = connections(admin) - before
        assert 1 <= new <= len(threads)
        assert len(admin.client_list()) - open_before <= new
        assert admin.info("commandstats")["cmdstat_publish"]["calls"] >= 200


def test_sse_redis_is_one_client_a_process(own_valkey: Broker, admin: Any) -> None:
    with local_app(REDIS_URL=own_valkey.url) as app:
        before = connections(admin)
        for _ in range(10):
            with app.app_context():
                sse.redis.set("key", "value")
        assert connections(admin) - before == 1
        assert admin.get("key") == b"value"


def test_all_streams_of_a_machine_take_one_connection_to_the_server(
    own_valkey: Broker, admin: Any, channel: str
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(REDIS_URL=own_valkey.url)) for _ in range(2)]
        with servers[0].stream("/stream") as first:
            first.wait_opened()
            for number in range(20):
                path = f"/stream?channel={channel}-{number % 7}"
                stream = stack.enter_context(servers[number % 2].stream(path))
                stream.wait_opened()
            # That of the admin, the one on which the hub listens, and the one on which it reads.
            wait_until(lambda: connections_but_probes(admin) == 3, what="three connections and no probe")
            assert len([c for c in admin.client_list(_type="pubsub") if int(c["sub"]) >= 8]) == 1


def test_the_server_carries_only_channels_that_somebody_listens_to(
    own_valkey: Broker, admin: Any, channel: str
) -> None:
    with serve(REDIS_URL=own_valkey.url) as server:
        assert server.publish("to nobody", channel=channel) == 0
        assert admin.pubsub_channels(f"{channel}*") == []
        with server.stream(f"/stream?channel={channel}") as stream:
            stream.wait_opened()
            assert admin.pubsub_channels(f"{channel}*") == [channel.encode()]


def test_valkey_urls_are_given_to_redis_py_in_its_own_words() -> None:
    assert redis_py_url("valkeys://:p@h:1/2?x=valkey://") == "rediss://:p@h:1/2?x=valkey://"
