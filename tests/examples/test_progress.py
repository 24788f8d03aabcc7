"""`examples/progress`: a job goes on whoever looks at it, and every window shows it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from tests.docs.snippets import FlaskRun
from tests.tools import ROOT

HUB = {"FLASK_SSE_HUB_LINGER_SECONDS": "1"}
WHOLE_MS = 20_000


@pytest.fixture
def server(runtime_directory: str) -> Iterator[FlaskRun]:
    with FlaskRun(ROOT / "examples" / "progress", HUB) as server:
        yield server


def start(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#state")).to_contain_text("of 60")


def test_a_job_goes_on_while_its_page_is_reloaded_and_a_second_window_shows_it(
    server: FlaskRun, chromium: Page, tmp_path: object
) -> None:
    start(chromium, server.url)
    chromium.reload()
    other = chromium.context.new_page()
    other.goto(chromium.url)
    chromium.screenshot(path=f"{tmp_path}/light.png")
    for page in (chromium, other):
        expect(page.locator("#state")).to_have_text("60 of 60, 7590 KB saved, done", timeout=WHOLE_MS)
        expect(page.locator("#percent")).to_have_text("100 %")
        expect(page.get_by_role("button", name="Start another one")).to_be_visible()


def test_any_window_cancels_it(server: FlaskRun, chromium: Page, tmp_path: object) -> None:
    chromium.emulate_media(color_scheme="dark")
    start(chromium, server.url)
    other = chromium.context.new_page()
    other.set_viewport_size({"width": 390, "height": 800})
    other.emulate_media(color_scheme="dark")
    other.goto(chromium.url)
    expect(other.locator("#state")).to_contain_text("of 60")
    other.screenshot(path=f"{tmp_path}/dark.png")
    assert other.evaluate("document.documentElement.scrollWidth") <= 390
    other.get_by_role("button", name="Cancel").click()
    for page in (chromium, other):
        expect(page.locator("#state")).to_contain_text("cancelled")
