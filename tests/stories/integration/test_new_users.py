"""What new users do wrong, and what they are told: the value, the setting or argument, and the fix (14).

Wording is not what this is about, so each row has fragments that the text must hold: what was given, where,
and what to write instead. What works although it looks wrong stands below the table.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from tests.support.forks import by_os
from tests.support.local import close, local_app, make_app, serve
from tests.support.operators import operated
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until
from tests.support.webservers import start as start_server

from flask_sse import Publisher, ServerSentEventsBlueprint, new_run, sse
from flask_sse.errors import SSEError


def memory(**config: Any) -> dict[str, Any]:
    """Return settings with a hub of their own."""
    return {"SSE_BROKER_URL": f"memory://new-{uuid.uuid4().hex}", "SSE_HUB": "thread", **config}


@contextlib.contextmanager
def application(**config: Any) -> Iterator[Flask]:
    with local_app(**memory(**config)) as app, app.app_context():
        yield app


def publishing(*args: Any, **fields: Any) -> Callable[[], object]:
    def act() -> None:
        with application():
            sse.publish(*args, **fields)

    return act


def publishing_many(events: Any) -> Callable[[], object]:
    def act() -> None:
        with application():
            sse.publish_many(events)

    return act


def configured(**config: Any) -> Callable[[], object]:
    """Return what registers the blueprint in an application with these settings, and publishes nothing."""
    return lambda: close(make_app(**config))


def without_url(**config: Any) -> Callable[[], object]:
    def act() -> None:
        with local_app(**config) as app, app.app_context():
            sse.publish("x")

    return act


def set_later(key: str, value: object) -> Callable[[], object]:
    def act() -> None:
        with application() as app:
            app.config[key] = value
            sse.publish("x")

    return act


def in_a_thread() -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            sse.publish("x")
        except RuntimeError as error:
            failed.append(error)

    with application():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    raise failed[0]


def registered_twice() -> None:
    with application() as app:
        app.register_blueprint(sse, url_prefix="/again")


def address_without_a_key() -> None:
    with local_app(**memory(SECRET_KEY=None)) as app, app.test_request_context("/"):
        sse.url("news")


def address(**arguments: Any) -> Callable[[], object]:
    def act() -> None:
        with local_app(**memory(SECRET_KEY="not a secret")) as app, app.test_request_context("/"):
            sse.url("news", **arguments)

    return act


def address_without_a_blueprint() -> None:
    app = Flask("none")
    app.config.from_mapping(memory(SECRET_KEY="not a secret"))
    with app.test_request_context("/"):
        sse.url("news")


def asked_by_a_page_of(origin: str, **config: Any) -> Callable[[], object]:
    def act() -> None:
        with serve(**memory(**config)) as server:
            answer = server.get("/stream", {"Origin": origin, "Sec-Fetch-Site": "cross-site"})
            assert answer.status == 403

    return act


def public() -> None:
    with serve(**memory(DEBUG=True)) as server, server.stream("/stream") as stream:
        stream.wait_opened()


def second_run() -> None:
    """Start a run on a channel whose producer is at work."""
    before = threading.active_count()
    with application():
        channel = new_run("export-7")
        goes_on = threading.Event()

        def items() -> Iterator[str]:
            yield "first"
            goes_on.wait(PATIENT_SECONDS)

        sse.run(items(), channel)
        try:
            sse.run(iter("ab"), channel)
        finally:
            goes_on.set()
            # The hub is a thread, too.
            wait_until(lambda: threading.active_count() <= before + 1, what="the end of the run")


def two_rules() -> None:
    blueprint = ServerSentEventsBlueprint("two", __name__)
    blueprint.authorize(lambda channel: channel == "news")
    blueprint.authorize(lambda channel: True)


class _Row:
    """As a class of an ORM."""

    def __repr__(self) -> str:
        return "<Row 7>"


# What is done, and what is then said of it: the value, where it stands, and what to do.
MISTAKES: dict[str, tuple[Callable[[], object], str, str, str]] = {
    # -- the URL
    "URL without scheme": (
        configured(REDIS_URL="localhost:6379"),
        "'localhost:6379'",
        "REDIS_URL",
        "redis://localhost:6379",
    ),
    "URL with a wrong scheme": (
        configured(SSE_BROKER_URL="http://localhost"),
        "'http://localhost'",
        "SSE_BROKER_URL",
        "redis://",
    ),
    "URL with a wrong port": (
        configured(SSE_REDIS_URL="redis://localhost:abc"),
        "'redis://localhost:abc'",
        "SSE_REDIS_URL",
        "1 to 65535",
    ),
    "URL with a password that is not encoded": (
        configured(REDIS_URL="redis://:a/b@localhost"),
        "'redis://...@localhost'",
        "REDIS_URL",
        "percent-encoded",
    ),
    "URL that is not text": (configured(REDIS_URL=b"redis://x"), "bytes", "REDIS_URL", "a string"),
    "memory: without slashes": (
        configured(SSE_BROKER_URL="memory:"),
        "'memory:'",
        "SSE_BROKER_URL",
        "memory://",
    ),
    "no URL": (
        without_url(),
        "Must set a redis connection URL in app config.",
        "SSE_BROKER_URL",
        "memory://",
    ),
    "URL None": (
        without_url(SSE_BROKER_URL=None, REDIS_URL=None),
        "Must set a redis connection URL in app config.",
        "SSE_BROKER_URL",
        "memory://",
    ),
    "Publisher without URL": (lambda: Publisher(None), "None", "url", "redis://localhost"),  # type: ignore[arg-type]
    # -- contexts
    "publish without context": (lambda: sse.publish("x"), "", "application context", "app.app_context()"),
    "publish in a thread": (in_a_thread, "", "application context", "app.app_context()"),
    # -- the blueprint
    "blueprint twice": (registered_twice, "'sse'", "already registered", "name="),
    "blueprint without a prefix": (
        lambda: Flask("bare").register_blueprint(sse),
        "sse",
        "address",
        "url_prefix='/stream'",
    ),
    "address without the blueprint": (
        address_without_a_blueprint,
        "'sse'",
        "address",
        "register_blueprint(sse",
    ),
    "two rules": (two_rules, "<lambda>", "authorize", "ServerSentEventsBlueprint"),
    "no rule": (public, "'/stream'", "public", "sse.authorize("),
    # -- settings
    "setting mistyped": (configured(SSE_HEARTBEAT=5), "", "SSE_HEARTBEAT;", "SSE_HEARTBEAT_SECONDS?"),
    "setting out of range": (configured(SSE_HISTORY_SIZE=-1), "-1", "SSE_HISTORY_SIZE", "0 or more"),
    "setting of the wrong type": (
        configured(SSE_HEARTBEAT_SECONDS=[15]),
        "[15]",
        "SSE_HEARTBEAT_SECONDS",
        "number above 0, in seconds",
    ),
    "bad setting after registration": (set_later("SSE_TAKEOVER", "no"), "'no'", "SSE_TAKEOVER", "auto, off"),
    "mistyped setting after registration": (
        set_later("SSE_TAKEOFER", "off"),
        "",
        "SSE_TAKEOFER",
        "SSE_TAKEOVER?",
    ),
    "no SECRET_KEY": (address_without_a_key, "None", "SECRET_KEY", "random"),
    "ticket for a week": (address(expires_in=604_800), "604800", "expires_in", "at most 86400"),
    "ticket for text": (address(expires_in="1h"), "'1h'", "expires_in", "in seconds"),
    # -- data
    "data as bytes": (publishing(b"hello"), "b'hello'", "data", "decode"),
    "data as a set": (publishing({"a"}), "{'a'}", "data", "lists"),
    "data as an object of an ORM": (publishing({"row": _Row()}), "<Row 7>", "data", "dicts"),
    "data with NaN": (publishing({"x": float("nan")}), "nan", "data", "JSON"),
    "data of 300 kB": (publishing("x" * 300_000), "262144", "SSE_MAX_EVENT_BYTES", "send a reference"),
    # -- channel, type, id
    "channel empty": (publishing("x", channel=""), "''", "channel", "empty"),
    "channel with a line break": (
        publishing("x", channel="a\nb"),
        r"'a\nb'",
        "channel",
        "control characters",
    ),
    "channel of 300 characters": (publishing("x", channel="c" * 300), "'ccc", "channel", "200 bytes"),
    "channel that is no text": (publishing("x", channel=7), "7", "channel", "string"),
    "type with a line break": (publishing("x", type="a\nb"), r"'a\nb'", "type", "control characters"),
    "type error": (publishing("x", type="error"), "'error'", "onerror", "another type"),
    "type open": (publishing("x", type="open"), "'open'", "onopen", "another type"),
    "type empty": (publishing("x", type=""), "''", "onmessage", "leave it out"),
    "type of the stream's own": (publishing("x", type="stream-x"), "'stream-x'", "type", "stream-"),
    "id too long": (publishing("x", id="i" * 300), "'iii", "id", "256 bytes"),
    # -- several events
    "many with a wrong field": (
        publishing_many([{"data": 1, "chanel": "a"}]),
        "'chanel'",
        "event 0",
        "channel?",
    ),
    "many without data": (publishing_many([{"data": 1}, {"type": "a"}]), "['type']", "event 1", "data"),
    "many with text": (publishing_many(["hello"]), "'hello'", "event 0", "{'data': 7}"),
    "many that is one": (publishing_many({"data": 7}), "{'data': 7}", "publish_many()", "list"),
    "many that is nothing": (publishing_many(None), "None", "publish_many()", "list"),
    # -- runs
    "second run on one channel": (second_run, "'run:export-7'", "another producer", "new_run(prefix="),
    # -- other origins
    "other origin": (
        asked_by_a_page_of("http://localhost:5173"),
        "'http://localhost:5173'",
        "SSE_CORS_ORIGINS",
        "add",
    ),
    "origin of a file": (asked_by_a_page_of("null"), "without an origin", "SSE_CORS_ORIGINS", '"*"'),
    "origin with a path": (
        configured(SSE_CORS_ORIGINS="https://a.example/app"),
        "'https://a.example/app'",
        "SSE_CORS_ORIGINS",
        "without a path",
    ),
}


def told(act: Callable[[], object], caplog: pytest.LogCaptureFixture) -> str:
    """Return what is raised, warned of and logged."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        try:
            act()
        except (SSEError, KeyError, ValueError, RuntimeError) as error:
            texts.append(str(error.args[0]))
    return "\n".join([*texts, *(str(each.message) for each in warned), *caplog.messages])


@pytest.mark.parametrize("what", MISTAKES)
def test_a_new_user_is_told_the_value_the_setting_and_the_fix(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    act, value, setting, fix = MISTAKES[what]
    text = told(act, caplog)
    for fragment in (value, setting, fix):
        assert fragment in text


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path, for the path of a Unix socket has room for some 100 bytes.
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        yield Path(directory)


def test_two_hubs_on_one_socket(folder: Path) -> None:
    path = folder / "hub.sock"
    with operated(path), operated(path, ready=None) as second:
        assert second.wait() == 3
        for fragment in (str(path), "a hub runs there", "--replace", "--socket"):
            assert fragment in second.output()


def test_tls_in_the_web_server(folder: Path) -> None:
    (folder / "bare.py").write_text(BARE)
    with start_server("gunicorn-tls", "bare:app", folder) as server:
        with server.stream("/stream") as stream:
            stream.wait_opened()
        server.process.wait_for_line("holds this whole worker")
        for fragment in ("TLS", "proxy", "gthread"):
            assert fragment in server.process.output()


@pytest.mark.parametrize("mode", [0o777, 0o750], ids=oct)
def test_a_directory_that_others_can_look_into(
    mode: int, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    directory = folder / "flask-sse"
    directory.mkdir()
    directory.chmod(mode)

    def act() -> None:
        with application(SSE_HUB="auto"):
            sse.publish("x")

    text = told(act, caplog)
    for fragment in (str(directory), "0700", "XDG_RUNTIME_DIR"):
        assert fragment in text


BARE = """
from flask import Flask
from flask_sse import sse
app = Flask("bare")
app.config["SSE_BROKER_URL"] = "memory://bare"
app.register_blueprint(sse, url_prefix="/stream")
"""

READ_ONLY = """
import os
from flask import Flask
from flask_sse import sse
os.setuid(54321)
app = Flask("shop")
app.config["SSE_BROKER_URL"] = "memory://read-only"
app.register_blueprint(sse, url_prefix="/stream")
with app.app_context():
    sse.publish("x")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_directory_that_cannot_be_written_to(folder: Path) -> None:
    folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY],
        env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENT_SECONDS,
        check=False,
    )
    for fragment in (str(folder / "flask-sse"), "Permission denied", "thread of this process"):
        assert fragment in done.stdout + done.stderr


# -- what works ------------------------------------------------------------------------------------


def test_publish_before_the_blueprint_is_registered() -> None:
    app = Flask("early")
    app.config.from_mapping(memory())
    with app.app_context():
        assert sse.publish("x") == 0
    app.register_blueprint(sse, url_prefix="/stream")
    with app.app_context():
        assert sse.publish("x") == 0
    close(app)


def test_settings_after_the_blueprint_is_registered() -> None:
    app = make_app()
    app.config.from_mapping(memory(SSE_HISTORY_SIZE=0))
    with app.app_context():
        assert sse.publish("x").id is None
    close(app)


def test_publish_in_a_forked_process() -> None:
    with application(SSE_HUB="auto"):
        sse.publish("x")

        def work() -> None:
            assert sse.publish("y") == 0

        assert by_os(work)() == 0


def test_a_channel_with_spaces() -> None:
    with serve(**memory()) as server, server.stream("/stream?channel=room%20one") as stream:
        stream.wait_opened()
        assert server.publish("x", channel="room one") == 1
        assert stream.next_event().data == "x"


def test_the_blueprint_in_a_factory_and_under_another_name() -> None:
    def create(name: str) -> Flask:
        app = Flask(name)
        app.config.from_mapping(memory(SECRET_KEY="not a secret"))
        app.register_blueprint(sse, url_prefix=f"/{name}", name=name)
        return app

    for app in (create("one"), create("two")):
        with app.test_request_context("/"):
            assert sse.url("news").startswith(f"/{app.name}?")
            assert sse.publish("x") == 0
        close(app)
