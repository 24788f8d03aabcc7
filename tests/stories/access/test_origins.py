"""Pages of other origins, caches and compressors."""

from __future__ import annotations

import functools
import http.client
from typing import Any

import flask_compress
import pytest
from flask import abort, request
from tests.support.access import Serve, opened
from tests.support.local import LocalServer
from tests.support.patience import PATIENT_SECONDS

from flask_sse import ServerSentEventsBlueprint

Blueprint = ServerSentEventsBlueprint

US, OTHERS = "https://app.example", "https://evil.example"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


def preflight(
    server: LocalServer, origin: str, path: str = "/stream", header: str = "last-event-id"
) -> http.client.HTTPResponse:
    """Ask as a browser does before it sends a long Last-Event-ID, or another header that it asks for."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENT_SECONDS)
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": header,
        **CROSS_SITE,
    }
    connection.request("OPTIONS", path, headers=headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def test_t2_by_default_pages_of_other_sites_get_nothing(blueprint: Blueprint, start: Serve) -> None:
    server = start()
    answer = server.get("/stream", {"Origin": OTHERS, **CROSS_SITE})
    assert answer.status == 403
    assert answer.headers["Access-Control-Allow-Origin"] is None
    assert preflight(server, OTHERS).headers["Access-Control-Allow-Origin"] is None
    with opened(server, "/stream", {"Sec-Fetch-Site": "same-origin"}) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("setting", [[US, "http://localhost:3000"], f"{US}, http://localhost:3000"])
def test_pages_of_listed_origins_may_read(blueprint: Blueprint, start: Serve, setting: Any) -> None:
    server = start(SSE_CORS_ORIGINS=setting)
    with opened(server, "/stream", {"Origin": US, **CROSS_SITE}) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == US
        assert stream.headers["Access-Control-Allow-Credentials"] == "true"
        assert stream.headers["Vary"] == "Origin, Cookie"
    refused = server.get("/stream", {"Origin": OTHERS, **CROSS_SITE})
    assert refused.status == 403
    assert refused.headers["Access-Control-Allow-Origin"] is None
    assert refused.headers["Vary"] == "Origin"
    # Without an origin nobody can tell whose page it is.
    assert server.get("/stream", CROSS_SITE).status == 403


def test_errors_can_be_read_by_listed_origins_too(blueprint: Blueprint, start: Serve) -> None:
    blueprint.authorize(lambda channel: False)
    answer = start(SSE_CORS_ORIGINS=US).get("/stream", {"Origin": US})
    assert answer.status == 403
    assert answer.headers["Access-Control-Allow-Origin"] == US


def test_the_preflight_of_a_long_last_event_id_is_answered_before_any_guard(
    blueprint: Blueprint, start: Serve
) -> None:
    blueprint.before_request(lambda: ("who are you?", 401))
    server = start(SSE_CORS_ORIGINS=US)
    answer = preflight(server, US)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Headers"] == "Last-Event-ID, Cache-Control, Authorization"
    assert answer.headers["Access-Control-Max-Age"] == "600"
    assert answer.headers["Vary"] == "Origin"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET"
    assert answer.headers["Access-Control-Allow-Origin"] == US
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert preflight(server, OTHERS).status == 401


def test_any_origin_may_read_without_cookies(blueprint: Blueprint, start: Serve) -> None:
    server = start(SSE_CORS_ORIGINS="*")
    with opened(server, "/stream", {"Origin": OTHERS, **CROSS_SITE}) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == "*"
        assert stream.headers["Access-Control-Allow-Credentials"] is None
    asked = preflight(server, OTHERS)
    assert asked.headers["Access-Control-Allow-Origin"] == "*"
    assert asked.headers["Access-Control-Allow-Credentials"] is None
    assert asked.headers["Access-Control-Allow-Headers"] == "Last-Event-ID, Cache-Control"
    # A sandboxed frame or a file has no origin.
    with opened(server, "/stream", {"Origin": "null", **CROSS_SITE}) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "origin",
    ["tauri://localhost", "capacitor://localhost", "chrome-extension://abcdefghijklmnopabcdefghijklmnop"],
)
def test_applications_and_extensions_have_origins_too(
    blueprint: Blueprint, start: Serve, origin: str
) -> None:
    """(14.34)"""
    server = start(SSE_CORS_ORIGINS=[origin])
    with opened(server, "/stream", {"Origin": origin, **CROSS_SITE}) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == origin
    assert preflight(server, origin).headers["Access-Control-Allow-Origin"] == origin
    assert server.get("/stream", {"Origin": "null", **CROSS_SITE}).status == 403


def test_what_a_guard_or_an_error_answers_can_be_read_by_listed_origins(
    blueprint: Blueprint, start: Serve
) -> None:
    """Without these headers a page cannot tell a 401 from a server that is away (14.34)."""
    answers = {"guard": ("who are you?", 401), "abort": None}

    @blueprint.before_request
    def guard() -> Any:
        how = request.args["how"]
        return abort(403) if how == "abort" else answers.get(how)

    @blueprint.authorize
    def may_listen(channel: str) -> bool:
        if request.args["how"] == "fail":
            raise RuntimeError("a rule that fails")
        return False

    server = start(SSE_CORS_ORIGINS=US, PROPAGATE_EXCEPTIONS=False)
    asked = {
        "guard": 401,
        "abort": 403,
        "fail": 500,
        "rule": 403,
        "bad&channel=%00": 400,
        "many&channel=a&channel=b&ticket=": 403,
    }
    for how, status in asked.items():
        answer = server.get(f"/stream?how={how}", {"Origin": US, **CROSS_SITE})
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (status, US), how
        assert "Origin" in answer.headers["Vary"]
        assert len(answer.headers.get_all("Access-Control-Allow-Origin") or ()) == 1
        assert server.get(f"/stream?how={how}").headers["Access-Control-Allow-Origin"] is None
    ended = server.get("/stream?how=rule", {"Origin": US, "Last-Event-ID": "stream-end"})
    assert (ended.status, ended.headers["Access-Control-Allow-Origin"]) == (204, US)


def test_a_stream_behind_a_decorator_is_the_blueprint_s_still(start: Serve, blueprint: Blueprint) -> None:
    """(14.34, 14.39)"""

    def login_required(view: Any) -> Any:
        @functools.wraps(view)
        def guarded() -> Any:
            return view() if "X-User" in request.headers else ("who are you?", 401)

        return guarded

    blueprint.add_url_rule("/guarded", "guarded", login_required(blueprint.stream))
    server = start(SSE_CORS_ORIGINS=US)
    answer = server.get("/stream/guarded", {"Origin": US, **CROSS_SITE})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, US)
    assert preflight(server, US, "/stream/guarded").status == 204


def test_a_view_that_names_the_channels_may_be_asked_before(blueprint: Blueprint, start: Serve) -> None:
    """A view of the application's own answers the browser's question where it takes OPTIONS (14.34)."""
    server = start(SSE_CORS_ORIGINS=US)
    server.app.add_url_rule("/mine", "mine", lambda: blueprint.stream("mine"), methods=["GET", "OPTIONS"])
    answer = preflight(server, US, "/mine", "authorization")
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == US
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    refused = preflight(server, OTHERS, "/mine")
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (200, None)
    with opened(server, "/mine", {"Origin": US, **CROSS_SITE}) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == US


def blocked(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if "SSE_CORS_ORIGINS" in line]


@pytest.mark.parametrize("site", [{}, {"Sec-Fetch-Site": "same-site"}, CROSS_SITE], ids=str)
def test_a_blocked_origin_is_logged_once_with_what_to_set(
    blueprint: Blueprint, start: Serve, caplog: pytest.LogCaptureFixture, site: dict[str, str]
) -> None:
    """A browser tells its page nothing, and a page of another port is not even refused (14.34)."""
    server = start()
    page = "http://localhost:5173"
    for _ in range(2):
        with server.stream("/stream", {"Origin": page, **site}) as stream:
            assert stream.status == (403 if site == CROSS_SITE else 200)
        preflight(server, page)
    (line,) = blocked(caplog)
    assert f"add '{page}' to SSE_CORS_ORIGINS" in line
    with server.stream("/stream", {"Origin": "null", **site}) as stream:
        assert stream.status == (403 if site == CROSS_SITE else 200)
    assert '"*"' in blocked(caplog)[-1]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": US},
        {"Origin": "http://127.0.0.1:5", "Host": "127.0.0.1:5"},
        {"Origin": OTHERS, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin"},
        CROSS_SITE,
    ],
    ids=str,
)
def test_no_other_request_is_logged_as_blocked(
    blueprint: Blueprint, start: Serve, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    server = start(SSE_CORS_ORIGINS=US)
    server.get("/stream?ticket=x", headers)
    assert blocked(caplog) == []


def test_visitors_cannot_fill_the_log_with_origins(
    blueprint: Blueprint, start: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = start()
    for number in range(30):
        server.get("/stream?ticket=x", {"Origin": f"https://{number}.example" + "x" * 5000})
    assert 1 < len(blocked(caplog)) <= 10
    assert max(map(len, blocked(caplog))) < 1000


def test_cookies_with_a_star_are_said_not_to_work(
    blueprint: Blueprint, start: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """A browser lets no page read an answer for all to a request with cookies (14.34)."""
    server = start(SSE_CORS_ORIGINS="*")
    with opened(server, "/stream", {"Origin": US, **CROSS_SITE}):
        assert blocked(caplog) == []
    with opened(server, "/stream", {"Origin": US, "Cookie": "session=x", **CROSS_SITE}) as stream:
        assert stream.headers["Access-Control-Allow-Credentials"] is None
    (line,) = blocked(caplog)
    assert US in line


@pytest.mark.parametrize("takeover", ["auto", "off"])
def test_t15_streams_are_not_compressed(blueprint: Blueprint, start: Serve, takeover: str) -> None:
    server = start(SSE_TAKEOVER=takeover, COMPRESS_MIMETYPES=["text/event-stream"], COMPRESS_MIN_SIZE=0)
    flask_compress.Compress(server.app)
    with opened(server, "/stream", {"Accept-Encoding": "gzip, br"}) as stream, server.app.app_context():
        assert stream.headers["Content-Encoding"] is None
        assert "no-transform" in stream.headers["Cache-Control"]
        blueprint.publish("plain")
        assert stream.next_event().data == "plain"


@pytest.mark.parametrize("takeover", ["auto", "off"])
def test_also_what_wraps_every_response_does_not_compress_them(
    blueprint: Blueprint, start: Serve, takeover: str
) -> None:
    server = start(SSE_TAKEOVER=takeover)

    @server.app.after_request
    def wrap(response: Any) -> Any:
        response.headers["Content-Encoding"] = "gzip"
        response.response = iter([b"not what the hub writes"])
        return response

    with opened(server, "/stream") as stream:
        assert stream.headers["Content-Encoding"] is None
