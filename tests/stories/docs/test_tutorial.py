"""The tutorial, step by step, and the tests that a how-to page writes for its application."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.stories.docs.snippets import SNIPPETS, FlaskRun, at_port, lay, read, shell
from tests.support.processes import wait_until
from tests.support.tools import require

FILES = {"app.py": "tutorial/app.py", "templates/index.html": "tutorial/templates/index.html"}


def at_that_time(stream: str) -> str:
    """Return the text of a stream with the random numbers and the time that the page shows."""
    for pattern, shown in (
        (r"(?<=retry:)\d+", "3076"),
        (r"(?<=id:)[a-z]{8}\.", "kqzvhdmx."),
        (r"(?<=\.)[1-9]\d+-0", "1795384602853-0"),
    ):
        stream = re.sub(pattern, shown, stream)
    return stream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The application of the tutorial."""
    lay(tmp_path, FILES)
    return tmp_path


@pytest.fixture
def server(folder: Path, runtime_directory: str) -> Iterator[FlaskRun]:
    """The application, served."""
    with FlaskRun(folder) as server:
        yield server


def test_a_listener_sees_what_the_tutorial_shows(folder: Path, server: FlaskRun) -> None:
    require("curl")
    (folder / ".curlrc").write_text("silent\n")
    with shell(at_port(read("tutorial/listen.sh"), server.port), folder, ready="retry:") as listener:
        with shell(at_port(read("tutorial/vote.sh"), server.port), folder) as vote:
            assert vote.wait() == 0
        shown = read("tutorial/stream.txt")
        wait_until(lambda: listener.output().count("\n") >= shown.count("\n"), what="the event")
        seen = at_that_time(listener.output())
    assert seen == shown


def test_the_page_shows_votes_and_what_another_process_publishes(
    folder: Path, server: FlaskRun, chromium: Page
) -> None:
    chromium.goto(server.url)
    tea = chromium.locator("#tea")
    expect(tea).to_have_text("0")
    chromium.click("text=tea")
    expect(tea).to_have_text("1")
    publish = SNIPPETS / "tutorial/publish.py"
    done = subprocess.run([sys.executable, publish], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    expect(tea).to_have_text("1000")


def test_its_tests_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    snippets = {"test_votes.py": "testing/test_votes.py", "test_unittest.py": "testing/test_unittest.py"}
    lay(folder, snippets)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-p",
        "flask_sse.pytest_plugin",
        "--rootdir",
        ".",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "4 passed" in done.stdout, done.stdout


def test_the_rest_of_its_command_lines_are_shell() -> None:
    subprocess.run(["bash", "-n"], input=read("tutorial/install.sh"), text=True, check=True)
