"""(15.9) Clients that vanish without closing: a link that is down, a machine that crashed."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import webservers
from tests.support.client import StreamClient
from tests.support.local import LocalServer, make_app
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until
from tests.support.webservers import WEB_SERVERS
from werkzeug.wrappers import Response

from flask_sse import sse
from flask_sse.hub.server import tcp

APPS = Path(__file__).parent.parent / "integration" / "apps"
SO_ATTACH_FILTER = 26
DROP_ALL = (0x06, 0, 0, 0)  # BPF: return 0, so that nothing of a packet is kept
OPTIONS = {name: ["--enable-threads"] for name in WEB_SERVERS if name.startswith("uwsgi")}
# Where the connection cannot be found, or is that of a router.
UNKNOWN = {"granian", "hypercorn", "hypercorn-a2wsgi"}
OFTEN = {
    ("gunicorn-tls", "auto"),
    ("gunicorn-sync", "auto"),
    ("uvicorn-uvloop", "off"),
    ("uwsgi-http-socket", "off"),
}
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs the packet filters of Linux")


def vanish(stream: StreamClient) -> None:
    """Receive nothing any more and acknowledge nothing, without closing."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", *DROP_ALL))
    program = struct.pack("HL", 1, ctypes.addressof(code))
    stream.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


@linux_only
@pytest.mark.parametrize("takeover", ["auto", "off"])
@pytest.mark.parametrize("pause_seconds", [0.05, 3])
def test_the_generator_of_a_client_that_vanished_ends(
    takeover: str, pause_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it yields, and while it is silent and only heartbeats are written."""
    monkeypatch.setattr(tcp, "UNACKNOWLEDGED_MS", 500)
    app = make_app(SSE_BROKER_URL="memory://vanished", SSE_TAKEOVER=takeover, SSE_HEARTBEAT_SECONDS=0.4)
    ended = threading.Event()

    @app.get("/numbers")
    def numbers() -> Response:
        def work() -> Iterator[str]:
            try:
                yield "first"
                while not ended.wait(pause_seconds):
                    yield "more"
            finally:
                ended.set()

        return sse.response(work())

    with LocalServer(app) as server, server.stream("/numbers") as stream:
        assert stream.next_event().data == "first"
        vanish(stream)
        assert ended.wait(PATIENT_SECONDS)


def cases() -> list[object]:
    known = [
        (name, takeover)
        for name, server in WEB_SERVERS.items()
        for takeover in ("auto", "off")
        if server.streams and name not in UNKNOWN
    ]
    return [pytest.param(*case, marks=[] if case in OFTEN else pytest.mark.long) for case in known]


@linux_only
@pytest.mark.parametrize(("name", "takeover"), cases())
def test_every_server_gives_up_the_connection_of_a_client_that_vanished(name: str, takeover: str) -> None:
    """Also where it is relayed; other responses on the connection have what the server wants for them."""
    env = {"STORY_BROKER_URL": "memory://vanished", "STORY_TAKEOVER": takeover}
    with webservers.start(name, "story:app", APPS, env, OPTIONS.get(name, ())) as server:
        for _ in range(2):
            with server.stream("/options") as stream:
                assert int(stream.next_event().data) >= 1
                assert stream.next_event().type == "stream-end"
            wait_until(lambda: server.get("/options-now").body == b"0", what="the end of the connection")
        assert "Traceback" not in server.process.output()
