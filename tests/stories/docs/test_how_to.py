"""The snippets of the how-to pages do what the pages say."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from tests.stories.docs.snippets import FlaskRun, at_port, lay, post, read, run, serving
from tests.support.brokers import Broker
from tests.support.client import StreamClient
from tests.support.local import LocalServer, close

from flask_sse import BrokerUnavailableError, sse
from flask_sse.brokers.redis.publisher import RedisPublisher
from flask_sse.settings import Settings

GUARD = """
from app import app

app.config["SSE_HUB"] = "thread"

def status(query, user=None):
    client = app.test_client()
    if user:
        with client.session_transaction() as session:
            session["user"] = user
    return client.get("/stream" + query).status_code

assert status("?channel=user-ann") == 403
for allowed in ("", "?channel=", "?channel=sse", "?channel=user-ann", "?channel=sse&channel=user-ann"):
    assert status(allowed, "ann") == 200, allowed
for foreign in ("?channel=user-bob", "?channel=user-ann&channel=user-bob", "?channel=&channel=user-bob"):
    assert status(foreign, "ann") == 403, foreign

client = app.test_client()
with client.session_transaction() as session:
    session["user"] = "ann"
stream = client.get("/stream?channel=user-ann").iter_encoded()
assert b"stream-open" in next(stream)
assert client.post("/logout").data == b"bye"
assert b"signed out" in next(stream)
assert client.get("/stream?channel=user-ann").status_code == 403
"""

TICKETS = """
import re
from app import app

app.config["SSE_HUB"] = "thread"
client = app.test_client()
page = client.get("/order").text
address = re.search(r'EventSource\\("(.*?)"\\)', page)[1].replace("\\\\u0026", "&")
assert client.get("/stream?channel=order-7").status_code == 403
assert client.get(address).status_code == 200
cross_site = {"Sec-Fetch-Site": "cross-site", "Origin": "https://shop.example"}
answer = client.get(address, headers=cross_site)
assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://shop.example")
"""

ORIGINS = """
from app import app

app.config["SSE_HUB"] = "thread"
client = app.test_client()
listed = ("http://localhost:5173", "tauri://localhost")
for origin in (*listed, "https://evil.example"):
    status = 200 if origin in listed else 403
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": origin}
    answer = client.get("/stream?channel=news", headers=headers)
    assert answer.status_code == status, origin
    assert answer.headers.get("Access-Control-Allow-Origin") == (origin if status == 200 else None)
    asked = client.options("/stream", headers={**headers, "Access-Control-Request-Method": "GET"})
    assert ("Authorization" in asked.headers.get("Access-Control-Allow-Headers", "")) == (status == 200)
"""

VIEW = """
from app import app

app.config["SSE_HUB"] = "thread"
client = app.test_client()
assert client.get("/my-events?channel=user-bob").status_code == 401
with client.session_transaction() as session:
    session["user"] = "ann"
stream = client.get("/my-events?channel=user-bob").iter_encoded()
assert b'{"channels": ["news", "user-ann"]}' in next(stream)
"""


@contextmanager
def heard(broker: Broker, *channels: str) -> Iterator[Callable[[], Any]]:
    """Listen on the broker itself, as 1.0 does; yields a function that returns the next message."""
    with redis.Redis.from_url(broker.url) as client, client.pubsub() as pubsub:
        pubsub.subscribe(*channels)
        listening = pubsub.listen()
        for _ in channels:
            next(listening)
        yield lambda: json.loads(next(listening)["data"])


def with_extension(app: Flask, **config: Any) -> Flask:
    app.config.update(config)
    app.register_blueprint(sse, url_prefix="/stream")
    return app


# -- Redis and Valkey ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("redis/plain.py", {"host": "localhost", "port": 6379}),
        ("redis/password.py", {"host": "localhost", "password": "password"}),
        ("redis/user.py", {"username": "app", "password": "password"}),
        ("redis/tls.py", {"host": "redis.example", "ssl_ca_certs": "/etc/ssl/redis-ca.pem"}),
        ("redis/unix.py", {"path": "/run/redis/redis.sock", "password": "password"}),
        ("redis/valkey.py", {"host": "localhost", "port": 6379}),
    ],
)
def test_a_url_is_understood(name: str, wanted: dict[str, Any]) -> None:
    settings = Settings.from_mapping(run(name)["app"].config)
    pool = RedisPublisher(settings.broker_url)._client.connection_pool
    assert wanted.items() <= pool.connection_kwargs.items()
    assert issubclass(pool.connection_class, redis.SSLConnection) == (name == "redis/tls.py")


@contextmanager
def allowed(broker: Broker, *rules: str, **config: Any) -> Iterator[LocalServer]:
    """An application whose user of the server has the rights of these snippets."""
    with redis.Redis.from_url(broker.url) as server:
        for rule in rules:
            server.execute_command(*shlex.split(rule))
        # Whoever comes first has to load the scripts.
        server.script_flush()
        url = broker.url.replace("redis://", "redis://app:password@", 1)
        try:
            with LocalServer(with_extension(Flask("acl"), REDIS_URL=url, SSE_HUB="thread", **config)) as app:
                yield app
        finally:
            server.execute_command("ACL", "DELUSER", "app")


@pytest.mark.parametrize("rules", [["redis/acl.txt"], ["redis/acl.txt", "redis/acl-channels.txt"]])
@pytest.mark.parametrize("server", ["valkey", "redis_server"])
def test_the_commands_of_the_access_rule_are_enough(
    server: str, rules: list[str], channel: str, request: pytest.FixtureRequest
) -> None:
    broker = request.getfixturevalue(server)
    game = f"game-{channel}"
    with (
        allowed(broker, *map(read, rules)) as app,
        app.stream(f"/stream?channel={game}") as stream,
        app.app.app_context(),
    ):
        assert stream.next_event().type == "stream-open"
        first = sse.publish("first", channel=game, id="mine", key="once")
        assert sse.publish("again", channel=game, key="once") == first == 1
        since = sse.cursor(game)
        sse.publish("second", channel=game)
        assert [event.data for event in stream.events(2)] == ["first", "second"]
        for known in ("mine", since):
            with app.stream(f"/stream?channel={game}&last_event_id={known}") as back:
                assert back.next_event().data == "second"
        assert sse.status()["broker_away"] is False


def test_a_rule_that_allows_to_publish_alone_is_enough_without_history(valkey: Broker, channel: str) -> None:
    rule = read("redis/acl-publish-only.txt")
    with (
        allowed(valkey, rule, SSE_HISTORY_SIZE=0) as app,
        app.stream(f"/stream?channel={channel}") as stream,
        app.app.app_context(),
    ):
        stream.wait_for_bytes(b"retry:")
        assert sse.publish("allowed", channel=channel) == 1
        event = stream.next_event()
        assert (event.type, event.data, event.last_event_id) == ("message", "allowed", "")


def test_every_key_of_a_channel_is_one_of_the_page_and_expires(valkey: Broker, channel: str) -> None:
    with redis.Redis.from_url(valkey.url) as server:
        url = valkey.url
        with LocalServer(with_extension(Flask("keys"), REDIS_URL=url, SSE_HUB="thread")) as app:
            app.publish("kept", channel=channel, id="mine", key="once")
        lives = {
            key.decode().replace(channel, "sse"): round(server.ttl(key) / 10)
            for key in server.keys(f"*{channel}*")
        }
    assert lives == {
        "flask-sse:{sse}:s": 360,
        "flask-sse:{sse}:i": 360,
        "flask-sse:{sse}:m": 168 * 360,
        f"flask-sse:{{sse}}:k:{hashlib.sha256(b'once').hexdigest()}": 30,
    }


# -- publish from other programs -------------------------------------------------------------------------


def test_a_script_publishes(
    valkey: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey.url)
    with heard(valkey, "office") as hear:
        run("publish/script.py")
        assert hear() == {"data": {"rows": 1200}, "type": "import-done"}
    assert capsys.readouterr().out == "receivers: 1\n"


def test_the_crontab_runs_the_script_with_its_variable() -> None:
    variable, job = read("publish/crontab").splitlines()
    assert variable.partition("=")[0] in read("publish/script.py")
    *schedule, program, script = job.split()
    assert schedule == ["0", "3", "*", "*", "*"]
    assert Path(program).name == "python"
    assert Path(script).name == "nightly.py"


def test_a_publisher_takes_the_path_of_a_hub() -> None:
    publisher = run("publish/memory.py")["publisher"]
    assert publisher._own_submitter._hub_client._finder._settings.hub == "unix:/run/app/sse.sock"


def test_a_page_can_tell_which_event_is_its_own() -> None:
    app = run("publish/said.py")["app"]
    app.config.update(SSE_HUB="thread")
    with LocalServer(app) as server, server.stream("/stream") as stream:
        stream.wait_for_bytes(b"stream-open")
        answer = app.test_client().post("/say", data={"text": "hello"}).get_json()
        said = stream.events(2)[1]
        assert answer == {"id": said.last_event_id, "receivers": 1}
        assert said.data == "hello"


def test_what_is_tried_again_with_a_key_is_published_once(
    valkey: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey.url)
    names = run("publish/once.py")
    broker = names["publisher"]._own_submitter._broker
    submit = broker.submit
    pauses: list[float] = []

    def lose_the_answer(publications: Any) -> None:
        monkeypatch.setattr(broker, "submit", submit)
        raise BrokerUnavailableError("here", f"after {submit(publications)}")

    monkeypatch.setattr(broker, "submit", lose_the_answer)
    monkeypatch.setattr(time, "sleep", pauses.append)
    with heard(valkey, "orders") as hear:
        names["tell_paid"](7)
        names["tell_paid"](8)
        assert [hear()["data"], hear()["data"]] == [{"order": 7}, {"order": 8}]
    assert pauses == [1]


def test_of_many_events_those_that_failed_can_be_tried_again(
    valkey: Broker, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey.url)
    names = run("publish/many.py")
    tell: Callable[[Any], list[Any]] = names["tell"]
    events = names["price_events"](1, {f"tea-{channel}": 2.5, channel: 3.5, f"milk-{channel}": 0.5})
    wrong = f"flask-sse:{{price-{channel}}}:m"
    with (
        redis.Redis.from_url(valkey.url) as server,
        heard(valkey, *(event["channel"] for event in events)) as hear,
    ):
        server.set(wrong, "of another kind, so nothing can be published")
        assert tell(events) == events[1:]
        server.delete(wrong)
        assert tell(events) == []
        assert [hear()["data"] for _ in events] == [2.5, 3.5, 0.5]


# -- streams ---------------------------------------------------------------------------------------------


def test_the_guard_looks_at_every_channel(tmp_path: Path) -> None:
    lay(tmp_path, {"app.py": "guard/app.py"})
    subprocess.run([sys.executable, "-W", "error", "-c", GUARD], cwd=tmp_path, check=True)


def test_the_page_of_ann_is_told_why_it_ended() -> None:
    page, app = read("guard/page.html"), read("guard/app.py")
    assert 'EventSource("/stream?channel=user-ann")' in page
    assert 'f"user-{session' in app
    assert 'addEventListener("stream-end"' in page
    assert 'reason="signed out"' in app


def test_a_page_with_a_ticket_gets_its_stream(tmp_path: Path) -> None:
    lay(tmp_path, {"app.py": "guard/tickets.py"})
    subprocess.run([sys.executable, "-W", "error", "-c", TICKETS], cwd=tmp_path, check=True)


def test_pages_of_listed_origins_get_their_stream(tmp_path: Path) -> None:
    lay(tmp_path, {"app.py": "guard/origins.py"})
    subprocess.run([sys.executable, "-W", "error", "-c", ORIGINS], cwd=tmp_path, check=True)


def test_a_view_names_the_channels_of_its_stream(tmp_path: Path) -> None:
    lay(tmp_path, {"app.py": "guard/view.py"})
    subprocess.run([sys.executable, "-W", "error", "-c", VIEW], cwd=tmp_path, check=True)


def test_the_page_of_two_games_asks_for_channels_that_the_application_uses() -> None:
    page, app = read("channels/page.html"), read("channels/app.py")
    assert "/stream?channel=game-7&channel=game-9" in page
    assert 'channel=f"game-{game}"' in app
    assert 'addEventListener("goal"' in page
    assert 'type="goal"' in app


def test_prices_are_published_with_what_they_replace() -> None:
    names = run("publish/prices.py")
    app: Flask = names["app"]
    app.config["SSE_HUB"] = "thread"
    response = app.test_client().get("/stream?channel=prices", buffered=False)
    pieces = response.iter_encoded()
    assert b"stream-open" in next(pieces)
    with app.app_context():
        names["tell_price"]("AAPL", 182.5)
    assert b'"price": 182.5' in next(pieces)
    response.close()
    close(app)


def test_a_blueprint_of_ones_own_streams() -> None:
    app = run("upgrade/custom.py")["app"]
    app.config["SSE_HUB"] = "thread"
    response = app.test_client().get("/news")
    assert response.mimetype == "text/event-stream"
    assert next(iter(response.response)).startswith(b"retry:")
    response.close()
    close(app)


# -- nginx -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nginx/site.conf", "nginx/keepalive.conf"])
def test_nginx_passes_events_on_at_once(name: str, tmp_path: Path, runtime_directory: str) -> None:
    lay(tmp_path, {"app.py": "channels/app.py"})
    with (
        FlaskRun(tmp_path) as server,
        serving(at_port(read(name), server.port), tmp_path) as port,
        StreamClient(port, "/stream?channel=game-7") as stream,
    ):
        assert stream.next_event().type == "stream-open"
        assert post(f"http://127.0.0.1:{port}/goal/7") == 204
        assert stream.next_event().data == '{"game": "7"}'
