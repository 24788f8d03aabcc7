"""Clients that others wrote see exactly what was published, by takeover and by relay."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from tests.support import webservers
from tests.support.local import serve
from tests.support.processes import Process, wait_until
from tests.support.tools import require
from tests.support.webservers import RunningServer
from tests.tools import CLIENTS

from flask_sse import Publisher

APPS = Path(__file__).parent / "apps"
BROKER_URL = f"memory://clients-{uuid.uuid4().hex}"

UNICODE = "grüße \N{TEST TUBE} \u2028\u2029\x85\x0b\x0c\x1c\x00 end"
LARGE = "0123456789ä\n" * 12_000

# What is published; the data and the last event id that every client sees.
PUBLISHED: list[tuple[dict[str, Any], str, str]] = [
    ({"data": "first", "id": 0}, "first", "0"),
    ({"data": "two\nlines", "id": "one"}, "two\nlines", "one"),
    ({"data": "every\r\nkind\rof\n\nline end\n", "id": 2}, "every\nkind\nof\n\nline end\n", "2"),
    ({"data": UNICODE, "id": "ü"}, UNICODE, "ü"),
    ({"data": " a space first", "id": " 4"}, " a space first", " 4"),
    ({"data": "id: no field\n: no comment\ndata", "id": 5}, "id: no field\n: no comment\ndata", "5"),
    ({"data": "\N{BYTE ORDER MARK}in front", "id": 6, "retry": 3000}, "\N{BYTE ORDER MARK}in front", "6"),
    ({"data": {"a": ["ü", None, 1.5]}, "id": 7}, '{"a": ["\\u00fc", null, 1.5]}', "7"),
    ({"data": "", "id": 8}, "", "8"),
    ({"data": LARGE, "id": 9}, LARGE, "9"),
    ({"data": "last", "id": ""}, "last", ""),
]
EXPECTED = [(data, last_event_id) for _, data, last_event_id in PUBLISHED]

# A page collects what its EventSource hears.
LISTEN = """
([url, type]) => {
    window.events = [];
    window.opened = [];
    window.failed = [];
    window.source = new EventSource(url);
    source.onopen = () => opened.push(performance.now());
    source.onerror = () => failed.push(performance.now());
    source.addEventListener(type, ({data, lastEventId}) => events.push([data, lastEventId]));
}
"""


def programs() -> dict[str, list[str | Path]]:
    return {
        "npm eventsource": [require("node"), require("eventsource").parents[1] / "listen.mjs"],
        "httpx-sse": [sys.executable, CLIENTS / "listen_httpx_sse.py"],
        "sseclient-py": [sys.executable, CLIENTS / "listen_sseclient.py"],
    }


@pytest.fixture(scope="module", params=["takeover", "relay"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """One sync worker by takeover; by relay a stream holds a thread."""
    servers = {"takeover": ("gunicorn-sync", "auto"), "relay": ("flask-threaded", "off")}
    name, takeover = servers[request.param]
    env = {
        "STORY_BROKER_URL": BROKER_URL,
        "STORY_TAKEOVER": takeover,
        "STORY_HEARTBEAT_SECONDS": "0.25",
    }
    with webservers.start(name, "story:app", APPS, env) as running:
        yield running


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with contextlib.closing(Publisher(BROKER_URL)) as publisher:
        yield publisher


def wait_for_heartbeats(server: RunningServer) -> None:
    """All streams have the same rhythm: when one has heard two, every other has heard one."""
    with server.stream("/stream?channel=quiet") as stream:
        stream.wait_for_bytes(b"\n:\n\n:\n")


def test_every_client_sees_exactly_what_was_published(
    server: RunningServer, publisher: Publisher, channel: str, chromium: Page
) -> None:
    path = f"/stream?channel={channel}"
    words = [f"{server.url}{path}", "part", str(len(PUBLISHED))]
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(Process([*argv, *words], cwd=CLIENTS))
            for name, argv in programs().items()
        }
        chromium.goto(f"{server.url}/ordinary")
        chromium.evaluate(LISTEN, [path, "part"])
        chromium.wait_for_function("opened.length == 1")
        for process in processes.values():
            process.wait_for_line("open")

        for number, (fields, _, _) in enumerate(PUBLISHED):
            assert publisher.publish(**fields, type="part", channel=channel) == len(processes) + 1
            publisher.publish("for others", type="other", channel=channel)
            if number == 4:
                wait_for_heartbeats(server)

        for name, process in processes.items():
            assert process.wait() == 0, process.output()
            # Not splitlines(), which splits at what JSON of node holds as it is.
            lines = [json.loads(line) for line in process.output().split("\n")[1:-1]]
            assert [(line["data"], line["lastEventId"]) for line in lines] == EXPECTED, name
    chromium.wait_for_function(f"events.length == {len(PUBLISHED)}")
    assert [tuple(event) for event in chromium.evaluate("events")] == EXPECTED
    assert chromium.evaluate("[opened.length, failed.length]") == [1, 0]
    chromium.evaluate("source.close()")
    wait_until(lambda: publisher.publish("anyone?", channel=channel) == 0, what="all clients to be gone")


def test_a_page_comes_back_by_itself_after_the_time_that_an_event_said(channel: str, chromium: Page) -> None:
    """Without it the time would be a minute."""
    with serve(SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}", SSE_RETRY_MS="60000-61000") as server:
        server.app.add_url_rule("/", view_func=lambda: "a page")
        chromium.goto(f"http://127.0.0.1:{server.port}/")
        chromium.evaluate(LISTEN, [f"/stream?channel={channel}", "part"])
        chromium.wait_for_function("opened.length == 1")
        assert server.publish("before", type="part", retry=50, channel=channel) == 1
        chromium.wait_for_function("events.length == 1")
        os.kill(server.status()["pid"], signal.SIGKILL)
        chromium.wait_for_function("opened.length == 2")
        assert chromium.evaluate("opened[1] - failed[0]") < 30_000
        assert server.publish("after", type="part", channel=channel) == 1
        chromium.wait_for_function("events.length == 2")
        assert [data for data, _ in chromium.evaluate("events")] == ["before", "after"]
