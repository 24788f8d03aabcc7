"""Pages that are reloaded under a limit for each address: those that have left do not count (13.21)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from tests.support import webservers
from tests.support.bare_application import BareApplication
from tests.support.processes import wait_until

APPS = Path(__file__).parent / "apps"
URL = "memory://reloads"
LIMIT = 2
SETTINGS: Mapping[str, str] = {
    "FLASK_SSE_BROKER_URL": URL,
    "FLASK_SSE_TAKEOVER": "off",
    # No heartbeat comes to the help of the test.
    "FLASK_SSE_HEARTBEAT_SECONDS": "60",
    "FLASK_SSE_MAX_STREAMS_PER_ADDRESS": str(LIMIT),
}
SERVERS: dict[str, Sequence[str]] = {
    "flask-threaded": (),
    "gunicorn-gthread": ("--threads", "8"),
    "gunicorn-gevent": (),
    "cheroot": ("--threads", "8", "--max-threads", "8"),
    "gevent-pywsgi": (),
    "uvicorn-asyncio": (),
    "granian": ("--blocking-threads", "8"),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_page_that_is_reloaded_eight_times_is_never_rejected(name: str) -> None:
    with BareApplication(URL), webservers.start(name, "plain:app", APPS, SETTINGS, SERVERS[name]) as server:
        for _ in range(8):
            with server.stream("/stream") as stream:
                stream.wait_opened()


def test_pages_that_are_there_keep_their_place_and_one_more_is_rejected() -> None:
    name = "gunicorn-gthread"
    with (
        BareApplication(URL) as hub,
        webservers.start(name, "plain:app", APPS, SETTINGS, SERVERS[name]) as server,
    ):
        with server.stream("/stream") as first, server.stream("/stream") as second:
            for stream in (first, second):
                stream.wait_opened()
            before = hub.status()["rejected_address"]
            answer = server.get("/stream")
            assert answer.body.startswith(b":too many streams of this address\n\n")
            assert hub.status()["rejected_address"] == before + 1
            assert hub.publish("to both") == LIMIT
            for stream in (first, second):
                assert stream.next_event().data == "to both"
            second.close()
            with server.stream("/stream") as third:
                third.wait_opened()
                assert hub.publish("to both") == LIMIT
                assert first.next_event().data == third.next_event().data == "to both"
        wait_until(lambda: hub.publish("anybody?") == 0, what="all to be gone")
