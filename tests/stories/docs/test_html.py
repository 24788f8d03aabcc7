"""The snippets on HTML do what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.stories.docs.snippets import FlaskRun, lay, post
from tests.support.client import StreamClient
from tests.support.packages import serve_packages

FILES = {
    "app.py": "html/app.py",
    "static/htmx.html": "html/static/htmx.html",
    "static/htmx-answer.html": "html/static/htmx-answer.html",
    "static/turbo.html": "html/static/turbo.html",
    "static/datastar.html": "html/static/datastar.html",
}


@pytest.mark.parametrize("library", ["htmx", "turbo"])
def test_a_word_comes_into_the_page(
    library: str, tmp_path: Path, chromium: Page, runtime_directory: str
) -> None:
    lay(tmp_path, FILES)
    serve_packages(chromium.context)
    with FlaskRun(tmp_path) as server:
        with chromium.expect_response("**/stream?*"):
            chromium.goto(f"{server.url}/static/{library}.html")
        assert post(f"{server.url}/{library}/hello") == 204
        expect(chromium.locator("#words li")).to_have_text(["hello"])
        if library == "htmx":
            expect(chromium.locator("[sse-swap=word] b")).to_have_text("hello")


def test_htmx_closes_a_stream_that_ended(tmp_path: Path, chromium: Page, runtime_directory: str) -> None:
    lay(tmp_path, FILES)
    serve_packages(chromium.context)
    closed = (
        "addEventListener('htmx:sseClose', (event) => { document.title = `closed by ${event.detail.type}` })"
    )
    chromium.add_init_script(closed)
    with FlaskRun(tmp_path) as server:
        chromium.goto(f"{server.url}/static/htmx-answer.html")
        expect(chromium.locator("li")).to_have_text(["one", "two"])
        expect(chromium).to_have_title("closed by message")


def test_datastar_gets_an_element_and_a_signal(tmp_path: Path, runtime_directory: str) -> None:
    lay(tmp_path, FILES)
    with FlaskRun(tmp_path) as server, StreamClient(server.port, "/stream?channel=datastar") as stream:
        stream.wait_opened()
        assert post(f"{server.url}/datastar/hello") == 204
        assert [(each.type, each.data) for each in stream.events(2)] == [
            ("datastar-patch-elements", "mode append\nselector #words\nelements <li>hello</li>"),
            ("datastar-patch-signals", 'signals {"last":"hello"}'),
        ]
