"""`examples/todo`: a list that two windows share, with the real htmx."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from tests.stories.docs.snippets import FlaskRun, post
from tests.support.packages import serve_packages


@pytest.fixture
def windows(chromium: Page) -> tuple[Page, Page]:
    serve_packages(chromium.context)
    return chromium, chromium.context.new_page()


def test_both_windows_show_what_either_does(
    server: FlaskRun, windows: tuple[Page, Page], look: Callable[[Page], None]
) -> None:
    one, other = windows
    for page in windows:
        with page.expect_response("**/todos"):  # it fetches the list when its stream opens
            page.goto(server.url)
    one.get_by_label("What is to be done").fill("Buy <milk>")
    one.get_by_role("button", name="Add").click()
    for page in windows:
        expect(page.locator("#todos li")).to_have_count(2)
        expect(page.locator("#todos li").last).to_contain_text("Buy <milk>")
    expect(one.get_by_label("What is to be done")).to_have_value("")
    other.get_by_role("checkbox", name="Done: Buy <milk>").click()
    expect(one.get_by_role("checkbox", name="Done: Buy <milk>")).to_be_checked()
    look(one)
    other.get_by_role("button", name="Remove: Buy <milk>").click()
    for page in windows:
        expect(page.locator("#todos li")).to_have_count(1)


def test_the_form_of_another_site_changes_nothing(server: FlaskRun) -> None:
    assert post(f"{server.url}/todos", b"text=spam") == 403
