"""The application with Flask-Login: streams end with their sign-in, or with all of a user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page
from tests.stories.docs.snippets import FlaskRun, lay
from tests.support.access import ended
from tests.support.brokers import Broker
from tests.support.client import StreamClient

from flask_sse import Publisher

FILES = {
    "app.py": "login/app.py",
    "server_side.py": "login/server_side.py",
    "templates/page.html": "login/page.html",
}
# What the page has in the place of this is the application's own.
REST = """
from flask import render_template
from {module} import app
from flask_sse import sse

@app.get("/address")
def address():
    return sse.url("user-ann")

@app.get("/")
def page():
    return render_template("page.html")
"""
ANN = "/stream?channel=user-ann"


@dataclass(frozen=True)
class Site:
    """The running application.

    Attributes:
        server: Its web server.
        publisher: To its pages.
    """

    server: FlaskRun
    publisher: Publisher

    @contextmanager
    def device(self, name: str | None = None) -> Iterator[httpx.Client]:
        """A browser, signed in as ``name``."""
        with httpx.Client(base_url=self.server.url) as client:
            if name:
                assert client.post("/login", data={"name": name}).text == "welcome"
            yield client

    def stream(self, device: httpx.Client, path: str = ANN) -> StreamClient:
        """A stream that a device opens, with its cookies."""
        cookies = "; ".join(f"{name}={value}" for name, value in device.cookies.items())
        return StreamClient(self.server.port, path, {"Cookie": cookies} if cookies else {})

    def opened(self, device: httpx.Client, path: str = ANN) -> StreamClient:
        """A stream that is allowed."""
        stream = self.stream(device, path)
        stream.wait_opened()
        return stream

    def check_refused(self, device: httpx.Client, path: str = ANN) -> None:
        """Check that a device may not listen."""
        with self.stream(device, path) as stream:
            assert stream.status == 403

    def check_goes_on(self, stream: StreamClient) -> None:
        """Check that a stream still gets events."""
        self.publisher.publish("still here", channel="user-ann")
        assert stream.next_event().data == "still here"


@pytest.fixture(params=["app", "server_side"])
def site(
    request: pytest.FixtureRequest, valkey: Broker, tmp_path: Path, runtime_directory: str
) -> Iterator[Site]:
    """With sessions in cookies, and with sessions on the server."""
    lay(tmp_path, FILES)
    (tmp_path / "whole.py").write_text(REST.format(module=request.param))
    publisher = Publisher("memory://login")
    with FlaskRun(tmp_path, {"FLASK_APP": "whole", "REDIS_URL": valkey.url}) as server:
        yield Site(server, publisher)
    publisher.close()


def test_nobody_listens_to_the_channel_of_somebody_else(site: Site) -> None:
    with site.device("ann") as ann, site.device("bob") as bob, site.device() as nobody:
        with site.opened(ann) as stream:
            site.check_goes_on(stream)
        site.check_refused(bob)
        site.check_refused(nobody)
        site.check_refused(ann, "/stream?channel=user-ann&channel=user-bob")


def test_signing_out_ends_the_streams_of_this_sign_in_alone(site: Site) -> None:
    with site.device("ann") as laptop, site.device("ann") as phone:
        with site.opened(laptop) as here, site.opened(phone) as there:
            assert laptop.post("/logout").text == "bye"
            assert "signed out" in ended(here).data
            site.check_goes_on(there)
        site.check_refused(laptop)
        with site.opened(phone) as again:
            site.check_goes_on(again)


def test_signing_out_everywhere_ends_all_of_them_until_the_next_sign_in(site: Site) -> None:
    with site.device("ann") as laptop, site.device("ann") as phone:
        with site.opened(laptop) as here, site.opened(phone) as there:
            assert laptop.post("/logout-everywhere").text == "bye"
            assert {ended(stream).data for stream in (here, there)} == {'{"reason": "signed out everywhere"}'}
        site.check_refused(laptop)
        site.check_refused(phone)
    with site.device("ann") as laptop, site.opened(laptop) as stream:
        site.check_goes_on(stream)


def test_who_is_remembered_has_a_sign_in_of_its_own(site: Site) -> None:
    with site.device("ann") as laptop, site.device() as later:
        later.cookies.set("remember_token", laptop.cookies["remember_token"])
        assert later.get("/address").status_code == 200
        with site.opened(laptop) as first, site.opened(later) as second:
            assert later.post("/logout").text == "bye"
            ended(second)
            site.check_goes_on(first)


def test_a_stream_begins_no_sign_in_that_no_sign_out_could_end(site: Site) -> None:
    """It saves no session, so nobody would know its subject (13.9)."""
    with site.device("ann") as laptop, site.device() as later:
        later.cookies.set("remember_token", laptop.cookies["remember_token"])
        site.check_refused(later)


@pytest.mark.parametrize("path", ["/logout", "/logout-everywhere"])
def test_tickets_end_with_the_sign_in_that_they_were_made_in(site: Site, path: str) -> None:
    with site.device("ann") as laptop, site.device("ann") as phone, site.device() as nobody:
        here, there = (device.get("/address").text for device in (laptop, phone))
        with site.opened(nobody, here) as stream:
            assert laptop.post(path).text == "bye"
            ended(stream)
        with site.stream(nobody, here) as stream:
            ended(stream)
        if path == "/logout":
            with site.opened(nobody, there) as stream:
                site.check_goes_on(stream)
        else:
            with site.stream(nobody, there) as stream:
                ended(stream)


def test_the_page_loads_itself_again_and_listens_no_more(site: Site, chromium: Page) -> None:
    chromium.context.request.post(f"{site.server.url}/login", form={"name": "ann"})
    with chromium.expect_response("**/stream?*") as answer:
        chromium.goto(site.server.url)
    assert answer.value.status == 200
    with chromium.expect_response("**/stream?*") as answer, site.device("ann") as phone:
        phone.post("/logout-everywhere")
    assert answer.value.status == 403
