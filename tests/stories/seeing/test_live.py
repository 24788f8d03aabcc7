"""The live page: for whom it is, what it shows, and that nothing that it shows can harm it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from flask import Flask, request
from playwright.sync_api import Page, expect
from tests.support.local import LocalServer, close, make_app
from tests.support.processes import wait_until

from flask_sse import UsageError, sse
from flask_sse.channels import STATUS_CHANNEL
from flask_sse.live import LivePage

EVIL = "<img src=x onerror=\"document.title='hit'\">"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


def live_app(**config: Any) -> Flask:
    app = make_app(**{"SSE_BROKER_URL": "memory://live", "SSE_HUB": "thread", **config})
    app.register_blueprint(
        LivePage(may_see=lambda: request.headers.get("X-Who", "operator") == "operator"), url_prefix="/live"
    )
    return app


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """An application with its live page, for whoever does not say to be somebody else."""
    with LocalServer(live_app(SSE_MAX_BACKLOG_BYTES=50_000_000, SSE_MAX_CHANNELS_PER_STREAM=2)) as server:
        yield server


def publish(server: LocalServer, data: object, **fields: Any) -> None:
    with server.app.app_context():
        sse.publish(data, **fields)


def test_it_is_for_nobody_unless_it_is_said_for_whom() -> None:
    with pytest.raises(TypeError):
        LivePage()  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="who may see it"):
        LivePage(may_see=None)  # type: ignore[arg-type]
    app = live_app()
    client = app.test_client()
    for path, method in (("", "get"), ("stream", "get"), ("publish", "post"), ("disconnect", "post")):
        answer = getattr(client, method)(f"/live/{path}", json={}, headers={"X-Who": "visitor"})
        assert answer.status_code == 403, path
    assert client.get("/live/static/live.js", headers={"X-Who": "visitor"}).status_code == 403
    close(app)


@pytest.mark.parametrize("path", ["publish", "disconnect"])
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ("channel=a", "application/x-www-form-urlencoded", 415),
        ('{"channel": "a"}', "text/plain", 415),
        ("[]", "application/json", 400),
        ('{"channel": 1}', "application/json", 400),
        ("{", "application/json", 400),
        ('{"channel": "", "data": "", "type": "", "subject": ""}', "application/json", 400),
    ],
)
def test_what_the_form_of_another_site_could_send_does_nothing(
    path: str, body: str, kind: str, status: int
) -> None:
    app = live_app()
    assert app.test_client().post(f"/live/{path}", data=body, content_type=kind).status_code == status
    close(app)


def test_no_page_can_ask_for_the_reports_of_the_hub(server: LocalServer) -> None:
    assert server.get(f"/stream?channel={STATUS_CHANNEL}").status == 400


def test_reports_come_once_a_second_without_a_worker_and_end_with_the_page(server: LocalServer) -> None:
    with server.stream("/live/stream") as watcher, server.stream("/stream?channel=a") as stream:
        stream.wait_opened()
        first = watcher.next_event()
        assert first.type == "status"
        publish(server, {"n": 1}, type="number", channel="a")
        seen: list[dict[str, Any]] = wait_until(
            lambda: json.loads(watcher.next_event().data)["events_seen"], what="the event"
        )
        assert seen == [{"channel": "a", "type": "number", "id": None, "bytes": 36, "data": '{"n": 1}'}]
        report = json.loads(watcher.next_event().data)
        assert report["events_seen"] == []
        assert report["streams"] == 2
        assert report["busiest"][0]["channel"] == "a"
        assert report["channels"] == 1, "its own is none of the application"
    wait_until(lambda: server.status()["streams"] == 0, what="the end of all streams")


def test_an_operator_sees_what_goes_on_and_acts(server: LocalServer, chromium: Page) -> None:
    with server.stream("/stream?channel=orders") as slow:
        slow.wait_opened()
        chromium.goto(f"http://127.0.0.1:{server.port}/live/")
        expect(chromium.locator("#connection")).to_have_text("live")
        expect(chromium.locator("#busiest tbody")).to_contain_text("orders")
        expect(chromium.locator("[data-chart=streams] strong")).to_have_text("2")

        form = chromium.locator("#publish")
        form.get_by_label("Channel").fill("orders")
        form.get_by_label("Type").fill("paid")
        form.get_by_label("Data").fill(EVIL)
        form.get_by_role("button").click()
        expect(form.locator("output")).to_have_text("Receivers: 1")
        row = chromium.locator("#events tbody tr").first
        expect(row).to_contain_text("paid")
        expect(row).to_contain_text(EVIL)
        assert chromium.title() == "Live events"

        for _ in range(40):
            publish(server, "x" * 250_000, channel="orders")
        expect(chromium.locator("#slowest tbody tr").first).to_contain_text("orders")

        chromium.on("dialog", lambda dialog: dialog.accept())
        chromium.locator("#busiest").get_by_role("button", name="Disconnect").click()
        expect(chromium.locator("#disconnect output")).to_have_text("Done.")
        assert slow.wait_closed() in {"eof", "reset"}
        expect(chromium.locator("[data-chart=streams] strong")).to_have_text("1")


def test_a_time_that_is_none_stops_no_table(server: LocalServer, chromium: Page) -> None:  # 13.11
    with server.stream("/live/stream") as watcher:
        report = json.loads(watcher.next_event().data)
    row = {"streams": 1, "events": 1}
    report["busiest"] = [
        {**row, "channel": name, "last_event_id": f"abcdefgh.{time}-0"}
        for name, time in (("forged", "9" * 16), ("huge", "9" * 400), ("right", "1700000000000"))
    ]
    report["resets"] = 4711
    chromium.route(
        "**/live/stream",
        lambda route: route.fulfill(
            content_type="text/event-stream", body=f"event:status\ndata:{json.dumps(report)}\n\n"
        ),
    )
    chromium.goto(f"http://127.0.0.1:{server.port}/live/")
    expect(chromium.locator("#busiest tbody tr")).to_have_count(3)
    expect(chromium.locator("#busiest tbody tr").first).to_contain_text("\N{EN DASH}")
    counts = chromium.locator("#counts")
    expect(counts).to_contain_text("4,711")
    assert "NaN" not in counts.inner_text(), "a count that no report has"


def test_refused_orders_are_told(server: LocalServer, chromium: Page) -> None:
    chromium.goto(f"http://127.0.0.1:{server.port}/live/")
    chromium.locator("#disconnect").get_by_role("button").click()
    output = chromium.locator("#disconnect output")
    expect(output).to_have_text(re.compile("needs a subject, a channel or both"))
    expect(output).to_have_class("bad")


def test_nothing_is_wider_than_the_window(server: LocalServer, chromium: Page, tmp_path: Path) -> None:
    with server.stream(f"/stream?channel={'long' * 40}&channel=a") as stream:
        stream.wait_opened()
        chromium.goto(f"http://127.0.0.1:{server.port}/live/")
        expect(chromium.locator("#busiest tbody")).to_contain_text("long")
        publish(server, "word " * 100, channel="a")
        expect(chromium.locator("#events tbody")).to_contain_text("word")
        for size, scheme in itertools.product(SIZES, SCHEMES):
            width, height = SIZES[size]
            chromium.set_viewport_size({"width": width, "height": height})
            chromium.emulate_media(color_scheme=scheme)
            chromium.screenshot(path=tmp_path / f"{size}-{scheme}.png", full_page=True)
            assert chromium.evaluate("document.documentElement.scrollWidth") <= width
