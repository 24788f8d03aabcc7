"""What systemd gives the command ``flask-sse hub``, and what it is told."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.bare_application import BareApplication
from tests.support.brokers import Broker
from tests.support.client import connect
from tests.support.operators import URL, operated
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, children, wait_until
from tests.support.webservers import SCRIPTS

from flask_sse.hub.server.control_listener import numbered

NO_DRAIN = {"SSE_DRAIN_SECONDS": "0"}


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        yield Path(directory) / "hub.sock"


def application(path: Path, url: str = URL) -> BareApplication:
    return BareApplication(url, hub=f"unix:{path}")


# -- what it is told -------------------------------------------------------------------------------------


class Manager:
    """The end of systemd that is told how a service is.

    Args:
        address: Where; ``@`` at the beginning stands for an abstract address.

    Attributes:
        env: What the service must know.
    """

    def __init__(self, address: str) -> None:
        self.env = {"NOTIFY_SOCKET": address}
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._sock.settimeout(PATIENT_SECONDS)

    def next_message(self) -> dict[str, str]:
        """Wait for the next message; return its variables."""
        return dict(line.split("=", 1) for line in self._sock.recv(4096).decode().splitlines())

    def is_told_no_more(self) -> bool:
        self._sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return not self._sock.recv(4096)
        return True

    def close(self) -> None:
        self._sock.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, path: Path) -> Iterator[Manager]:
    abstract = f"@flask-sse-{uuid.uuid4().hex}"
    with contextlib.closing(
        Manager(abstract if request.param == "abstract" else str(path.with_name("notify")))
    ) as manager:
        yield manager


def microseconds() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_it_says_when_it_is_ready_renews_itself_and_ends(manager: Manager, path: Path) -> None:
    with operated(path, env={**manager.env, **NO_DRAIN}, ready=None) as parent, application(path) as app:
        assert manager.next_message() == {"READY": "1"}
        assert app.publish("it is ready indeed") == 0
        for _ in range(2):
            pid, began = app.pid, microseconds()
            os.kill(parent.pid, signal.SIGHUP)
            reloading = manager.next_message()
            assert began <= int(reloading.pop("MONOTONIC_USEC")) <= microseconds()
            assert reloading == {"RELOADING": "1"}
            assert manager.next_message() == {"READY": "1"}
            assert app.pid != pid, "ready means that the new hub is in charge"
        os.kill(parent.pid, signal.SIGTERM)
        assert manager.next_message() == {"STOPPING": "1"}
        assert parent.wait() == 0
        assert manager.is_told_no_more()


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_it_is_never_ready_where_it_cannot_begin(manager: Manager, path: Path) -> None:
    path.write_text("a file")
    with operated(path, env=manager.env, ready=None) as parent:
        assert parent.wait() == 2
    assert manager.is_told_no_more()


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_hub_that_is_renewed_while_it_starts_is_ready_at_the_end(manager: Manager, path: Path) -> None:
    with operated(path, env={**manager.env, **NO_DRAIN}, ready=None) as parent, application(path) as app:
        wait_until(lambda: children(parent.pid), what="a hub that starts")
        os.kill(parent.pid, signal.SIGHUP)
        # In whatever order; each reload ends, and the service is ready.
        messages = [manager.next_message() for _ in range(3)]
        assert [*messages[-1]] == ["READY"]
        assert ["RELOADING" in message for message in messages].count(True) == 1
        assert parent.alive
        assert app.publish("it serves") == 0
        wait_until(lambda: children(parent.pid) == [app.pid], what="one hub")


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_hub_that_ends_does_not_say_that_it_is_ready_again(manager: Manager, path: Path) -> None:
    env = {**manager.env, "SSE_DRAIN_SECONDS": "60"}
    with operated(path, env=env) as parent, application(path) as app, app.stream("all"):
        assert manager.next_message() == {"READY": "1"}
        os.kill(parent.pid, signal.SIGTERM)
        assert manager.next_message() == {"STOPPING": "1"}
        os.kill(parent.pid, signal.SIGHUP)
        assert parent.terminate() == 0
        assert manager.next_message() == {"STOPPING": "1"}
        assert manager.is_told_no_more()


# -- what it is given ------------------------------------------------------------------------------------

# As systemd starts a process with sockets: they are 3 and up, and it is told for which process they are.
# They come over its standard input.
LAUNCHER = """
import os, socket, sys
pid, argv = sys.argv[1], sys.argv[2:]
with socket.socket(fileno=os.dup(0)) as channel:
    _, given, _, _ = socket.recv_fds(channel, 1, 16)
away = [os.dup2(number, 100 + place) for place, number in enumerate(given)]
for place, number in enumerate(away):
    os.dup2(number, 3 + place)
os.closerange(3 + len(given), 200)
os.environ.update(LISTEN_FDS=str(len(given)), LISTEN_PID=pid or str(os.getpid()), LISTEN_FDNAMES="hub")
os.execv(argv[0], argv)
"""


def launched(
    sockets: Sequence[socket.socket],
    *options: str | Path,
    pid: str = "",
    url: str = URL,
    ready: str | None = "ready at",
) -> Process:
    """Start the command with sockets as systemd does it; ``pid`` is for whom they are, if for another."""
    ours, launchers = socket.socketpair()
    with ours, launchers:
        socket.send_fds(ours, [b"x"], [sock.fileno() for sock in sockets])
        argv = [sys.executable, "-c", LAUNCHER, pid, SCRIPTS / "flask-sse", "hub", *options]
        env = {"SSE_BROKER_URL": url, **NO_DRAIN}
        return Process(argv, env, ready=ready, stdin=launchers.fileno())


@contextlib.contextmanager
def listening(address: object, family: int = socket.AF_UNIX) -> Iterator[socket.socket]:
    with socket.socket(family) as sock:
        sock.bind(str(address) if isinstance(address, Path) else address)  # type: ignore[arg-type]
        sock.listen()
        yield sock


def test_it_serves_at_a_socket_that_is_given_and_leaves_it_where_it_was(path: Path) -> None:
    with listening(path) as sock, application(path) as app:
        inode = path.stat().st_ino
        with launched([sock]) as parent, app.stream("all") as stream:
            assert [app.pid] == children(parent.pid)
            assert app.publish("one", channel="all") == 1
            assert stream.next_event().data == "one"
            os.kill(parent.pid, signal.SIGHUP)
            parent.wait_for_line("handover received: 1 stream ")
            assert app.publish("two", channel="all") == 1
            assert stream.next_event().data == "two"
            os.kill(app.pid, signal.SIGKILL)
            parent.wait_for_line("was killed by SIGKILL")
            with application(path) as other:
                assert other.publish("three") == 0
            assert parent.terminate() == 0
        assert path.stat().st_ino == inode
        # Who comes now waits for the next hub.
        with connect(str(path)) as waiting, launched([sock]):
            waiting.sendall(b"no packet")
            assert waiting.recv(1000)
        assert path.stat().st_ino == inode


def test_an_application_that_comes_before_the_hub_is_served(path: Path) -> None:
    with listening(path) as sock, application(path) as app, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(app.publish, "early")
        with launched([sock]):
            assert answer.result(PATIENT_SECONDS) == 0


def test_each_of_several_hubs_has_a_socket_of_its_own(path: Path, valkey: Broker) -> None:
    with (
        listening(path) as first,
        listening(numbered(path, 1)) as second,
        launched([first, second], "--processes", "2", url=valkey.url) as parent,
        application(path, valkey.url) as app,
    ):
        with contextlib.ExitStack() as stack:
            for _ in range(6):
                stack.enter_context(app.stream("all"))
            assert app.status()["streams"] == 6
            assert len(children(parent.pid)) == 2
        assert parent.terminate() == 0
        assert path.is_socket()
        assert numbered(path, 1).is_socket()


def test_sockets_of_another_process_are_left_alone(path: Path) -> None:
    given = path.with_name("given.sock")
    with listening(given) as sock:
        with launched([sock], "--socket", path, pid="1") as parent, application(path) as app:
            assert [app.pid] == children(parent.pid)
            with connect(str(given)) as waiting:
                waiting.setblocking(False)
                with pytest.raises(BlockingIOError):
                    waiting.recv(1)
        with launched([sock], pid="1", ready=None) as parent:
            assert parent.wait() == 2
            assert "give --socket PATH" in parent.output()
        assert given.is_socket()


def test_where_it_says_that_it_is_ready_somebody_answers(path: Path) -> None:
    given = path.with_name("given.sock")
    # Two that contradict each other: whichever counts, nobody may wait in vain.
    with listening(given) as sock, launched([sock], "--socket", path, ready=None) as parent:
        wait_until(lambda: not parent.alive or "ready at" in parent.output(), what="a hub, or an end")
        if parent.alive:
            with application(path) as app:
                assert [app.pid] == children(parent.pid)
        else:
            assert parent.wait() == 2


@pytest.mark.parametrize("kind", ["TCP", "abstract"])
def test_a_socket_without_a_path_cannot_be_used(kind: str) -> None:
    address = ("127.0.0.1", 0) if kind == "TCP" else f"\0flask-sse-{uuid.uuid4().hex}"
    family = socket.AF_INET if kind == "TCP" else socket.AF_UNIX
    with listening(address, family) as sock, launched([sock], ready=None) as parent:
        assert parent.wait() == 2, parent.output()
        assert "set ListenStream= to a path" in parent.output()
        assert "Traceback" not in parent.output()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (socket.SOCK_DGRAM, "descriptor 3 is a socket of type SOCK_DGRAM; use ListenStream="),
        (socket.SOCK_SEQPACKET, "descriptor 3 is a socket of type SOCK_SEQPACKET; use ListenStream="),
        (socket.SOCK_STREAM, "descriptor 3 does not listen; use ListenStream= and Accept=no"),
    ],
)
def test_a_socket_at_which_nobody_can_connect_is_refused_with_a_clear_text(
    kind: socket.SocketKind, text: str, path: Path
) -> None:
    """(13.22) It was accepted from without end, at 100 % of a core."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        with launched([sock], ready=None) as parent:
            assert parent.wait() == 2, parent.output()
            assert text in parent.output()
            assert "Traceback" not in parent.output()


def test_descriptors_that_are_not_there_are_no_sockets() -> None:
    command = f"LISTEN_PID=$$ LISTEN_FDS=1 exec {SCRIPTS}/flask-sse hub 3<&-"
    with Process(["bash", "-c", command], {"SSE_BROKER_URL": URL}) as parent:
        assert parent.wait() == 2, parent.output()
        assert "LISTEN_FDS" in parent.output()
        assert "Traceback" not in parent.output()
