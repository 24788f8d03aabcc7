"""``memory://`` is shared by the processes of one application, or by all who write the same name (14.29)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from tests.stories.docs.snippets import FlaskRun
from tests.support.client import StreamClient
from tests.support.local import close
from tests.support.processes import Process
from tests.support.webservers import SCRIPTS

from flask_sse import InvalidSettingError, Publisher, sse
from flask_sse.health import health
from flask_sse.hub.client.open_client import open_hub_client
from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.metrics import metrics
from flask_sse.settings import Settings
from flask_sse.testing import capture

pytestmark = pytest.mark.usefixtures("runtime_directory")


@contextmanager
def application(name: str, url: str = "memory://", **config: Any) -> Iterator[Flask]:
    app = Flask(name)
    app.config.from_mapping(SSE_BROKER_URL=url, **config)
    app.register_blueprint(sse, url_prefix="/stream")
    try:
        yield app
    finally:
        close(app)


def hub_of(app: Flask) -> int:
    with app.app_context():
        return int(sse.status()["pid"])


def cursor_of(app: Flask) -> str:
    with app.app_context():
        return sse.cursor("orders")


def test_two_applications_on_plain_memory_share_nothing() -> None:
    with application("shop") as shop, application("forum") as forum:
        assert hub_of(shop) != hub_of(forum)
        before = cursor_of(forum)
        with shop.app_context():
            sse.publish("secret", channel="orders")
        assert cursor_of(forum) == before


def test_two_applications_with_the_same_import_name_are_one_whatever_their_settings() -> None:
    with application("shop") as first, application("shop", SSE_HEARTBEAT_SECONDS=7) as next_release:
        assert hub_of(first) == hub_of(next_release)
    with application("shop") as later:
        assert "sse.presence" in later.extensions
        assert later.extensions["sse.presence"] is not None, "it did not find its hub when it was registered"


def test_all_who_write_the_same_name_share_it() -> None:
    url = "memory://together"
    with application("shop", url) as shop, application("forum", url) as forum:
        assert hub_of(shop) == hub_of(forum)
        before = cursor_of(forum)
        publisher = Publisher(url)
        publisher.publish("for all", channel="orders")
        publisher.close()
        assert cursor_of(forum) != before


def test_health_and_metrics_are_those_of_the_application() -> None:
    with application("shop") as shop, application("forum") as forum:
        for app in (shop, forum):
            app.register_blueprint(health)
            app.register_blueprint(metrics)
        with shop.test_client().get("/stream", buffered=False):
            assert hub_of(shop)
            for app, streams in ((shop, 1), (forum, 0)):
                answer = app.test_client().get("/healthz").json
                assert answer is not None
                assert answer["hub"]["streams"] == streams
                assert f"flask_sse_streams {streams}.0" in app.test_client().get("/metrics").text


def test_no_name_is_that_of_an_application() -> None:
    with application("shop") as shop, application("forum", "memory://shop") as forum:
        assert hub_of(shop) != hub_of(forum)


@pytest.mark.parametrize("url", ["memory://", "memory:///"])
def test_a_publisher_without_a_name_is_told_to_write_one(url: str) -> None:
    with pytest.raises(InvalidSettingError) as caught:
        Publisher(url)
    assert caught.value.key == "SSE_BROKER_URL"
    assert repr(url) in str(caught.value)
    assert "memory://NAME" in str(caught.value)
    with pytest.raises(InvalidSettingError):
        open_hub_client(Settings(url))


def test_a_publisher_that_names_the_hub_needs_no_other_name() -> None:
    Publisher("memory://", SSE_HUB="unix:/run/app/sse.sock").close()


# -- one application, started in several ways ---------------------------------------------------------

APP = """
import json
from flask import Flask
from flask_sse import sse
from flask_sse.extension import settings_of
from flask_sse.hub.client.runtime_directory import hub_path

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"
app.register_blueprint(sse, url_prefix="/stream")
if __name__ == "__main__":
    print(hub_path(settings_of(app)))
"""
SHOW = """
from flask_sse.extension import settings_of
from flask_sse.hub.client.runtime_directory import hub_path
from {module} import app
print(hub_path(settings_of(app)))
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two modules with an application, one of them in a package, and a package that is run."""
    (tmp_path / "app.py").write_text(APP)
    package = tmp_path / "shop"
    package.mkdir()
    for module in ("__init__", "web", "__main__"):
        (package / f"{module}.py").write_text(APP if module != "__init__" else "")
    return tmp_path


def shown(folder: Path, *arguments: str) -> Path:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    return Path(done.stdout.strip())


@pytest.mark.parametrize(
    ("module", "script"),
    [("app", ["app.py"]), ("shop.web", ["-m", "shop.web"]), ("shop.__main__", ["-m", "shop"])],
)
def test_a_script_and_those_who_import_it_mean_the_same_application(
    module: str, script: list[str], shop: Path
) -> None:
    path = shown(shop, *script)
    assert shown(shop, "-c", SHOW.format(module=module)) == path
    assert path == hub_path(Settings("memory://", application=module))


def test_commands_of_the_application_meet_its_server(shop: Path) -> None:
    def command(*arguments: str) -> str:
        argv = [sys.executable, "-m", "flask", "--app", "app", "sse", *arguments]
        return subprocess.run(argv, cwd=shop, capture_output=True, text=True, timeout=60, check=True).stdout

    with FlaskRun(shop) as server, StreamClient(server.port, "/stream") as stream:
        stream.wait_for_bytes(b"retry:")
        assert command("publish", "hello").startswith("receivers: 1")
        assert stream.events(2)[1].data == "hello"
        assert json.loads(command("status", "--json"))["hub"]["streams"] == 1
        assert "hello" in command("listen", "--since", "earliest", "-n", "1")


# -- a hub in a thread is its process's own (14.37) ------------------------------------------------------


def warnings_of(caplog: pytest.LogCaptureFixture, logger: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == logger]


@pytest.mark.parametrize("what", ["a stream", "an event"])
def test_several_processes_with_a_hub_each_are_warned_about_once(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with application("shop", SSE_HUB="thread") as app:
        app.add_url_rule("/say", view_func=lambda: str(sse.publish("hello")))
        path = "/stream" if what == "a stream" else "/say"
        for _ in range(2):
            app.test_client().get(path, environ_overrides={"wsgi.multiprocess": True}).close()
        (warning,) = warnings_of(caplog, "flask_sse.extension")
        for word in ("shop", "SSE_HUB=thread", "memory://", "SSE_HUB=auto"):
            assert word in warning


@pytest.mark.parametrize(
    ("config", "is_multiprocess"),
    [
        ({"SSE_HUB": "thread"}, False),
        ({"SSE_HUB": "auto"}, True),
        ({"SSE_HUB": "thread", "SSE_BROKER_URL": "redis://127.0.0.1:1"}, True),
    ],
)
def test_where_events_reach_all_pages_nothing_is_warned_about(
    config: dict[str, str], is_multiprocess: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with application("shop") as app:
        app.config.update(config)
        environ = {"wsgi.multiprocess": is_multiprocess}
        app.test_client().get("/stream", environ_overrides=environ).close()
        assert warnings_of(caplog, "flask_sse.extension") == []


def test_gunicorn_says_that_it_has_several_workers(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP + "\napp.config['SSE_HUB'] = 'thread'\n")
    argv = [str(SCRIPTS / "gunicorn"), "-w", "2", "-b", "127.0.0.1:0", "app:app"]
    with Process(argv, cwd=tmp_path, ready="Booting worker") as gunicorn:
        port = int(gunicorn.wait_for_line("Listening at: ").rpartition(":")[2].split()[0])
        with StreamClient(port, "/stream") as stream:
            stream.wait_for_bytes(b"retry:")
        gunicorn.wait_for_line("app runs in several processes with SSE_HUB=thread")


def test_a_publisher_with_a_hub_of_its_own_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    Publisher("memory://shop", SSE_HUB="thread").close()
    (warning,) = warnings_of(caplog, "flask_sse.publisher")
    assert "memory://shop" in warning
    with capture():
        Publisher("memory://shop", SSE_HUB="thread").close()
    assert len(warnings_of(caplog, "flask_sse.publisher")) == 1
