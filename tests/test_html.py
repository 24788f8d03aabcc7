"""HTML over the wire, as the libraries in the page take it."""

from __future__ import annotations

import http
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from datastar_py.consts import ElementPatchMode
from datastar_py.sse import ServerSentEventGenerator as Datastar
from flask import Flask, Response
from markupsafe import Markup
from playwright.sync_api import Page, expect
from tests.support.local import LocalServer, make_app
from tests.support.processes import wait_until
from tests.support.tools import require
from tests.tools import CLIENTS

from flask_sse import InvalidMessageError, Message, UsageError, sse
from flask_sse.html import Fields, datastar_elements, datastar_signals, htmx_oob, turbo_stream
from flask_sse.wire.decode import Decoder, Event

MODULES = CLIENTS / "node_modules"
EVIL = '" onclick="x'
HTMX = """
<!doctype html>
<script src="/js/htmx.org/dist/htmx.min.js"></script>
<script src="/js/htmx-ext-sse/dist/sse.min.js"></script>
<body hx-ext="sse" sse-connect="/stream">
<ul id="list"><li>first</li></ul>
<p id="named" sse-swap="named">before</p>
<div sse-swap="message" hx-swap="none"></div>
"""
FINISHED = """
<!doctype html>
<script src="/js/htmx.org/dist/htmx.min.js"></script>
<script src="/js/htmx-ext-sse/dist/sse.min.js"></script>
<body hx-ext="sse">
<ul id="closed" sse-connect="/answer/closed" sse-close="stream-end" sse-swap="message"></ul>
<ol sse-connect="/answer/left-open" sse-swap="message"></ol>
"""
TURBO = """
<!doctype html>
<script type="module" src="/js/@hotwired/turbo/dist/turbo.es2017-esm.js"></script>
<ul id="list"><li id="one" class="row">first</li></ul>
<turbo-stream-source src="/stream"></turbo-stream-source>
"""


@pytest.fixture
def app() -> Flask:
    require("eventsource")
    app = make_app(SSE_BROKER_URL="memory://html", SSE_HUB="thread")
    app.static_folder = None
    app.add_url_rule("/htmx", "htmx", lambda: HTMX)
    app.add_url_rule("/turbo", "turbo", lambda: TURBO)
    app.add_url_rule("/js/<path:name>", "js", script)
    return app


def script(name: str) -> tuple[bytes, int, dict[str, str]]:
    return (MODULES / name).read_bytes(), http.HTTPStatus.OK, {"Content-Type": "text/javascript"}


@pytest.fixture
def server(app: Flask) -> Iterator[LocalServer]:
    with LocalServer(app) as server:
        yield server


def publish(server: LocalServer, fields: Fields) -> None:
    with server.app.app_context():
        assert sse.publish(**fields) == 1


def opened(page: Page, server: LocalServer, path: str) -> None:
    with page.expect_request("**/stream"):
        page.goto(f"http://127.0.0.1:{server.port}{path}")
    wait_until(lambda: server.status()["streams"] == 1, what="the stream")


def test_htmx_swaps_what_its_extension_hears(server: LocalServer, chromium: Page) -> None:
    opened(chromium, server, "/htmx")
    publish(server, {"data": "<b>after</b>\n", "type": "named"})
    expect(chromium.locator("#named b")).to_have_text("after")
    publish(server, htmx_oob("<li>second</li>\n<li>third</li>", "#list", "beforeend"))
    expect(chromium.locator("#list li")).to_have_text(["first", "second", "third"])
    publish(server, htmx_oob("<li>only</li>", "#list"))
    expect(chromium.locator("#list li")).to_have_text(["only"])


def test_htmx_opens_a_finished_stream_again_unless_it_is_told_to_close(
    app: Flask, server: LocalServer, chromium: Page
) -> None:
    # 33
    app.config["SSE_RETRY_MS"] = (50, 100)
    calls: Counter[str] = Counter()

    def answer(name: str) -> Response:
        calls[name] += 1
        return sse.response(["<li>line</li>"])

    def page() -> str:
        return FINISHED

    app.add_url_rule("/answer/<name>", "answer", answer)
    app.add_url_rule("/finished", "finished", page)
    chromium.goto(f"http://127.0.0.1:{server.port}/finished")
    # Three calls of the one are more than enough for a second one of the other.
    wait_until(lambda: calls["left-open"] >= 3, what="the stream that is opened again")
    expect(chromium.locator("#closed li")).to_have_text(["line"])
    assert calls["closed"] == 1


def test_turbo_does_what_a_stream_says(server: LocalServer, chromium: Page) -> None:
    opened(chromium, server, "/turbo")
    row = '<li class="row" id="{0}">{0}</li>'.format
    items = chromium.locator("#list li")
    for fields, expected in (
        (turbo_stream("append", row("two"), target="list"), ["first", "two"]),
        (turbo_stream("prepend", row("zero"), target="list"), ["zero", "first", "two"]),
        (turbo_stream("before", row("half"), target="one"), ["zero", "half", "first", "two"]),
        (turbo_stream("after", row("more"), target="one"), ["zero", "half", "first", "more", "two"]),
        (turbo_stream("update", "<i>new</i>", target="one"), ["zero", "half", "new", "more", "two"]),
        (turbo_stream("replace", row("one"), target="one"), ["zero", "half", "one", "more", "two"]),
        (turbo_stream("remove", target="half"), ["zero", "one", "more", "two"]),
        (turbo_stream("remove", targets=".row:not(#one)"), ["one"]),
    ):
        publish(server, fields)
        expect(items).to_have_text(expected)


def test_attributes_cannot_be_left() -> None:
    for fields in (
        htmx_oob("x", EVIL),
        turbo_stream("append", "x", target=EVIL),
        turbo_stream("remove", targets=EVIL),
    ):
        assert not re.search(r'" onclick="', fields["data"])


def received(fields: Fields) -> list[Event]:
    return Decoder().feed(Message(**fields).frame())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (datastar_elements('<p id="a">\n  x\n</p>'), Datastar.patch_elements('<p id="a">\n  x\n</p>')),
        (
            datastar_elements("<li>", selector="#list", mode="append"),
            Datastar.patch_elements("<li>", "#list", ElementPatchMode.APPEND),
        ),
        (datastar_elements(selector=".old", mode="remove"), Datastar.remove_elements(".old")),
        (
            datastar_signals({"a": {"b": None}, "c": "ü"}),
            Datastar.patch_signals({"a": {"b": None}, "c": "ü"}),
        ),
        (
            datastar_signals({"a": 1}, only_if_missing=True),
            Datastar.patch_signals({"a": 1}, only_if_missing=True),
        ),
    ],
)
def test_datastar_gets_what_its_own_library_for_python_sends(ours: Fields, theirs: str) -> None:
    assert received(ours) == Decoder().feed(theirs.encode())


def test_what_no_library_knows_is_refused() -> None:
    with pytest.raises(UsageError, match="no action 'explode'; there are append"):
        turbo_stream("explode")
    with pytest.raises(UsageError, match="no mode 'explode'"):
        datastar_elements(mode="explode")
    with pytest.raises(UsageError, match="one line"):
        datastar_elements("x", selector="#a\nelements <script>")


class Kind(str, Enum):  # noqa: UP042 - as applications have it
    LIST = "list"


class Rendered:
    """What other template engines return."""

    def __html__(self) -> str:
        return "<b>x</b>"


@pytest.mark.parametrize("target", ["a&b", Markup("a&b"), 5, 0, Kind.LIST])
def test_an_id_is_written_as_text_of_whatever_type_it_is(target: Any) -> None:
    # 14
    expected = {"a&b": "a&amp;b", Kind.LIST: "list"}.get(target, str(target))
    stream = f'<turbo-stream action="append" target="{expected}"><template>x</template></turbo-stream>'
    assert turbo_stream("append", "x", target=target) == {"data": stream}
    assert htmx_oob("x", target)["data"] == f'<div hx-swap-oob="innerHTML:{expected}">x</div>'


@pytest.mark.parametrize(
    ("html", "expected"), [(Markup("<b>x</b>"), "<b>x</b>"), (Rendered(), "<b>x</b>"), (5, "5"), (0.5, "0.5")]
)
def test_markup_of_any_template_engine_goes_into_the_page_as_it_is(html: Any, expected: str) -> None:
    # 14
    for fields in (
        turbo_stream("append", html, target="list"),
        htmx_oob(html, "#list"),
        datastar_elements(html, selector="#list"),
    ):
        assert type(fields["data"]) is str
        assert expected in fields["data"]


@pytest.mark.parametrize("bad", [None, b"x", True, ["x"]])
def test_what_is_neither_text_nor_markup_is_refused(bad: Any) -> None:
    # 14
    makers: list[Callable[[], object]] = [
        lambda: htmx_oob(bad, "#list"),
        lambda: htmx_oob("x", bad),
        lambda: turbo_stream("append", bad, target="list"),
        lambda: turbo_stream("append", "x", target=bad),
        lambda: turbo_stream("append", "x", targets=bad),
        lambda: datastar_elements(bad, selector="#list"),
        lambda: datastar_elements("x", selector=bad),
    ]
    for make in makers:
        with pytest.raises(UsageError, match=f"must be text, not {type(bad).__name__}"):
            make()


def test_what_goes_nowhere_in_the_page_is_refused() -> None:
    # 14
    for action in ("append", "prepend", "replace", "update", "before", "after", "remove"):
        with pytest.raises(UsageError, match=f"'{action}'.*needs a target"):
            turbo_stream(action, "x")
    with pytest.raises(UsageError, match="and one"):
        turbo_stream("append", "x", target="list", targets=".list")
    with pytest.raises(UsageError, match="a target is needed"):
        htmx_oob("x", "")
    for mode in ("outer", "inner", "replace", "prepend", "append", "before", "after", "remove"):
        for html in ("", "<li>x</li>"):
            with pytest.raises(
                UsageError, match=f"'{mode}' needs a selector, or HTML whose elements have ids"
            ):
                datastar_elements(html, mode=mode)
        assert datastar_elements('<li id="x">', mode=mode)["data"].endswith('elements <li id="x">')
    assert turbo_stream("refresh")["data"] == '<turbo-stream action="refresh"></turbo-stream>'
    assert datastar_elements("<body>x</body>")["data"] == "elements <body>x</body>"


@pytest.mark.parametrize(
    "bad",
    [
        {"a": math.nan},
        {"a": [math.inf]},
        {"at": datetime(2026, 1, 2, tzinfo=UTC)},
        {"a": {1}},
        ["a"],
        "a",
        None,
    ],
)
def test_signals_that_are_no_json_object_are_refused(bad: Any) -> None:
    # 14
    with pytest.raises(InvalidMessageError, match=r"signals .* cannot be sent"):
        datastar_signals(bad)
