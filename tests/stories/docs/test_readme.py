"""The README's example works as it is pasted."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from flask import session
from playwright.sync_api import Page, expect
from tests.stories.docs.snippets import FlaskRun, post
from tests.support.client import StreamClient, get
from tests.support.local import local_app
from tests.support.processes import wait_until
from tests.tools import ROOT

from flask_sse import ServerSentEventsBlueprint, sse
from flask_sse.hub.client.open_client import open_hub_client
from flask_sse.settings import Settings

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON, HTML, MORE, SHELL, RULE = BLOCK.findall((ROOT / "README.md").read_text())
MAX_LINES_OF_CODE = 15


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The two files that the README tells to make."""
    (tmp_path / "app.py").write_text(PYTHON[1])
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "index.html").write_text(HTML[1])
    return tmp_path


def test_it_has_one_application_one_page_and_one_command_line() -> None:
    kinds = [block[0] for block in (PYTHON, HTML, MORE, SHELL, RULE)]
    assert kinds == ["python", "html", "python", "sh", "python"]
    assert len(PYTHON[1].splitlines()) < MAX_LINES_OF_CODE


def test_what_a_generator_yields_goes_to_one_page_or_to_any_number() -> None:
    with local_app(SSE_BROKER_URL="memory://readme", SSE_HUB="thread") as app, app.test_request_context():
        one, any_number = MORE[1].splitlines()
        assert eval(one, {"sse": sse, "generator": iter("ab")}).mimetype == "text/event-stream"
        assert eval(any_number, {"sse": sse, "generator": iter("ab")}).startswith("run:")


def test_its_rule_lets_everybody_listen_to_their_own_channel() -> None:
    blueprint = ServerSentEventsBlueprint("sse", __name__)
    blueprint.add_url_rule(rule="", endpoint="stream", view_func=blueprint.stream)
    exec(RULE[1], {"sse": blueprint, "session": session})
    with local_app(blueprint, SSE_BROKER_URL="memory://readme", SSE_HUB="thread", SECRET_KEY="x") as app:
        client = app.test_client()
        with client.session_transaction() as visitor:
            visitor["user_id"] = 7
        for user, status in ((7, 200), (8, 403)):
            with client.get(f"/stream?channel=user-{user}", buffered=False) as response:
                assert response.status_code == status


def test_what_is_said_reaches_a_stream(example: Path, runtime_directory: str) -> None:
    with FlaskRun(example) as server, StreamClient(server.port, "/stream") as stream:
        stream.wait_for_bytes(b"retry:")
        assert get(server.port, "/index.html").body == HTML[1].encode()
        assert post(f"{server.url}/say", b"text=hello") == 204
        opened, said = stream.events(2)
        assert opened.type == "stream-open"
        assert (said.type, said.data) == ("said", "hello")


def test_what_one_window_says_is_seen_in_both(example: Path, runtime_directory: str, chromium: Page) -> None:
    hub_client = open_hub_client(Settings("memory://", application="app"))
    with FlaskRun(example) as server:
        other = chromium.context.new_page()
        for window in (chromium, other):
            window.goto(f"{server.url}/index.html")
        wait_until(lambda: hub_client.status()["streams"] == 2, what="both streams")
        chromium.fill("input", "hello")
        chromium.click("button")
        for window in (chromium, other):
            expect(window.locator("li")).to_have_text("hello")
    hub_client.close()


def test_its_command_lines_are_shell() -> None:
    subprocess.run(["bash", "-n"], input=SHELL[1], text=True, check=True)


def test_every_file_that_it_links_is_there() -> None:
    for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text()
        links = {link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
        links |= set(re.findall(r"`(docs/[\w./-]+\.rst)`", text))
        assert [link for link in links if not (ROOT / link).exists()] == [], name
