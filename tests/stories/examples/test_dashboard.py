"""`examples/dashboard`: figures move by themselves, the same in two windows."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect
from tests.stories.docs.snippets import FlaskRun

POINTS = "document.querySelector('polyline').getAttribute('points').split(' ').length"


def test_figures_move_and_a_second_window_has_those_of_before(
    server: FlaskRun, chromium: Page, look: Callable[[Page], None]
) -> None:
    chromium.goto(server.url)
    expect(chromium.locator("#state")).to_have_text("live")
    chromium.wait_for_function(f"{POINTS} >= 4")
    other = chromium.context.new_page()
    other.goto(server.url)
    other.wait_for_function("document.querySelector('polyline').getAttribute('points')")
    assert other.evaluate(POINTS) >= 4
    for figure in other.locator("figure strong").all():
        expect(figure).not_to_have_text("–")  # noqa: RUF001 - that is what stands there at first
    look(other)
