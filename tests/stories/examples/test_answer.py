"""`examples/answer`: an answer survives a reload, and two windows show the same."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect
from tests.stories.docs.snippets import FlaskRun

WHOLE_MS = 20_000


def ask(page: Page, question: str) -> None:
    page.get_by_label("Question").fill(question)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#question")).to_have_text(question)
    page.wait_for_function("document.querySelector('#answer').textContent.split(' ').length > 5")


def test_an_answer_survives_a_reload_and_is_the_same_in_two_windows(server: FlaskRun, chromium: Page) -> None:
    chromium.goto(server.url)
    ask(chromium, "Why <b>not</b>?")
    before = chromium.locator("#answer").text_content() or ""
    chromium.reload()
    chromium.wait_for_function("document.querySelector('#answer').textContent.split(' ').length > 10")
    other = chromium.context.new_page()
    other.goto(chromium.url)
    for page in (chromium, other):
        expect(page.locator("#state")).to_have_text("That is the answer.", timeout=WHOLE_MS)
    text = chromium.locator("#answer").text_content() or ""
    assert text.startswith(before)
    assert text.split()[-1].endswith(".")
    assert other.locator("#answer").text_content() == text
    assert other.locator("#question").text_content() == "Why <b>not</b>?"


def test_it_stops_when_it_is_told_to_and_another_question_begins_anew(
    server: FlaskRun, chromium: Page
) -> None:
    chromium.goto(server.url)
    ask(chromium, "Once?")
    chromium.get_by_role("button", name="Stop").click()
    expect(chromium.locator("#state")).to_have_text("Stopped.")
    chromium.reload()
    expect(chromium.locator("#state")).to_have_text("Stopped.")
    ask(chromium, "Again?")
    expect(chromium.get_by_role("button", name="Stop")).to_be_visible()


def test_it_looks_right_in_every_window(
    server: FlaskRun, chromium: Page, look: Callable[[Page], None]
) -> None:
    chromium.goto(server.url)
    ask(chromium, "x" * 200)
    look(chromium)
