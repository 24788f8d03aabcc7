"""The last part of the tutorial, with Redis, hub, gunicorn and nginx, as its units start them."""

from __future__ import annotations

import contextlib
import http.client
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.stories.docs.snippets import DOCS, FlaskRun, at_port, lay, read, serving, shell
from tests.support.brokers import Broker, start_redis
from tests.support.client import get
from tests.support.processes import Process, free_port, wait_until
from tests.support.webservers import SCRIPTS
from tests.tools import find

APP, PAGE = "tutorial/deploy/app.py", "tutorial/templates/index.html"
HUB_UNIT, APP_UNIT, ENV, SITE = (
    "hub/app-sse.service",
    "tutorial/deploy/app.service",
    "hub/app.env",
    "nginx/site.conf",
)
FOLDER_SHOWN, SOCKET_SHOWN, BROKER_SHOWN = "/srv/app", "/run/app/sse.sock", "redis://localhost"


def unit(name: str) -> dict[str, str]:
    """Return what a unit says, by its keys."""
    return dict(line.split("=", 1) for line in read(name).splitlines() if "=" in line)


@dataclass(frozen=True)
class Machine:
    """A machine with the files of the tutorial.

    Attributes:
        folder: In the place of ``/srv/app``.
        socket: Where the hub listens.
        broker: Its Redis.
        port: Of gunicorn.
    """

    folder: Path
    socket: Path
    broker: Broker
    port: int

    def here(self, text: str) -> str:
        """Return a text of the pages with the paths and addresses of this machine."""
        text = text.replace(f"{FOLDER_SHOWN}/.venv/bin", str(SCRIPTS)).replace(FOLDER_SHOWN, str(self.folder))
        text = text.replace(SOCKET_SHOWN, str(self.socket)).replace(BROKER_SHOWN, self.broker.url)
        return at_port(text, self.port)

    @contextmanager
    def service(self, name: str, ready: int | str) -> Iterator[Process]:
        """Start what a unit starts, and end it as ``systemctl stop`` does."""
        entries = unit(name)
        assert entries["EnvironmentFile"] == "/etc/app/sse.env"
        env = dict(line.split("=", 1) for line in self.here(read(ENV)).splitlines())
        with shell(f"exec {self.here(entries['ExecStart'])}", self.folder, env, ready) as process:
            yield process


@pytest.fixture
def machine(tmp_path: Path, runtime_directory: str) -> Iterator[Machine]:
    lay(tmp_path, {"app.py": APP, "templates/index.html": PAGE})
    with start_redis() as broker:
        yield Machine(tmp_path, Path(runtime_directory) / "sse.sock", broker, free_port())


def test_the_page_goes_on_while_the_application_is_deployed_again(machine: Machine, chromium: Page) -> None:
    def workers_are_there() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return get(machine.port, "/votes").status == 200
        return False

    with (
        machine.service(HUB_UNIT, "ready at"),
        serving(at_port(read(SITE), machine.port), machine.folder) as port,
    ):
        with machine.service(APP_UNIT, machine.port) as app:
            wait_until(workers_are_there, what="the application")
            chromium.goto(f"http://127.0.0.1:{port}/")
            chromium.evaluate("window.opened = 0; source.onopen = () => { window.opened += 1; };")
            other = chromium.context.new_page()
            other.goto(chromium.url)
            expect(chromium.locator("#tea")).to_have_text("0")
            expect(other.locator("#tea")).to_have_text("0")
            # Each request may meet another worker.
            for number in range(1, 9):
                other.click("text=tea")
                for page in (chromium, other):
                    expect(page.locator("#tea")).to_have_text(str(number))
            reload = machine.here(unit(APP_UNIT)["ExecReload"]).replace("$MAINPID", str(app.pid))
            subprocess.run(shlex.split(reload), check=True)
            app.wait_for_line("Hang up: Master")
            chromium.evaluate("window.opened = 0")
        assert "systemctl restart app" in read("tutorial/deploy/again.sh")
        with machine.service(APP_UNIT, machine.port):
            wait_until(workers_are_there, what="the application")
            other.click("text=coffee")
            for page in (chromium, other):
                expect(page.locator("#coffee")).to_have_text("1")
                expect(page.locator("#tea")).to_have_text("8")
            assert chromium.evaluate("window.opened") == 0


def test_the_units_are_what_systemd_reads_and_name_each_other(tmp_path: Path) -> None:
    service = unit(APP_UNIT)
    assert service["User"] == unit(HUB_UNIT)["User"]
    assert Path(HUB_UNIT).name in service["After"].split()
    assert Path(HUB_UNIT).name == service["Wants"]
    if program := find("systemd-analyze"):
        paths = []
        for name in (APP_UNIT, HUB_UNIT):
            paths.append(tmp_path / Path(name).name)
            paths[-1].write_text(read(name).replace(f"{FOLDER_SHOWN}/.venv/bin", str(SCRIPTS)))
        done = subprocess.run([program, "verify", *paths], capture_output=True, text=True, check=False)
        assert "app" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    "name", ["tutorial/deploy/install.sh", "tutorial/deploy/start.sh", "tutorial/deploy/again.sh"]
)
def test_its_commands_are_shell_and_name_what_the_tutorial_has(name: str) -> None:
    subprocess.run(["bash", "-n"], input=read(name), text=True, check=True)
    page = (DOCS / "tutorial.rst").read_text()
    for path in re.findall(r"/(?:srv|etc)/\w+", read(name)):
        assert path in page, path


def test_the_guard_lets_the_page_listen_and_nobody_to_anything_else(
    tmp_path: Path, runtime_directory: str, chromium: Page
) -> None:
    lay(tmp_path, {"app.py": "tutorial/app.py", "templates/index.html": PAGE})
    with (tmp_path / "app.py").open("a") as file:
        [rule] = re.findall(r"^@sse.authorize\n.+\n.+\n", read(APP), re.MULTILINE)
        file.write("\n\n" + rule)
    with FlaskRun(tmp_path) as server:
        chromium.goto(server.url)
        expect(chromium.locator("#tea")).to_have_text("0")
        with shell(at_port(read("tutorial/refused.sh"), server.port), tmp_path) as curl:
            assert curl.wait() == 0
            assert " 403 FORBIDDEN" in curl.output()


def test_eight_lines_are_those_of_flask_sse() -> None:
    python = [line for line in read("tutorial/app.py").splitlines() if re.search(r"\bsse\b|SSE_", line)]
    page = [line for line in read(PAGE).splitlines() if "source" in line]
    assert (len(python), len(page)) == (4, 4)
    assert "eight lines are Flask-SSE's" in (DOCS / "tutorial.rst").read_text()
