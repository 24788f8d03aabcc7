"""Pages of other origins, caches and compressors."""

from __future__ import annotations

import http.client
from typing import Any

import flask_compress
import pytest
from tests.support.access import Serve, opened
from tests.support.local import LocalServer

from flask_sse import ServerSentEventsBlueprint

Blueprint = ServerSentEventsBlueprint

US, OTHERS = "https://app.example", "https://evil.example"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


def preflight(server: LocalServer, origin: str) -> http.client.HTTPResponse:
    """Ask as a browser does before it sends a long Last-Event-ID."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "last-event-id",
        **CROSS_SITE,
    }
    connection.request("OPTIONS", "/stream", headers=headers)
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
    assert answer.headers["Access-Control-Allow-Headers"] == "Last-Event-ID, Cache-Control"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET"
    assert answer.headers["Access-Control-Allow-Origin"] == US
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert preflight(server, OTHERS).status == 401


def test_any_origin_may_read_without_cookies(blueprint: Blueprint, start: Serve) -> None:
    server = start(SSE_CORS_ORIGINS="*")
    with opened(server, "/stream", {"Origin": OTHERS, **CROSS_SITE}) as stream:
        assert stream.headers["Access-Control-Allow-Origin"] == "*"
        assert stream.headers["Access-Control-Allow-Credentials"] is None
    assert preflight(server, OTHERS).headers["Access-Control-Allow-Origin"] == "*"


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
