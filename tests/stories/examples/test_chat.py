"""`examples/chat`: who comes sees what was said, and rooms are apart."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect
from tests.stories.docs.snippets import FlaskRun
from tests.support.client import get


def say(page: Page, name: str, text: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Say").click()


def test_two_talk_and_a_third_reads_it_later(
    server: FlaskRun, chromium: Page, look: Callable[[Page], None]
) -> None:
    one, other = chromium, chromium.context.new_page()
    for page in (one, other):
        page.goto(server.url)
        expect(page.locator("#state")).to_have_text("live")
    say(one, "Ann", "Is <i>anybody</i> here?")
    expect(other.get_by_role("log").locator("li")).to_have_text(["Ann is here", "AnnIs <i>anybody</i> here?"])
    say(other, "Bob", "I am")
    for page in (one, other):
        expect(page.get_by_role("log").locator("li").last).to_have_text("BobI am")

    late = chromium.context.new_page()
    late.goto(server.url)
    expect(late.get_by_role("log").locator("li")).to_have_count(4)
    look(late)

    late.get_by_role("link", name="music").click()
    expect(late.locator("#state")).to_have_text("live")
    say(late, "Cat", "Listen")
    expect(late.get_by_role("log").locator("li")).to_have_count(2)
    expect(one.get_by_role("log").locator("li")).to_have_count(4)


def test_there_are_no_other_rooms(server: FlaskRun) -> None:
    assert get(server.port, "/stream?channel=room-secret").status == 403
    assert get(server.port, "/secret").status == 404
