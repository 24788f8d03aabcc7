"""The same story on every web server, by takeover and by relay."""

from __future__ import annotations

import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from tests.support import webservers
from tests.support.client import StreamClient, connect, request_bytes
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, children, descriptors, free_port, wait_until
from tests.support.webservers import WEB_SERVERS, RunningServer

from flask_sse import Publisher
from flask_sse.hub.client.open_client import open_hub_client
from flask_sse.settings import Settings

APPS = Path(__file__).parent / "apps"
BROKER_URL = "memory://story"
UNICODE = "grüße \N{TEST TUBE} \u2028 \N{BYTE ORDER MARK}end"
LARGE = "".join(f"{number:07d} äöü\n" for number in range(10_000))

TAKEOVER = [name for name, server in WEB_SERVERS.items() if server.takeover]
RELAY = [name for name, server in WEB_SERVERS.items() if server.streams]


class Hub(NamedTuple):
    publisher: Publisher
    status: Any


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """The hub that all servers of this module hand their streams to."""
    hub_client = open_hub_client(Settings(BROKER_URL))
    publisher = Publisher(BROKER_URL)
    yield Hub(publisher, hub_client.status)
    publisher.close()
    hub_client.close()


def start(name: str, **env: str) -> RunningServer:
    return webservers.start(name, "story:app", APPS, {"STORY_BROKER_URL": BROKER_URL, **env})


def tell_the_story(server: RunningServer, hub: Hub, *, takeover: bool) -> None:
    channel = f"story-{uuid.uuid4().hex[:8]}"
    with server.stream(f"/stream?channel={channel}&who=reader") as stream:
        assert stream.status == 200
        assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["X-Accel-Buffering"] == "no"
        assert "no-store" in stream.headers["Cache-Control"]
        assert stream.headers["X-After"] == "yes"
        assert stream.headers["X-Who"] == "reader"
        assert "Set-Cookie" not in stream.headers  # 13.9
        assert "Content-Length" not in stream.headers
        stream.wait_opened()
        if takeover:
            assert stream.raw.partition(b"\r\n\r\n")[0].endswith(b"\r\nConnection: close")
            assert server.get("/ordinary?who=other").body == b"ordinary other"
        sent = ["first", UNICODE, LARGE]
        for number, data in enumerate(sent):
            assert hub.publisher.publish(data, type="part", id=number, channel=channel) == 1
        got = stream.events(3)
        assert [event.data for event in got] == sent
        assert [(event.type, event.last_event_id) for event in got] == [("part", str(n)) for n in range(3)]
        stream.wait_for_bytes(b"\n:\n\n")
    wait_until(lambda: hub.publisher.publish("anyone?", channel=channel) == 0, what="the client to be gone")


@pytest.mark.parametrize("name", RELAY)
def test_a_stream_by_relay(name: str, hub: Hub) -> None:
    with start(name, STORY_TAKEOVER="off") as server:
        tell_the_story(server, hub, takeover=False)
        assert server.get("/ordinary?who=after").body == b"ordinary after"
        assert "Traceback" not in server.process.output()


@pytest.mark.parametrize("name", [name for name in RELAY if name not in TAKEOVER])
def test_relay_serves_by_itself_where_no_socket_can_be_found(name: str, hub: Hub) -> None:
    with start(name) as server:
        tell_the_story(server, hub, takeover=False)
        assert "Traceback" not in server.process.output()


@pytest.mark.parametrize("name", TAKEOVER)
def test_a_stream_by_takeover_and_nothing_left_after_churn(name: str, hub: Hub) -> None:
    with start(name) as server:
        tell_the_story(server, hub, takeover=True)
        tell_with_old_clients(server, hub)
        before = counts(server, hub)
        cross_talk(server, hub)
        churn(server)
        wait_until(lambda: hub.status()["streams"] == 0, 15, "all streams to end")
        assert server.get("/ordinary?who=after").body == b"ordinary after"
        wait_until(lambda: counts(server, hub) <= before, 10, f"descriptors to fall back to {before}")
        output = server.process.output()
        # gunicorn's ASGI worker logs this by itself when a client resets behind two requests.
        assert output.count("Traceback") == output.count(
            "Error handling connection: negative file descriptor"
        )


def tell_with_old_clients(server: RunningServer, hub: Hub) -> None:
    """HTTP/1.0, HEAD, and bytes that the client sends behind its request."""
    channel = f"old-{uuid.uuid4().hex[:8]}"
    path = f"/stream?channel={channel}"
    with server.stream(path, http_version="1.0") as old:
        old.wait_opened()
        assert hub.publisher.publish("to an old client", channel=channel) == 1
        assert old.next_event().data == "to an old client"
    with connect(server.port) as head_only:
        head_only.sendall(request_bytes(path).replace(b"GET", b"HEAD", 1))
        head_only.settimeout(PATIENT_SECONDS)
        assert b" 200 " in head_only.recv(4096)
    with StreamClient(server.port, path) as pipelining:
        pipelining.sock.sendall(request_bytes("/ordinary?who=behind"))
        pipelining.wait_opened()
        assert hub.publisher.publish("goes on", channel=channel) >= 1
        assert pipelining.next_event().data == "goes on"
        assert b"ordinary" not in pipelining.raw
    wait_until(lambda: hub.publisher.publish("anyone?", channel=channel) == 0, what="the clients to be gone")


def cross_talk(server: RunningServer, hub: Hub, pairs: int = 30) -> None:
    """Streams between slow requests: every connection gets its own head and nothing else."""
    channel = f"cross-{uuid.uuid4().hex[:8]}"
    streams: list[StreamClient] = []
    answers: dict[int, socket.socket] = {}
    for number in range(pairs):
        slow = connect(server.port)
        slow.sendall(request_bytes(f"/ordinary?seconds=0.02&who={number}", {"Connection": "close"}))
        answers[number] = slow
        streams.append(StreamClient(server.port, f"/stream?channel={channel}&who=s{number}"))
    for number, slow in answers.items():
        with slow, slow.makefile("rb") as file:
            slow.settimeout(20)
            head, _, body = file.read().partition(b"\r\n\r\n")
        assert head.count(b"HTTP/1.") == 1
        assert f"who={number};".encode() in head
        assert b"event-stream" not in head
        assert f"ordinary {number}".encode() in body
    for stream in streams:
        stream.wait_opened()
    assert hub.publisher.publish("to all", channel=channel) == pairs
    for number, stream in enumerate(streams):
        with stream:
            assert stream.next_event().data == "to all"
            assert stream.headers["X-Who"] == f"s{number}"
            assert stream.raw.count(b"HTTP/1.") == 1
            assert b"ordinary" not in stream.raw


def churn(server: RunningServer, connections: int = 150) -> None:
    """Clients that reset, some before their request was read, some with another request behind it."""
    for number in range(connections):
        sock = connect(server.port)
        if number % 5 == 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(request_bytes("/stream?channel=churn"))
        if number % 7 == 0:
            sock.sendall(request_bytes("/ordinary"))
        if number % 5:
            sock.settimeout(PATIENT_SECONDS)
            assert sock.recv(65536)
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def counts(server: RunningServer, hub: Hub) -> int:
    """Return the descriptors of the server, its workers and the hub, without control connections.

    The application keeps as many of those as it had threads that needed one at the same time.
    """
    status = hub.status()
    pids = [server.process.pid, *children(server.process.pid), status["pid"]]
    return sum(descriptors(pid) for pid in pids) - 2 * int(status["apps"])


@pytest.mark.parametrize(
    ("name", "who", "instead"),
    [
        ("gunicorn-tornado", "Tornado's WSGI container", "another worker class of gunicorn"),
        ("uvicorn-asgiref", "WsgiToAsgi of asgiref", "a2wsgi"),
        ("uvicorn-starlette", "WSGIMiddleware of Starlette and FastAPI", "a2wsgi"),
        ("uvicorn-wsgi", "uvicorn's own WSGI support", "a2wsgi"),
    ],
)
def test_servers_that_cannot_serve_streams_say_so_and_what_to_use(name: str, who: str, instead: str) -> None:
    """(14.32) One open page would block all others there, or its stream would never end."""
    with start(name) as server:
        answer = server.get("/stream")
        assert answer.status == 500
        text = answer.body.decode()
        assert text.startswith(f"{who} cannot serve event streams: ")
        assert instead in text
        assert text.strip() in server.process.output()
        assert server.get("/ordinary?who=still").body == b"ordinary still"


@pytest.mark.parametrize("takeover", ["auto", "off"])
def test_hooks_that_measure_every_response_do_not_wait_for_the_end_of_a_stream(
    takeover: str, hub: Hub
) -> None:
    """(14.32) ``get_data`` in an ``after_request`` function read the stream, and never returned."""
    with start("flask-single", STORY_TAKEOVER=takeover, STORY_MEASURE="yes") as server:
        for path in ("/stream?channel=measured", "/letters?who=measured"):
            with server.stream(path) as stream:
                stream.wait_for_bytes(b"retry:")
                assert stream.status == 200
                assert stream.headers["X-Length"] == "None 0"
                assert not {"Content-Length", "ETag"} & {*stream.headers}
        ordinary = server.get("/ordinary")
        assert ordinary.headers["X-Length"] == "15 15"
        assert ordinary.headers["Content-Length"] == "15"
        assert ordinary.headers["ETag"]


def test_streams_and_requests_at_the_same_time_from_many_threads(hub: Hub) -> None:
    """The first requests of a fresh server come together and share one hub."""
    with start("flask-threaded") as server:
        answers: list[bytes] = []

        def visit(number: int) -> None:
            with server.stream(f"/stream?who={number}") as stream:
                stream.wait_opened()
                answers.append(server.get("/ordinary").body)

        threads = [threading.Thread(target=visit, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [b"ordinary nobody"] * 20


def test_an_http_2_connection_is_shared_so_its_stream_is_relayed(hub: Hub) -> None:
    port = free_port()
    options = ("-k", "gthread", "--threads", "2", "--http-protocols", "h1,h2", "--no-control-socket")
    h2c = ("--http2-cleartext", "prior-knowledge", "--bind", f"127.0.0.1:{port}", "story:app")
    env = {"STORY_BROKER_URL": BROKER_URL, "PYTHONPATH": str(APPS)}
    with (
        Process([webservers.SCRIPTS / "gunicorn", *options, *h2c], env, ready=port),
        # gunicorn answers one request of an HTTP/2 connection after the other: hence two visitors.
        httpx.Client(http1=False, http2=True, base_url=f"http://127.0.0.1:{port}") as reader,
        httpx.Client(http1=False, http2=True, base_url=f"http://127.0.0.1:{port}") as other,
        reader.stream("GET", "/stream?channel=h2") as stream,
    ):
        assert stream.http_version == "HTTP/2"
        pieces = stream.iter_bytes()
        assert next(pieces).startswith(b"retry:")
        assert hub.publisher.publish("by HTTP/2", id=2, channel="h2") == 1
        assert next(piece for piece in pieces if piece != b":\n\n").startswith(b"data:by HTTP/2\nid:2\n\n")
        assert other.get("/ordinary?who=other").text == "ordinary other"
