"""The proxy passes everything on, but for the fault that is switched on."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import redis
from tests.support.brokers import Broker
from tests.support.client import connect
from tests.support.patience import PATIENT_SECONDS
from tests.support.pipes import MAX_QUEUED_BYTES, RECEIVE_BYTES, Direction, Pipe
from tests.support.processes import free_port, wait_until
from tests.support.proxy import Proxy

# A test of the test helpers.
pytestmark = pytest.mark.long

LARGE = bytes(range(256)) * 20_000
SOON = 0.2  # seconds in which what should not come would have come


class Echo:
    """A server that says what it hears; it counts the connections that it has."""

    def __init__(self) -> None:
        self.socks: list[socket.socket] = []
        self.open = 0
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for sock in self.socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENT_SECONDS)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.socks.append(sock)
                self.open += 1
                self._threads.append(threading.Thread(target=self._echo, args=(sock,)))
                self._threads[-1].start()

    def _echo(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while data := sock.recv(65536):
                self.heard += data
                sock.sendall(data)
        self.open -= 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy.port) as client:
        assert ask(client, b"hello") == b"hello"
        yield client


def ask(sock: socket.socket, data: bytes) -> bytes:
    """Send from a thread of its own and return as many bytes of answer, or those before the end."""
    sender = threading.Thread(target=lambda: sock.sendall(data))
    sender.start()
    answer = b""
    while len(answer) < len(data) and (piece := sock.recv(65536)):
        answer += piece
    sender.join(PATIENT_SECONDS)
    return answer


def is_silent(sock: socket.socket) -> bool:
    sock.settimeout(SOON)
    try:
        sock.recv(1)
    except TimeoutError:
        sock.settimeout(PATIENT_SECONDS)
        return True
    return False


def test_all_bytes_and_the_end_pass_in_both_directions(proxy: Proxy, client: socket.socket) -> None:
    assert ask(client, LARGE) == LARGE
    client.sendall(b"last")
    client.shutdown(socket.SHUT_WR)
    assert client.recv(9) == b"last"
    assert client.recv(9) == b""
    wait_until(lambda: not proxy.connections(), what="the connection forgotten")


def test_the_server_hears_that_a_client_has_left(echo: Echo, client: socket.socket) -> None:
    assert echo.open == 1
    client.close()
    wait_until(lambda: echo.open == 0)


def test_latency_delays_and_keeps_the_order(proxy: Proxy, client: socket.socket) -> None:
    proxy.latency(0.1, jitter=0.05, direction="downstream")
    start = time.monotonic()
    assert ask(client, b"x") == b"x"
    assert 0.05 <= time.monotonic() - start < 1
    proxy.slicer("upstream")
    assert ask(client, LARGE[:300]) == LARGE[:300]


def test_restore_sends_at_once_what_latency_held_back(proxy: Proxy, client: socket.socket) -> None:
    proxy.latency(600)
    client.sendall(b"x")
    assert is_silent(client)
    proxy.restore()
    assert client.recv(9) == b"x"


def test_bandwidth_limits_one_direction(proxy: Proxy, client: socket.socket) -> None:
    proxy.bandwidth(50, "downstream")
    start = time.monotonic()
    assert ask(client, b"x" * 20) == b"x" * 20
    assert 0.3 <= time.monotonic() - start < 2
    with pytest.raises(ValueError, match="black hole"):
        proxy.bandwidth(0)


def test_who_sends_more_than_passes_has_to_wait(proxy: Proxy, client: socket.socket) -> None:
    proxy.bandwidth(1, "upstream")
    client.settimeout(SOON)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(100_000_000))
    (connection,) = proxy._connections.values()
    assert connection.pipes["upstream"]._queued_bytes <= MAX_QUEUED_BYTES + RECEIVE_BYTES


def test_slicer_writes_single_bytes(proxy: Proxy, client: socket.socket) -> None:
    proxy.slicer()
    assert ask(client, LARGE[:300]) == LARGE[:300]
    # A kind of socket that keeps apart what was written apart.
    source, far_source = socket.socketpair()
    target, far_target = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with source, far_source, target, far_target:
        pipe = Pipe(source, target, proxy._toxics["upstream"])
        far_source.sendall(b"abc")
        pipe.read()
        for expected in (b"a", b"b", b"c"):
            pipe.write()
            assert far_target.recv(9) == expected
        assert pipe.due_at() == math.inf


def test_black_hole_is_silent_for_old_and_new_and_gives_all_back(
    proxy: Proxy, echo: Echo, client: socket.socket
) -> None:
    proxy.black_hole()
    with connect(proxy.port) as new:
        for sock in (client, new):
            sock.sendall(b"x")
            assert is_silent(sock)
        assert len(echo.socks) == 1
        proxy.restore()
        assert client.recv(9) == new.recv(9) == b"x"


def test_black_hole_hides_that_a_side_has_left(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.black_hole()
    client.close()
    with connect(proxy.port) as new:
        assert is_silent(new)
    assert echo.open == 1
    proxy.restore()
    wait_until(lambda: echo.open == 0 and not proxy.connections())


def test_one_connection_is_silenced_by_what_was_asked_on_it(proxy: Proxy, client: socket.socket) -> None:
    with connect(proxy.port) as other:
        assert ask(other, b"SUBSCRIBE news") == b"SUBSCRIBE news"
        assert proxy.connections() == {1: b"hello", 2: b"SUBSCRIBE news"}
        assert proxy.black_hole_connections(lambda asked: b"SUBSCRIBE" in asked) == {2}
        other.sendall(b"x")
        assert is_silent(other)
        assert ask(client, b"y") == b"y"
        with connect(proxy.port) as later:
            assert ask(later, b"SUBSCRIBE") == b"SUBSCRIBE"
        proxy.restore()
        assert other.recv(9) == b"x"
        assert proxy.black_hole_connections({1, 7}) == {1}


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
def test_limit_closes_after_so_many_bytes(
    proxy: Proxy, echo: Echo, client: socket.socket, direction: Direction
) -> None:
    proxy.limit_data(7, direction)
    assert ask(client, b"12345") == b"12345"
    with suppress(ConnectionError):
        assert ask(client, b"67890") in {b"67", b""}
    wait_until(lambda: echo.open == 0)
    assert echo.heard == (b"hello1234567" if direction == "upstream" else b"hello1234567890")
    with connect(proxy.port) as later:
        assert ask(later, LARGE) == LARGE


def test_an_answer_can_be_lost_whole(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    with connect(proxy.port) as other:
        assert ask(other, b"other") == b"other"
        proxy.limit_data(0, "downstream", lambda asked: asked == b"hello")
        with suppress(ConnectionError):
            assert ask(client, b"x") == b""
        assert ask(other, b"x") == b"x"
    wait_until(lambda: echo.open == 0)


def test_reset_resets_both_sides_and_takes_new_connections(
    proxy: Proxy, echo: Echo, client: socket.socket
) -> None:
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    wait_until(lambda: echo.open == 0)
    with connect(proxy.port) as later:
        assert ask(later, b"x") == b"x"


def test_cut_closes_and_refuses_until_restored(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.cut()
    assert client.recv(1) == b""
    wait_until(lambda: echo.open == 0)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy.port)
    proxy.restore()
    with connect(proxy.port) as later:
        assert ask(later, b"x") == b"x"


def test_a_server_that_is_away_ends_the_connection() -> None:
    with Proxy(free_port()) as proxy, connect(proxy.port) as client:
        with suppress(ConnectionError):
            assert client.recv(1) == b""
        assert proxy.connections() == {}


def test_faults_can_be_switched_in_the_middle_of_traffic(proxy: Proxy) -> None:
    wrong: list[bytes] = []

    def talk() -> None:
        with suppress(ConnectionError), connect(proxy.port) as sock:
            while (answer := ask(sock, LARGE[:3000])) == LARGE[:3000]:
                pass
            wrong.extend([answer] * (not LARGE.startswith(answer)))

    threads = [threading.Thread(target=talk) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(proxy.connections()) == 5)
    for _ in range(3):
        proxy.slicer()
        proxy.latency(0.001, 0.001)
        proxy.black_hole()
        proxy.restore()
    proxy.cut()
    for thread in threads:
        thread.join(PATIENT_SECONDS)
    assert not wrong
    assert proxy.connections() == {}


def test_a_subscription_alone_is_silenced(valkey: Broker) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(valkey.port))
        client = stack.enter_context(redis.Redis(port=proxy.port))
        listening = stack.enter_context(client.pubsub())
        listening.subscribe("x")
        assert listening.get_message(timeout=PATIENT_SECONDS)
        (number,) = proxy.black_hole_connections(lambda asked: b"SUBSCRIBE" in asked)
        assert client.publish("x", "late") == 1
        assert len(proxy.connections()) == 2
        assert listening.get_message(timeout=SOON) is None
        proxy.restore()
        message = listening.get_message(timeout=PATIENT_SECONDS)
        assert message
        assert message["data"] == b"late"
        assert number in proxy.connections()
