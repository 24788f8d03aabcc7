"""`make demo` as a visitor meets it: a real browser, two tabs, one server with one thread."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Locator, Page, expect
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, children, free_port, running, wait_until

SERVE = Path(__file__).parents[3] / "examples" / "demo" / "serve.py"
LINGER_SECONDS = 1
WELCOME = "Flask-SSE demo: http://127.0.0.1:{port}\nOpen it in two tabs. Ctrl-C ends it.\n"
JOB_MS = 15_000  # the job itself takes 4 seconds


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def demo(port: int, runtime_directory: str) -> Iterator[Process]:
    env = {"PORT": str(port), "FLASK_SSE_HUB_LINGER_SECONDS": str(LINGER_SECONDS)}
    with Process([sys.executable, SERVE], env, ready=f"http://127.0.0.1:{port}") as process:
        yield process


def test_two_tabs_see_the_same_and_nothing_is_left_behind(
    demo: Process, port: int, runtime_directory: str, chromium: Page
) -> None:
    one, two = chromium, chromium.context.new_page()
    for tab in (one, two):
        tab.goto(f"http://127.0.0.1:{port}")
        expect(tab.get_by_text("live", exact=True)).to_be_visible()
    feed_moves(two)
    for tab in (one, two):
        expect(tab.locator("#streams")).to_have_text("2")
        expect(tab.get_by_text("served by one process with one thread; 2 streams are open")).to_be_visible()

    one.get_by_role("button", name="Start the job").click()
    one.get_by_label("Message", exact=True).fill("Hello <b>both</b>")
    one.get_by_role("button", name="Send").click()
    for tab in (one, two):
        expect(tab.get_by_role("log")).to_contain_text("Hello <b>both</b>")
    expect(one.get_by_text("sent to 2 streams")).to_be_visible()

    # In the middle of the job, with both streams open, the only thread answers at once.
    assert ask(port, "/jobs", {}) == (http.client.CONFLICT, {"error": "A job is running already."})
    assert psutil.Process(demo.pid).num_threads() == 1
    two.reload()
    for tab in (one, two):
        expect(progress(tab)).not_to_have_js_property("value", 0)
    for tab in (one, two):
        expect(progress(tab)).to_have_js_property("value", 100, timeout=JOB_MS)
        expect(tab.get_by_role("button", name="Start the job")).to_be_enabled()

    two.close()
    expect(one.locator("#streams")).to_have_text("1")

    helpers = children(demo.pid)
    hub = hub_of(runtime_directory)
    assert helpers
    assert demo.terminate() == 0
    assert not any(map(running, helpers))
    assert demo.output() == WELCOME.format(port=port)
    expect(one.get_by_text("reconnecting", exact=True)).to_be_visible()
    wait_until(lambda: not running(hub), what="the end of the hub")


def test_ctrl_c_in_the_middle_of_a_job_ends_the_job_too(demo: Process, port: int) -> None:
    status, answer = ask(port, "/jobs", {})
    job = answer["pid"]
    assert (status, running(job)) == (http.client.ACCEPTED, True)
    os.kill(demo.pid, signal.SIGINT)
    assert demo.wait() == 0
    assert not running(job)
    assert "Traceback" not in demo.output()


def test_the_feed_ends_when_the_server_is_killed(demo: Process) -> None:
    (feed,) = wait_until(lambda: children(demo.pid))
    demo.kill()
    wait_until(lambda: not running(feed), what="the end of the feed")


def test_a_connection_that_asks_nothing_holds_nobody_up(demo: Process, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):
        assert ask(port, "/messages", {"text": "  to nobody  "}) == (http.client.OK, {"receivers": 0})


def test_what_is_no_message_is_refused(demo: Process, port: int) -> None:
    for body in ({"text": " "}, {"text": "x" * 201}, {"text": 7}, {}, ["text"]):
        assert ask(port, "/messages", body)[0] == http.client.BAD_REQUEST
    assert ask(port, "/messages", {"text": "x" * 5000})[0] == http.client.REQUEST_ENTITY_TOO_LARGE
    for path in ("/messages", "/jobs"):
        status, _ = ask(port, path, {"text": "x"}, content_type="text/plain")
        assert status == http.client.UNSUPPORTED_MEDIA_TYPE


def test_a_taken_port_is_said_with_the_way_out(runtime_directory: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Process([sys.executable, SERVE], {"PORT": port}) as process:
            assert process.wait() == 1
    assert f"Port {port} cannot be used: another program has it" in process.output()
    assert "PORT=8001 make demo" in process.output()


def feed_moves(tab: Page) -> None:
    line = tab.locator("#chart-line")
    before = line.get_attribute("d")
    expect(line).not_to_have_attribute("d", before or "")


def progress(tab: Page) -> Locator:
    return tab.get_by_role("progressbar")


def ask(port: int, path: str, body: object, content_type: str = "application/json") -> tuple[int, Any]:
    """Send what the page would send; return the status and the answer, JSON or text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENT_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), {"Content-Type": content_type})
        response = connection.getresponse()
        text = response.read().decode()
    return response.status, json.loads(text) if response.headers.get_content_subtype() == "json" else text


def hub_of(runtime_directory: str) -> int:
    (hub,) = (
        process.pid
        for process in psutil.process_iter(["cmdline", "environ"])
        if "flask_sse.hub" in (process.info["cmdline"] or ())
        and (process.info["environ"] or {}).get("XDG_RUNTIME_DIR") == runtime_directory
    )
    return hub
