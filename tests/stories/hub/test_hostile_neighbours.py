"""Other users, bursts and broken requests next to honest applications, also on a hub of a real broker."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.bare_application import BareApplication, log_of
from tests.support.brokers import Broker
from tests.support.hostile import ATTACH, HELLO, Peer, honest_streams_go_on, publication
from tests.support.hubs import separate_hubs
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, wait_until

from flask_sse.errors import HubUnavailableError
from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.hub.protocol.packet import Packet
from flask_sse.hub.protocol.requests import status_request, submit_request

URL = "memory://neighbours"
NOBODY = 65534


@pytest.fixture(scope="module")
def hub() -> Iterator[BareApplication]:
    with separate_hubs(), BareApplication(URL) as client:
        yield client


def test_burst_of_connections_makes_honest_applications_wait_and_not_fail(hub: BareApplication) -> None:
    pid, path = hub.pid, hub_path(hub.settings)
    answers: list[int] = []
    with BareApplication(URL) as late, contextlib.ExitStack() as stack:
        waiting = threading.Thread(target=lambda: answers.append(late.pid))
        os.kill(pid, signal.SIGSTOP)
        try:
            fill_queue(path, stack)
            waiting.start()
            with pytest.raises(TimeoutError):
                wait_until(lambda: answers or not waiting.is_alive(), 0.2)
        finally:
            os.kill(pid, signal.SIGCONT)
        waiting.join()
    assert answers == [pid]


def fill_queue(path: Path, stack: contextlib.ExitStack) -> None:
    """Connect until the kernel has no place left for connections that the hub did not accept."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.setblocking(False)
            sock.connect(str(path))


def test_application_cannot_publish_past_a_broker(valkey: Broker, channel: str) -> None:
    with BareApplication(valkey.url) as hub, hub.stream(channel) as stream:
        path = hub_path(hub.settings)
        refused = submit_request(publication(channel, b'{"data": "past it"}'))
        with Peer(path, HELLO, refused, status_request()) as peer:
            peer.sock.shutdown(socket.SHUT_WR)
            assert b"takes its events from a broker" in peer.rest()
        assert hub.publish("through it", channel=channel) == 1
        assert stream.next_event().data == "through it"


def test_channel_that_no_broker_can_carry_is_refused(valkey: Broker, channel: str) -> None:
    with BareApplication(valkey.url) as hub, hub.stream(channel) as stream:
        path, pid = hub_path(hub.settings), hub.pid
        for name in ("\ud800", "", "a\r\nPING", "x" * 60_000):
            ours, hubs = socket.socketpair()
            fields = {**ATTACH.packet().fields, "channels": [channel, name]}
            with ours, hubs, Peer(path, HELLO) as peer:
                peer.send(Packet("attach", fields).encode(), [hubs.fileno()])
                assert b"cannot be used" in peer.rest()
        assert hub.publish("still here", channel=channel) == 1
        assert stream.next_event().data == "still here"
        assert hub.pid == pid
        assert hub.status()["channels"] == 1


# Root may become anybody, so it takes root to try what others can do.
AS_NOBODY = f"""
import os
import socket
import sys

os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
sock = socket.socket(socket.AF_UNIX)
"""
CONNECT = f"""
sock.connect(sys.argv[1])
sock.sendall(bytes.fromhex(sys.argv[2]))
sock.settimeout({PATIENT_SECONDS})
try:
    while data := sock.recv(65536):
        print(data.decode(errors="replace"))
except ConnectionResetError:
    pass
print("closed")
"""
LISTEN = """
sock.bind(sys.argv[1])
sock.listen()
print("listening", flush=True)
connection, _ = sock.accept()
print("heard", connection.recv(65536), flush=True)
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@needs_root
def test_other_users_are_refused_even_where_file_modes_let_them_in(hub: BareApplication) -> None:
    with honest_streams_go_on(hub) as path:
        modes = {path.parent.parent: 0o711, path.parent: 0o711, path: 0o666}
        with changed_modes(modes):
            argv = [sys.executable, "-c", AS_NOBODY + CONNECT, str(path), (HELLO.encode() * 2).hex()]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENT_SECONDS, check=True)
        assert f"a process of another user ({NOBODY})" in done.stdout
        assert '"op":"answer"' not in done.stdout
        assert done.stdout.endswith("closed\n")
        assert f"another user ({NOBODY})" in log_of(path)


@contextlib.contextmanager
def changed_modes(modes: dict[Path, int]) -> Iterator[None]:
    before = {path: path.stat().st_mode & 0o777 for path in modes}
    try:
        for path, mode in modes.items():
            path.chmod(mode)
        yield
    finally:
        for path, mode in before.items():
            path.chmod(mode)


@needs_root
def test_hub_of_another_user_gets_no_stream() -> None:
    # Not tmp_path: its parents let nobody through.
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        path = Path(directory) / "hub.sock"
        Path(directory).chmod(0o777)
        impostor = Process([sys.executable, "-c", AS_NOBODY + LISTEN, path], ready="listening")
        with impostor, BareApplication(URL, hub=f"unix:{path}") as client:
            with pytest.raises(HubUnavailableError, match=rf"belongs to another user \({NOBODY}\)"):
                client.stream("secret")
            impostor.wait_for_line("heard b''")
