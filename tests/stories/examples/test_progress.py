"""`examples/progress`: a job goes on whoever looks at it, and every window shows it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect
from tests.stories.docs.snippets import FlaskRun

WHOLE_MS = 20_000


def start(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#state")).to_contain_text("of 60")


def test_a_job_goes_on_while_its_page_is_reloaded_and_a_second_window_shows_it(
    server: FlaskRun, chromium: Page, look: Callable[[Page], None]
) -> None:
    start(chromium, server.url)
    chromium.reload()
    other = chromium.context.new_page()
    other.goto(chromium.url)
    look(chromium)
    for page in (chromium, other):
        expect(page.locator("#state")).to_have_text("60 of 60, 7590 KB saved, done", timeout=WHOLE_MS)
        expect(page.locator("#percent")).to_have_text("100 %")
        expect(page.get_by_role("button", name="Start another one")).to_be_visible()


def test_any_window_cancels_it(server: FlaskRun, chromium: Page) -> None:
    start(chromium, server.url)
    other = chromium.context.new_page()
    other.goto(chromium.url)
    expect(other.locator("#state")).to_contain_text("of 60")
    other.get_by_role("button", name="Cancel").click()
    for page in (chromium, other):
        expect(page.locator("#state")).to_contain_text("cancelled")
