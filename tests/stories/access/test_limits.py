"""How much one client may have: over a limit, a stream is refused politely, and counted."""

from __future__ import annotations

import pytest
from flask import request
from tests.support.access import Serve, opened
from tests.support.processes import wait_until
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_sse import ServerSentEventsBlueprint

Blueprint = ServerSentEventsBlueprint


@pytest.mark.parametrize(
    ("setting", "header", "counter"),
    [
        ("SSE_MAX_STREAMS_PER_SUBJECT", "X-User", "rejected_subject"),
        ("SSE_MAX_STREAMS_PER_ADDRESS", "X-Forwarded-For", "rejected_address"),
    ],
)
def test_t7_one_client_has_so_many_streams_and_others_have_theirs(
    blueprint: Blueprint, start: Serve, setting: str, header: str, counter: str
) -> None:
    blueprint.identify(lambda: request.headers.get("X-User"))
    server = start(**{setting: 2})
    server.app.wsgi_app = ProxyFix(server.app.wsgi_app)  # type: ignore[method-assign] # as Flask's docs do
    mine, yours = {header: "192.0.2.1"}, {header: "192.0.2.2"}
    with opened(server, "/stream", mine) as first, opened(server, "/stream", mine):
        refused = server.get("/stream", mine)
        assert refused.status == 200
        assert b":too many streams of this" in refused.body
        retry_ms = int(refused.body.rpartition(b"retry:")[2])
        assert 30_000 <= retry_ms <= 90_000
        with opened(server, "/stream", yours):
            assert server.status()[counter] == server.status()["rejected"] == 1
        first.close()
        wait_until(lambda: server.status()["streams"] == 1, what="it to leave")
        with opened(server, "/stream", mine):
            pass


def test_who_is_nobody_is_not_counted(blueprint: Blueprint, start: Serve) -> None:
    server = start(SSE_MAX_STREAMS_PER_SUBJECT=1)
    with opened(server, "/stream"), opened(server, "/stream"):
        assert server.status()["rejected"] == 0
