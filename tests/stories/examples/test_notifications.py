"""`examples/notifications`: what one user sends another one sees at once, and nobody else does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.stories.docs.snippets import FlaskRun
from tests.support.client import get


def sign_in(page: Page, server: FlaskRun, user: str) -> None:
    page.goto(server.url)
    page.get_by_role("button", name=user).click()
    expect(page.locator("#state")).to_have_text("live")


@pytest.fixture
def ada(chromium: Page, server: FlaskRun) -> Page:
    sign_in(chromium, server, "Ada")
    return chromium


@pytest.fixture
def grace(browser: Browser, server: FlaskRun) -> Iterator[Page]:
    """Another visitor."""
    with browser.new_context() as context:
        page = context.new_page()
        sign_in(page, server, "Grace")
        yield page


def send(page: Page, to: str, text: str) -> None:
    page.get_by_label("To").select_option(to)
    page.get_by_label("Text").fill(text)
    page.get_by_role("button", name="Send").click()


def test_a_notification_is_there_at_once_and_after_a_break(
    server: FlaskRun, ada: Page, grace: Page, look: Callable[[Page], None]
) -> None:
    send(ada, "Grace", "Lunch <b>now</b>?")
    expect(grace.locator("#list li")).to_have_text("AdaLunch <b>now</b>?")
    expect(grace.get_by_label("unread")).to_have_text("1")
    expect(ada.get_by_label("unread")).to_have_text("0")

    grace.context.set_offline(True)
    grace.goto("about:blank")
    send(ada, "Grace", "Where are you?")
    send(ada, "Linus", "Do you know?")
    grace.context.set_offline(False)
    grace.goto(server.url)
    expect(grace.get_by_label("unread")).to_have_text("2")
    look(grace)

    other = grace.context.new_page()
    other.goto(server.url)
    expect(other.get_by_label("unread")).to_have_text("2")
    grace.get_by_role("button", name="Mark all as read").click()
    for page in (grace, other):
        expect(page.get_by_label("unread")).to_have_text("0")


def test_signing_out_reaches_every_window(server: FlaskRun, ada: Page) -> None:
    other = ada.context.new_page()
    other.goto(server.url)
    expect(other.locator("#state")).to_have_text("live")
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_text("Who are you?")).to_be_visible()
    expect(ada.get_by_text("The stream has ended: signed out.")).to_be_visible()
    ada.get_by_role("link", name="Sign in again").click()
    expect(ada.get_by_text("Who are you?")).to_be_visible()


def test_nobody_listens_to_what_is_for_others(server: FlaskRun, ada: Page) -> None:
    assert get(server.port, "/stream?channel=user-Grace").status == 403
    answer = ada.request.get(f"{server.url}/stream?channel=user-Grace")
    assert answer.status == 403
