"""A hub takes the place of another: nobody notices, and one that fails to harms nobody."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.bare_application import HEAD, BareApplication, log_of, tcp_pair
from tests.support.brokers import Broker
from tests.support.client import StreamReader
from tests.support.hostile import Peer
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import suspended, wait_until
from tests.support.successors import (
    fail_to_succeed,
    started_by,
    steps_to_succeed,
    succeed,
    successor_job,
)
from tests.tools import ROOT

from flask_sse.errors import HubUnavailableError
from flask_sse.hub.client import launcher
from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.hub.core.runs import State
from flask_sse.hub.core.timer_wheel import TICK_SECONDS
from flask_sse.hub.handover.handover_connection import HANDOVER_VERSION
from flask_sse.hub.handover.receiver import Receiver
from flask_sse.hub.handover.sender import send_snapshot
from flask_sse.hub.handover.snapshot import Snapshot
from flask_sse.hub.protocol.block import BlockDecoder
from flask_sse.hub.protocol.hello import PROTOCOLS, Hello
from flask_sse.hub.protocol.packet import Packet
from flask_sse.hub.protocol.requests import status_request
from flask_sse.hub.protocol.stream_request import ENVELOPES, StreamRequest
from flask_sse.settings import History, Settings, StreamRules
from flask_sse.wire.envelope import unpack

URL = "memory://handover"
MEGABYTE = 1024 * 1024

pytestmark = pytest.mark.usefixtures("runtime_directory")


@pytest.fixture
def client() -> Iterator[BareApplication]:
    with BareApplication(URL) as client:
        yield client


def data_of(stream: StreamReader, count: int) -> list[str]:
    return [event.data for event in stream.events(count)]


# -- what is handed over -------------------------------------------------------------------------------


def test_streams_and_applications_do_not_notice(client: BareApplication) -> None:
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(client.stream("all", tcp=tcp)) for tcp in (False, True) * 10]
        pids = {client.pid}
        for number in range(3):
            client.publish(f"before {number}", channel="all")
            succeed(client.settings)
            # Over the connection that the application has had from the beginning.
            assert client.publish(f"after {number}", channel="all") == 20
            assert client.status()["apps"] == 1
            pids.add(client.pid)
        assert len(pids) == 4
        expected = [f"{word} {number}" for number in range(3) for word in ("before", "after")]
        for stream in streams:
            assert data_of(stream, 6) == expected
            assert stream.raw.count(b"retry:") == 1


def test_history_keys_and_own_ids_of_memory_are_handed_over(client: BareApplication) -> None:
    kept = {"history": History(10, 60)}
    with BareApplication(URL, **kept) as app:
        first = app.publish("a", channel="kept", key="once", id="own")
        for number in range(600):
            app.publish(str(number), channel=f"many-{number}")
        top = app.hub_client.cursors(["kept", "many-599"])
        succeed(app.settings)
        again = app.publish("again", channel="kept", key="once", id="own")
        assert (again, again.id) == (first, first.id)
        assert app.hub_client.cursors(["kept", "many-599"]) == top
        assert app.publish("b", channel="kept").id is not None
        for since in ("own", str(top[0]), "earliest"):
            with resumed(app, "kept", since) as stream:
                expected = ["a", "b"] if since == "earliest" else ["b"]
                assert data_of(stream, len(expected)) == expected


@contextlib.contextmanager
def resumed(app: BareApplication, channel: str, since: str, **rules: Any) -> Iterator[StreamReader]:
    ours, hubs = socket.socketpair()
    with StreamReader(ours) as stream, hubs:
        request = StreamRequest((channel,), "frames", StreamRules(**rules), {channel: since}, HEAD)
        app.hub_client.attach(hubs.fileno(), request)
        yield stream


def test_history_in_the_hub_of_redis_is_read_on_from_where_the_other_stood(
    valkey: Broker, channel: str
) -> None:
    with BareApplication(valkey.url) as app, resumed(app, channel, "") as stream:
        assert stream.next_event().type == "stream-open"
        for number in range(5):
            # Nobody waits until either hub has got what was published.
            app.publish(f"{number} a", channel=channel)
            launcher.start(successor_job(app.settings))
            app.publish(f"{number} b", channel=channel)
        expected = [f"{number} {letter}" for number in range(5) for letter in "ab"]
        assert data_of(stream, 10) == expected


def test_a_backlog_is_written_to_its_last_byte_by_the_next_one(client: BareApplication) -> None:
    ours, hubs = tcp_pair()
    sent = [f"{number} {'x' * 100_000}" for number in range(60)]
    with StreamReader(ours) as stream, hubs:
        client.hand_over(hubs, "all", rules=StreamRules(max_backlog_bytes=100 * MEGABYTE))
        stream.wait_for_bytes(b"retry:")
        for data in sent[:40]:
            client.publish(data, channel="all")
        succeed(client.settings)
        for data in sent[40:]:
            client.publish(data, channel="all")
        succeed(client.settings)
        assert data_of(stream, 60) == sent


def test_a_client_that_is_too_slow_is_still_too_slow_for_the_next_one(client: BareApplication) -> None:
    with client.stream("all", max_backlog_bytes=MEGABYTE):
        while client.publish("x" * 100_000, channel="all") and client.status()["streams"]:
            succeed(client.settings)
        assert client.status()["ended_slow"] == 1


def test_a_long_replay_goes_on_where_it_was(client: BareApplication) -> None:
    with BareApplication(URL, history=History(3000, 60)) as app:
        sent = [f"{number} {'x' * 1000}" for number in range(3000)]
        for data in sent:
            app.publish(data, channel="long")
        ours, hubs = tcp_pair()
        with StreamReader(ours) as stream, hubs:
            request = StreamRequest(("long",), "frames", StreamRules(), {"long": "earliest"}, HEAD)
            app.hub_client.attach(hubs.fileno(), request)
            # It takes a page when the one before is read, so some are left for each hub.
            got = data_of(stream, 10)
            succeed(app.settings)
            got += data_of(stream, 1500)
            succeed(app.settings)
            assert app.publish("live", channel="long") is not None
            got += data_of(stream, 3001 - len(got))
        assert got == [*sent, "live"]


def test_a_reader_of_messages_goes_on(client: BareApplication) -> None:
    with contextlib.ExitStack() as stack:
        ours, hubs = socket.socketpair()
        stack.enter_context(ours)
        with hubs:
            client.hand_over(hubs, "all", mode=ENVELOPES)
        ours.settimeout(PATIENT_SECONDS)
        decoder = BlockDecoder()
        got: list[object] = []
        assert ours.recv(100)
        for number in range(3):
            client.publish(number, channel="all")
            succeed(client.settings)
        while len(got) < 3:
            got += [unpack(envelope).data for envelope in decoder.feed(ours.recv(1000))]
        assert got == [0, 1, 2]


def test_streams_that_wait_for_the_broker_wait_on(channel: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        BareApplication(f"redis://127.0.0.1:{silent.getsockname()[1]}") as app,
    ):
        ours, hubs = socket.socketpair()
        with StreamReader(ours) as stream, hubs:
            app.hand_over(hubs, channel)
            succeed(app.settings)
            stream.wait_for_bytes(b"the broker cannot be reached")
            succeed(app.settings)
            assert app.status()["streams"] == 1
            assert stream.raw.count(b"HTTP/1.1 200 OK") == 1
            assert stream.raw.count(b"retry:") == 1


def test_what_pages_were_told_of_runs_is_handed_over(tmp_path: Path) -> None:
    # 14.23
    runs = {"run:over": State.OVER, "run:lost": State.LOST}
    path = tmp_path / "hub.sock"
    received = []

    def succeed_it() -> None:
        receiver = Receiver(path, only_if_older=False)
        receiver.commit()
        received.append(receiver.snapshot)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        successor = threading.Thread(target=succeed_it)
        successor.start()
        sock, _ = listener.accept()
        with sock:
            assert b"handover" in sock.recv(1000)
            assert send_snapshot(sock, Snapshot(listener.fileno(), None, None, {}, runs, [], ()))
        successor.join(PATIENT_SECONDS)
    (snapshot,) = received
    os.close(snapshot.listener)
    assert snapshot.runs == runs


def test_heartbeats_and_ages_go_on(client: BareApplication) -> None:
    assert client.pid
    began = time.monotonic()
    succeed(client.settings)
    # The hand-overs below take a part of the age, however slow the machine is.
    age = max(4.0, 8 * (time.monotonic() - began))
    began = time.monotonic()
    with client.stream("all", heartbeat_seconds=0.5, max_stream_seconds=age) as stream:
        for _ in range(2):
            succeed(client.settings)
        with contextlib.suppress(TimeoutError):
            stream.wait_closed(timeout=began + age / 2 - time.monotonic())
        succeed(client.settings)
        last = time.monotonic()
        assert stream.wait_closed() == "eof"
        # One whose age began with the last hub would live for 80 % of it more.
        assert time.monotonic() - last < 0.75 * age
        assert time.monotonic() - began > 0.8 * age - 2 * TICK_SECONDS
        assert stream.raw.count(b"\n\n:\n\n") >= 1
        assert stream.raw.count(b"retry:") == 2


def test_a_request_that_has_come_in_part_is_answered_by_the_next_one(client: BareApplication) -> None:
    path = hub_path(client.settings)
    assert client.pid
    hello, question = Hello(os.getpid(), 60).packet().encode(), status_request().encode()
    with Peer(path) as early, Peer(path) as late:
        early.send(hello[:7])
        late.send(hello)
        late.wait_for(b'"answer"')
        late.send(question[:9])
        succeed(client.settings)
        early.send(hello[7:])
        early.wait_for(b'"answer"')
        late.send(question[9:])
        late.wait_for(b'"streams":')


def test_what_was_connected_and_not_accepted_yet_is_accepted_by_the_next_one(client: BareApplication) -> None:
    path, old = hub_path(client.settings), client.pid
    with suspended(old):
        launcher.start(successor_job(client.settings))
        waiting = [Peer(path, Hello(os.getpid(), 60).packet()) for _ in range(20)]
    for peer in waiting:
        with peer:
            peer.wait_for(b'"answer"')
    wait_until(lambda: client.pid != old, what="the next hub")


# -- what fails ----------------------------------------------------------------------------------------


def test_a_successor_that_is_killed_at_any_step_leaves_the_old_hub_in_charge(client: BareApplication) -> None:
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(client.stream("all")) for _ in range(150)]
        pid, count = client.pid, 0
        steps = steps_to_succeed(client.settings)
        assert steps > 8, "two portions of streams, and what is said around them"
        for step in range(1, steps + 1):
            client.publish(f"before {step}", channel="all")
            with fail_to_succeed(client.settings, step) as process:
                assert process.wait(PATIENT_SECONDS) == -signal.SIGKILL
            assert client.publish(f"after {step}", channel="all") == 150
            count += 2
            assert client.pid == pid
        succeed(client.settings)
        assert client.pid != pid
        client.publish("the end", channel="all")
        expected = [f"{word} {step}" for step in range(1, steps + 1) for word in ("before", "after")]
        for stream in streams:
            assert data_of(stream, count + 1) == [*expected, "the end"]


IMPATIENT = """
import sys
from flask_sse.hub.handover import handover_connection
handover_connection.STEP_SECONDS = 0.3
from flask_sse.hub.process.main import main
sys.exit(main())
"""


def test_a_successor_that_stops_to_answer_is_not_waited_for() -> None:
    with BareApplication(URL) as client, started_by(IMPATIENT, client.settings):
        with client.stream("all") as stream:
            pid = client.pid
            steps = steps_to_succeed(client.settings)
            for step in (2, steps // 2, steps - 1, steps):
                with fail_to_succeed(client.settings, step, "stopped") as process:
                    wait_until(lambda: client_gets(client, stream, "still here"), what="the old hub")
                    assert client.pid == pid
                    # In the midst of the last step it is killed, because both would write.
                    assert step < steps or process.wait(PATIENT_SECONDS) == -signal.SIGKILL
                    process.kill()
        assert "does not answer and is killed" in log_of(hub_path(client.settings))


def client_gets(client: BareApplication, stream: StreamReader, data: str) -> bool:
    with contextlib.suppress(Exception):
        client.publish(data, channel="all")
        return stream.next_event().data == data
    return False


def test_a_successor_without_descriptors_leaves_the_old_hub_in_charge(client: BareApplication) -> None:
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(client.stream("all")) for _ in range(120)]
        pid = client.pid
        code = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60)); {RUN}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=successor_job(client.settings).line(),
            capture_output=True,
            text=True,
            timeout=PATIENT_SECONDS,
            check=False,
            cwd=ROOT,
        )
        wait_until(lambda: "more descriptors than this process may open" in done.stderr, what="a reason")
        assert client.publish("still here", channel="all") == 120
        assert client.pid == pid
        for stream in streams:
            assert data_of(stream, 1) == ["still here"]


RUN = "runpy.run_module('flask_sse.hub', run_name='__main__')"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"handover": 0}, b"hands over by version 3, not 0"),
        ({"handover": None}, b"hands over by version 3, not None"),
        ({"handover": HANDOVER_VERSION, "version": "2.0.0", "only_if_older": True}, b"already"),
        ({"handover": HANDOVER_VERSION, "version": "1.9.9", "only_if_older": True}, b"already"),
        ({"handover": HANDOVER_VERSION, "version": None, "only_if_older": True}, b"already"),
        ({"handover": HANDOVER_VERSION, "version": "not a number", "only_if_older": True}, b"already"),
    ],
)
def test_who_may_not_succeed_is_told_why(
    fields: dict[str, object], reason: bytes, client: BareApplication
) -> None:
    pid = client.pid
    with Peer(hub_path(client.settings), Packet("handover", fields)) as peer:
        assert reason in peer.rest()
    assert client.pid == pid


def test_an_application_cannot_become_a_successor(client: BareApplication) -> None:
    pid = client.pid
    succeeds = Packet("handover", {"handover": HANDOVER_VERSION})
    with Peer(hub_path(client.settings), Hello(1, 60).packet(), succeeds) as peer:
        assert b"a request 'handover'" in peer.rest()
    assert client.pid == pid


# -- releases ------------------------------------------------------------------------------------------

OTHER_RELEASE = """
import sys
from flask_sse import version
version.__version__ = {version!r}
from flask_sse.hub.protocol import hello
hello.PROTOCOLS = {protocols!r}
from flask_sse.hub.process.main import main
sys.exit(main())
"""


def release(version: str, *protocols: int) -> str:
    return OTHER_RELEASE.format(version=version, protocols=protocols)


def test_a_hub_of_an_older_release_is_replaced_with_its_streams() -> None:
    old = BareApplication(URL)
    with old, started_by(release("1.9.9", *PROTOCOLS), old.settings), old.stream("all") as stream:
        wait_until(lambda: took_over(old.settings), what="the hub of this release")
        pid = old.pid
        with BareApplication(URL) as new:
            assert new.publish("by the new one", channel="all") == 1
            assert new.pid == pid, "a hub of this release is not replaced"
        assert stream.next_event().data == "by the new one"


def took_over(settings: Settings) -> str:
    return next((line for line in log_of(hub_path(settings)).splitlines() if "handover received" in line), "")


def test_a_hub_of_an_older_protocol_is_replaced_with_its_streams() -> None:
    settings = Settings(URL)
    with (
        started_by(release("1.9.9", 3), settings),
        Peer(hub_path(settings), Packet("hello", {"protocols": [3], "pid": 1, "linger_seconds": 60})) as peer,
    ):
        peer.wait_for(b'"protocol":3')
        ours, hubs = socket.socketpair()
        with StreamReader(ours) as stream:
            with hubs:
                peer.send(
                    StreamRequest(("all",), "frames", StreamRules(), head=HEAD).packet().encode(),
                    [hubs.fileno()],
                )
            stream.wait_for_bytes(b"retry:")
            with BareApplication(URL) as client:
                assert client.publish("by this release", channel="all") == 1
            assert stream.next_event().data == "by this release"


def test_a_hub_of_a_newer_protocol_is_left_alone_and_the_error_says_why() -> None:
    settings = Settings(URL)
    with started_by(release("9.0.0", 99), settings), BareApplication(URL) as client:
        with pytest.raises(HubUnavailableError, match=rf"this hub speaks protocol 99, not .*{PROTOCOLS[-1]}"):
            client.status()
        assert "handover received" not in log_of(hub_path(settings))


def test_a_hub_of_a_newer_release_that_speaks_our_protocol_is_used() -> None:
    with BareApplication(URL) as client, started_by(release("9.0.0", *PROTOCOLS, 99), client.settings):
        with client.stream("all") as stream:
            assert client.publish("one", channel="all") == 1
            assert stream.next_event().data == "one"
        assert not took_over(client.settings)
