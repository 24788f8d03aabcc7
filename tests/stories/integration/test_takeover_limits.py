"""When no connection is taken over: where bytes are owed on it, or something fails, or it is no HTTP/1."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import waitress.server
from a2wsgi import WSGIMiddleware
from flask import Flask, request
from tests.support import webservers
from tests.support.bare_application import BareApplication
from tests.support.client import StreamClient, connect, request_bytes
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import free_port, suspended, wait_until
from tests.support.webservers import WEB_SERVERS, RunningServer
from werkzeug.wrappers import Response

from flask_sse import sse
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.serving import client_socket
from flask_sse.serving.client_socket import uwsgi_speaks_plain_http
from flask_sse.serving.response import event_stream
from flask_sse.settings import Settings

APPS = Path(__file__).parent / "apps"
URL = "memory://takeover-limits"
LARGE_BYTES = 12 * 1024 * 1024
TAKEOVER = [name for name, server in WEB_SERVERS.items() if server.takeover]
LOOPS = ["uvicorn-asyncio", "uvicorn-uvloop", "gunicorn-asgi"]
ALL = [name for name, server in WEB_SERVERS.items() if server.streams]
REJECTED = re.compile(rb":no stream can be opened now\n\nretry:(\d+)\n\n")
UNREACHED = re.compile(rb":the hub cannot be reached\n\nretry:(\d+)\n\n")


@pytest.fixture(scope="module")
def hub() -> Iterator[BareApplication]:
    """The hub of all servers here."""
    with BareApplication(URL) as client:
        client.status()
        yield client


def start(name: str, *options: str, **env: str) -> RunningServer:
    settings = {"FLASK_SSE_BROKER_URL": URL, "FLASK_SSE_HEARTBEAT_SECONDS": "0.4", **env}
    return webservers.start(name, "edge:app", APPS, settings, options)


def some(names: list[str], *often: str) -> list[object]:
    """Return parameters of which some are tried at every run, and the others at the long one."""
    return [pytest.param(name, marks=[] if name in often else pytest.mark.long) for name in names]


def without_descriptors() -> list[object]:
    often = [
        "gunicorn-sync",
        "waitress",
        "uwsgi-http-socket",
        "uvicorn-asyncio",
        "gevent-pywsgi",
        "hypercorn",
    ]
    by_relay = ["gunicorn-gthread", LOOPS[1], "gunicorn-gevent", "granian"]
    cases = [*((name, "auto", often) for name in ALL), *((name, "off", by_relay) for name in ALL)]
    long = pytest.mark.long
    return [
        pytest.param(name, takeover, marks=[] if name in chosen else long) for name, takeover, chosen in cases
    ]


def read_to_the_end(sock: socket.socket, until: bytes = b"") -> bytes:
    data = bytearray()
    with contextlib.suppress(ConnectionError, TimeoutError):
        while piece := sock.recv(1 << 20):
            data += piece
            if until and until in data[-4096:]:
                break
    return bytes(data)


# -- bytes that are owed, and numbers that are somebody else's ----------------------------------------------


@pytest.mark.parametrize("name", some(TAKEOVER, "waitress", LOOPS[0]))
def test_a_stream_is_never_written_into_an_earlier_answer(name: str, hub: BareApplication) -> None:
    """(13.5) Two requests at once, and the first answer is read late."""
    with start(name) as server, connect(server.port) as client:
        client.sendall(request_bytes("/large") + request_bytes("/stream?channel=owed"))
        with contextlib.suppress(TimeoutError):  # others answer the second request when the first was read
            wait_until(lambda: "answered /stream" in server.process.output(), 1)
        client.settimeout(PATIENT_SECONDS)
        head, _, rest = read_to_the_end(client, until=b"retry:").partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0]
        assert rest[:LARGE_BYTES].count(b"x") == LARGE_BYTES
        behind = rest[LARGE_BYTES:]
        assert not behind or behind.startswith(b"HTTP/1.1 200 ")
        if name == "waitress":
            assert REJECTED.search(behind)
        assert server.get("/ordinary").status == 200


class SlowHub:
    """Takes a stream when it is told to."""

    def __init__(self) -> None:
        self.is_asked = threading.Event()
        self.may_go_on = threading.Event()

    def attach(self, descriptor: int, request: StreamRequest) -> None:
        """See ``StreamServer.attach``."""
        self.is_asked.set()
        assert self.may_go_on.wait(PATIENT_SECONDS)


class SlowApplication:
    """Answers ``/large``, ``/stream`` by a slow hub, and others when they are told to."""

    def __init__(self) -> None:
        self.hub_client = SlowHub()
        self.others = threading.Semaphore(0)
        self.stream_is_over = threading.Event()
        self._request = StreamRequest(("all",), FRAMES, Settings(URL).rules)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer as a WSGI application."""
        if environ["PATH_INFO"] == "/large":
            return Response(b"x" * LARGE_BYTES)(environ, start_response)
        if environ["PATH_INFO"] == "/stream":
            stream = event_stream(
                Response, self.hub_client, self._request, may_take_over=True, may_set_cookies=False
            )
            try:
                return stream(environ, start_response)
            finally:
                self.stream_is_over.set()
        self.others.release()
        assert self.stream_is_over.wait(PATIENT_SECONDS)
        return Response("slow")(environ, start_response)


@contextlib.contextmanager
def waitress_in_here(app: SlowApplication) -> Iterator[int]:
    server: Any = waitress.server.create_server(app, listen="127.0.0.1:0", threads=4, map={})
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield int(server.effective_port)
    finally:
        # Its loop ends when it has nothing to look at.
        server.trigger.pull_trigger(lambda: [each.close() for each in list(server._map.values())])
        thread.join(PATIENT_SECONDS)
        server.task_dispatcher.shutdown()


def test_where_waitress_closes_in_the_midst_of_a_takeover_nobody_else_is_cut() -> None:
    """(13.5) The number of a connection that was closed meanwhile belongs to the next client."""
    app = SlowApplication()
    with waitress_in_here(app) as port, contextlib.ExitStack() as stack:
        with connect(port) as attacker:
            attacker.sendall(request_bytes("/large") + request_bytes("/stream"))
            attacker.recv(1000)
            # Where the takeover begins it hangs, in the hands of the hub.
            app.hub_client.is_asked.wait(1)
            attacker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The next ones get the lowest number that is free.
        others = [stack.enter_context(connect(port)) for _ in range(3)]
        for other in others:
            other.sendall(request_bytes("/other"))
        for _ in others:
            assert app.others.acquire(timeout=10)
        app.hub_client.may_go_on.set()
        for other in others:
            assert b"slow" in read_to_the_end(other, until=b"slow")


@pytest.mark.long
@pytest.mark.parametrize("name", TAKEOVER)
def test_clients_that_reset_behind_two_requests_cut_nobody_else(name: str, hub: BareApplication) -> None:
    """(13.5) Four of them, while 20 pages listen and others ask."""

    def attack(server: RunningServer) -> None:
        for _ in range(50):
            with contextlib.suppress(OSError), connect(server.port) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall(request_bytes("/large") + request_bytes("/stream?channel=attack"))
                sock.recv(1000)

    with start(name) as server, contextlib.ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        pages = [stack.enter_context(server.stream("/stream?channel=pages")) for _ in range(20)]
        for page in pages:
            page.wait_opened()
        attacks = [pool.submit(attack, server) for _ in range(4)]
        while not all(attack.done() for attack in attacks):
            assert server.get("/ordinary").body == b"ordinary"
        assert hub.publish("to all", channel="pages") == 20
        assert [page.next_event().data for page in pages] == ["to all"] * 20


# -- a loop that stands still --------------------------------------------------------------------------------


@contextlib.contextmanager
def uvicorn_in_here(app: Flask, loop: str) -> Iterator[int]:
    port = free_port()
    config = uvicorn.Config(
        WSGIMiddleware(app.wsgi_app, workers=2),  # type: ignore[arg-type] # its own types of WSGI
        host="127.0.0.1",
        port=port,
        loop=loop,
        log_level="warning",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, what="uvicorn")
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(PATIENT_SECONDS)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_was_given_up_while_the_loop_stood_still_does_not_happen_later(
    loop: str, hub: BareApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(13.6) Hub and relay wrote to one client."""
    monkeypatch.setattr(client_socket, "LOOP_SECONDS", 0.2)
    app = Flask(__name__)
    app.config["SSE_BROKER_URL"] = URL
    app.register_blueprint(sse, url_prefix="/stream")
    free, answered = threading.Event(), threading.Event()

    @app.after_request
    def stop_the_loop(response: Response) -> Response:
        if "block" in request.args:
            request.environ["wsgi.input"].loop.call_soon_threadsafe(free.wait, 20)
            request.environ["wsgi.input"].loop.call_soon_threadsafe(answered.set)
        return response

    before = hub.status()["opened"]
    with uvicorn_in_here(app, loop) as port, StreamClient(port, "/stream?channel=still&block=1") as stream:
        answered.wait(1)
        free.set()
        stream.wait_for_bytes(b"retry:")
        assert REJECTED.search(stream.raw)
        assert stream.raw.count(b"HTTP/1.1 ") == 1
        with StreamClient(port, "/stream?channel=still") as other:
            other.wait_opened()
            assert hub.publish("to the other", channel="still") == 1
            assert other.next_event().data == "to the other"
        assert b"to the other" not in stream.raw
    assert hub.status()["opened"] == before + 1


# -- HTTP versions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    some(TAKEOVER, "gunicorn-sync", "gunicorn-gthread", "uwsgi-http-socket", "flask-single", LOOPS[0]),
)
def test_no_http_version_makes_a_page_hold_a_worker(name: str, hub: BareApplication) -> None:
    """(13.7) HTTP/1.x is taken over, all else is answered with 505, or by the server itself."""
    with start(name) as server:
        channel = f"version-{name}"
        with connect(server.port) as client:
            client.sendall(request_bytes(f"/stream?channel={channel}", http_version="1.2"))
            raw = read_to_the_end(client, until=b"retry:")
            if b" 200 " in raw.splitlines()[0]:
                assert hub.publish("anyone?", channel=channel) == 1
            assert server.get("/ordinary").body == b"ordinary"
        for version in ("2.0", "0.9", "3.7"):
            with connect(server.port) as client:
                client.sendall(
                    request_bytes(f"/stream?channel={channel}", {"Connection": "close"}, http_version=version)
                )
                raw = read_to_the_end(client, until=b"retry:")
                if name == "waitress":
                    # It calls these HTTP/1.0, so they are taken over.
                    assert b" 200 " in raw.splitlines()[0]
                else:
                    assert b"event-stream" not in raw
                    assert b"retry:" not in raw
                if name.startswith(("uwsgi", "uvicorn")) and raw:
                    assert b" 505 " in raw.splitlines()[0] or b" 400 " in raw.splitlines()[0]
            assert server.get("/ordinary").body == b"ordinary"


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({"http-socket": b":1"}, True),
        ({"socket": b":1", "http": b":2", "https": b":3,a,b", "http-websockets": True}, True),
        (
            {"socket": [b":1", b":2"], "protocol": b"uwsgi", "socket-timeout": b"5", "chmod-socket": b"660"},
            True,
        ),
        ({"socket": b":1", "protocol": b"http", "fastrouter-use-socket": b"x"}, True),
        ({"http11-socket": b":1", "shared-socket": b":1", "listen": b"10"}, True),
        ({"socket": b":1", "protocol": b"fastcgi"}, False),
        ({"socket": b":1", "socket-protocol": b"scgi"}, False),
        ({"http-socket": b":1", "fastcgi-nph-socket": b":2"}, False),
        ({"http-socket": b":1", "scgi-nph-socket": b":2"}, False),
        ({"http-socket": b":1", "puwsgi-socket": b":2"}, False),
        ({"http-socket": b":1", "raw-socket": b":2"}, False),
        ({"https-socket": b":1,a,b"}, False),
        ({"suwsgi-socket": b":1,a,b"}, False),
        ({"http-socket": b":1", "zeromq": b"tcp://x"}, False),
        ({"http-socket": b":1", "some-new-socket": b":2"}, False),
    ],
)
def test_uwsgi_is_taken_over_only_where_all_its_sockets_are_known_to_be_plain(
    options: dict[str, Any], plain: bool
) -> None:
    """(13.7) What is plain HTTP is listed, not what is not."""
    assert uwsgi_speaks_plain_http(options) is plain


def test_a_stream_of_a_scgi_socket_of_uwsgi_is_relayed_in_its_protocol(hub: BareApplication) -> None:
    """(13.7) ``--protocol`` makes another protocol of an ordinary ``--socket``."""
    port = free_port()
    fields = {
        "CONTENT_LENGTH": "0",
        "SCGI": "1",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/stream?channel=scgi",
        "PATH_INFO": "/stream",
        "QUERY_STRING": "channel=scgi",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    block = "".join(f"{name}\0{value}\0" for name, value in fields.items())
    options = ("--socket", f"127.0.0.1:{port}", "--protocol", "scgi")
    with start("uwsgi-http-socket", *options), connect(port) as client:
        client.sendall(f"{len(block)}:{block},".encode())
        assert read_to_the_end(client, until=b"retry:").startswith(b"Status: 200 OK\r\n")
        assert hub.publish("by SCGI", channel="scgi") == 1
        assert b"data:by SCGI\n" in read_to_the_end(client, until=b"by SCGI\n")


# -- a relay that holds a whole worker -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "takeover", "cause", "hint"),
    [
        ("gunicorn-tls", "auto", "the web server speaks TLS or HTTP/2 itself", "Let a proxy in front"),
        ("gunicorn-sync", "off", "SSE_TAKEOVER is off", "Set SSE_TAKEOVER to auto"),
        ("gunicorn-gthread", "off", "", ""),
        ("gunicorn-gevent", "off", "", ""),
    ],
)
def test_a_relay_that_holds_a_whole_worker_is_warned_about_once(
    name: str, takeover: str, cause: str, hint: str, hub: BareApplication
) -> None:
    """(14.40) With what to do; not where a stream holds a thread or a greenlet."""
    with start(name, FLASK_SSE_TAKEOVER=takeover) as server:
        for _ in range(2):
            with server.stream("/stream?channel=held") as stream:
                stream.wait_opened()
            # By then the worker has noticed that the page has left.
            assert server.get("/ordinary").body == b"ordinary"
        output = server.process.output()
        assert output.count("holds this whole worker") == (1 if cause else 0)
        assert cause in output
        assert hint in output
        assert output.count("gunicorn: -k gthread --threads 100") == (1 if cause else 0)


# -- a failure that passes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", some(TAKEOVER, "gunicorn-gthread", LOOPS[0]))
def test_a_hub_that_stands_still_makes_no_page_hold_a_worker(name: str, hub: BareApplication) -> None:
    """(13.14) The page is told to come back soon, and is taken over then."""
    with start(name) as server:
        with suspended(hub.pid), server.stream("/stream?channel=still") as stream:
            stream.wait_for_bytes(b"retry:")
            found = UNREACHED.search(stream.raw)
            assert found
            assert 5_000 <= int(found[1]) <= 15_000
            assert stream.status == 200
            assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert "rejected a stream: no hub at" in server.process.output()
        with server.stream("/stream?channel=still") as stream:
            stream.wait_opened()
            assert server.get("/ordinary").body == b"ordinary"
            assert hub.publish("goes on", channel="still") == 1
            assert stream.next_event().data == "goes on"


@pytest.mark.parametrize("name", some(TAKEOVER, "gunicorn-gthread", LOOPS[0]))
def test_a_hub_that_is_back_after_a_moment_finds_no_page_that_holds_a_worker(
    name: str, hub: BareApplication
) -> None:
    """(13.14) Where the takeover had given up, the relay found the hub, and served until the page left."""
    with start(name) as server:
        with suspended(hub.pid):
            stream = server.stream("/stream?channel=moment")
            server.process.wait_for_line("answered /stream")
            with contextlib.suppress(TimeoutError):
                stream.wait_for_bytes(b"retry:", 3)
        with stream:
            stream.wait_for_bytes(b"retry:")
            assert server.get("/ordinary").body == b"ordinary"


@pytest.mark.parametrize(("name", "takeover"), without_descriptors())
def test_without_descriptors_a_page_is_told_to_come_back(
    name: str, takeover: str, hub: BareApplication
) -> None:
    """(13.22) Never a status that stops ``EventSource`` for good."""
    with start(name, FLASK_SSE_TAKEOVER=takeover) as server:
        with server.stream("/stream?channel=none&exhaust=1") as stream:
            stream.wait_for_bytes(b"retry:")
            assert REJECTED.search(stream.reading.body)
            assert stream.status == 200
            assert stream.headers["Content-Type"].startswith("text/event-stream")
        if name.startswith("flask-"):
            # Werkzeug needs a descriptor behind the response, and fails by itself.
            return
        server.process.wait_for_line("gave them back")
        with server.stream("/stream?channel=none") as stream:
            stream.wait_opened()
        output = server.process.output()
        # asyncio logs by itself that it cannot accept.
        assert output.count("Traceback") == output.count("in _accept_connection")


@pytest.mark.parametrize("takeover", ["auto", "off"])
def test_without_descriptors_a_hub_in_a_thread_does_the_same(takeover: str) -> None:
    """(13.22) That hub needs a descriptor of this process for each stream."""
    with start("gunicorn-gthread", FLASK_SSE_TAKEOVER=takeover, FLASK_SSE_HUB="thread") as server:
        for number in (1, 2):  # once without a hub, and once with one
            with server.stream("/stream?channel=none&exhaust=1") as stream:
                stream.wait_for_bytes(b"retry:")
                assert REJECTED.search(stream.reading.body) or UNREACHED.search(stream.reading.body)
                assert stream.status == 200
            wait_until(lambda: server.process.output().count("gave them back") == number)  # noqa: B023 - at once
            with server.stream("/stream?channel=none") as stream:
                stream.wait_opened()
            # The end of a stream gives descriptors back, which may be just when there should be none.
            wait_until(lambda: server.get("/streams").body == b"0", what="the end of the stream")
        assert "Traceback" not in server.process.output()
