"""A hub that an operator runs: ``flask-sse hub --socket PATH`` and ``SSE_HUB=unix:PATH``."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from flask import Flask
from tests.support.bare_application import BareApplication
from tests.support.operators import operated
from tests.support.processes import Process, children

from flask_sse import sse
from flask_sse.errors import BrokerUnavailableError, HubUnavailableError
from flask_sse.hub.protocol.hub_events import UNREACHED_RETRY_MS
from flask_sse.wire.decode import Decoder

URL = "memory://operator"


@pytest.fixture
def path() -> Iterator[Path]:
    # Not tmp_path, for the path of a Unix socket has room for some 100 bytes.
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        yield Path(directory) / "hub.sock"


def start(path: Path, env: Mapping[str, str] | None = None, ready: str | None = "ready at") -> Process:
    return operated(path, env=env, ready=ready)


def application(path: Path) -> BareApplication:
    return BareApplication(URL, hub=f"unix:{path}", hub_linger_seconds=0.0)


def test_operators_hub_serves_until_it_is_told_to_stop(path: Path) -> None:
    env = {"SSE_DRAIN_SECONDS": "0.5"}
    with start(path, env) as hub, application(path) as first, application(path) as second:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with first.stream("all") as stream:
            assert [first.pid] == [second.pid] == children(hub.pid)
            assert second.publish("one", channel="all") == 1
            assert stream.next_event().data == "one"
            first.close()
            second.close()
            # It does not end with its last application, however that one sets the time to linger.
            with pytest.raises(TimeoutError):
                stream.wait_closed(timeout=0.3)
            assert hub.terminate() == 0
            assert stream.wait_closed() == "eof"
            assert stream.raw.endswith(b"\n\n")
            assert stream.raw.count(b"retry:") == 2
        assert not path.exists()
        assert "SIGTERM: ending" in hub.output()
        assert "stopped: stop requested" in hub.output()
        with pytest.raises(HubUnavailableError, match=f"no hub at {path}: "):
            first.status()


def test_operators_hub_takes_its_settings_from_the_environment(path: Path) -> None:
    settings = {"SSE_MAX_STREAMS": "1", "SSE_MAX_EVENT_BYTES": "1000"}
    with start(path, settings), application(path) as app, app.stream("all"), app.stream("all") as second:
        assert second.wait_closed() == "eof"
        assert b":too many streams" in second.raw


def test_operators_hub_replaces_the_socket_of_one_that_was_killed(path: Path) -> None:
    with start(path) as killed:
        killed.kill_tree()
    assert path.is_socket()
    with start(path) as hub, application(path) as app:
        assert [app.pid] == children(hub.pid)


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"SSE_BROKER_URL": ""}, "set SSE_BROKER_URL"),
        ({"SSE_MAX_STREAMS": "none"}, "SSE_MAX_STREAMS = 'none' cannot be used"),
        ({"SSE_BROKER_URL": "ftp://host"}, "one of memory://"),
        ({"SSE_BROKER_URL": "redis://host:port"}, "cannot be used"),
    ],
)
def test_settings_that_cannot_be_used_end_it_with_2_and_a_text(
    env: dict[str, str], text: str, path: Path
) -> None:
    with start(path, env, ready=None) as hub:
        assert hub.wait() == 2
        assert text in hub.output()
        assert "Traceback" not in hub.output()
    assert not path.exists()


def test_path_that_is_in_use_ends_it_with_3_and_harms_nothing(path: Path) -> None:
    with start(path) as hub, application(path) as app, app.stream("all") as stream:
        with start(path, ready=None) as second:
            assert second.wait() == 3
            assert f"{path}: a hub runs there already" in second.output()
            # What to do about it (14.38).
            assert "--replace" in second.output()
            assert "Traceback" not in second.output()
        assert app.publish("still here", channel="all") == 1
        assert stream.next_event().data == "still here"
        with application(path) as other:
            assert [other.pid] == children(hub.pid)


@pytest.mark.parametrize("obstacle", ["file", "no directory", "too long"])
def test_path_that_cannot_be_used_ends_it_with_2_and_a_text(obstacle: str, path: Path) -> None:
    if obstacle == "file":
        path.write_text("precious")
    target = {"file": path, "no directory": path / "hub", "too long": path.with_name("x" * 200)}[obstacle]
    with start(target, ready=None) as hub:
        assert hub.wait() == 2
        assert f"{target}: " in hub.output()
        assert "Traceback" not in hub.output()
    assert obstacle != "file" or path.read_text() == "precious"


@pytest.mark.parametrize("where", ["at a terminal", "as a service"])
def test_without_a_path_it_says_what_is_missing(where: str) -> None:
    argv = [sys.executable, "-m", "flask_sse.hub"]
    keyboard, terminal = pty.openpty()
    with os.fdopen(keyboard), os.fdopen(terminal):
        stdin = terminal if where == "at a terminal" else subprocess.DEVNULL
        done = subprocess.run(argv, stdin=stdin, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert "flask-sse hub --socket PATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_publish_without_the_operators_hub_is_an_error_that_names_it(path: Path) -> None:
    with application(path) as app:
        with pytest.raises(HubUnavailableError, match=f"no hub at {path}: "):
            app.status()
        with pytest.raises(BrokerUnavailableError, match=f"no hub at {path}: "):
            app.publish("nobody takes it")
        with start(path) as hub:
            assert app.publish("nobody listens") == 0
            assert [app.pid] == children(hub.pid)


def test_stream_without_the_operators_hub_tells_the_browser_when_to_come_back(path: Path) -> None:
    app = Flask(__name__)
    app.config.from_mapping(SSE_BROKER_URL=URL, SSE_HUB=f"unix:{path}")
    app.register_blueprint(sse, url_prefix="/stream")
    with app.test_client() as browser:
        response = browser.get("/stream")
    # Any other status would end an EventSource for good.
    assert response.status_code == 200
    assert response.mimetype == "text/event-stream"
    decoder = Decoder()
    assert not decoder.feed(response.data)
    assert response.data.startswith(b":the hub cannot be reached\n\n")
    assert decoder.retry_ms is not None
    assert UNREACHED_RETRY_MS[0] <= decoder.retry_ms <= UNREACHED_RETRY_MS[1]
