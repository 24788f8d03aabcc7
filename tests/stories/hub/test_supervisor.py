"""``flask-sse hub`` keeps hubs running, replaces them, and spreads streams over several."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from tests.support.bare_application import HEAD, BareApplication, tcp_pair
from tests.support.brokers import Broker
from tests.support.client import StreamReader
from tests.support.operators import URL, operated
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, children, running, suspended, wait_until
from tests.tools import ROOT

from flask_sse.errors import BrokerUnavailableError, HubUnavailableError
from flask_sse.hub.protocol.requests import status_request
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.hub.server.control_listener import numbered
from flask_sse.settings import History, StreamRules

MEGABYTE = 1024 * 1024
NO_DRAIN = {"SSE_DRAIN_SECONDS": "0"}


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        yield Path(directory) / "hub.sock"


def application(path: Path, url: str = URL) -> BareApplication:
    return BareApplication(url, hub=f"unix:{path}")


def hub_of(parent: Process) -> int:
    """Return the pid of the one hub process below the command."""

    def one() -> int | None:
        pids = children(parent.pid)
        return pids[0] if len(pids) == 1 else None

    return wait_until(one, what="one hub")


def renew(parent: Process, times: int) -> None:
    os.kill(parent.pid, signal.SIGHUP)
    wait_until(lambda: parent.output().count("handover received") == times, what="new hubs in charge")


@contextlib.contextmanager
def kept(
    app: BareApplication, channel: str, since: str = "", rules: StreamRules | None = None
) -> Iterator[StreamReader]:
    """Open a stream with history, which misses nothing of a broker either while hubs change."""
    ours, hubs = socket.socketpair()
    with StreamReader(ours) as stream, hubs:
        request = StreamRequest((channel,), FRAMES, rules or app.settings.rules, {channel: since}, HEAD)
        app.hub_client.attach(hubs.fileno(), request)
        hubs.close()
        if not since:
            stream.wait_opened()
        yield stream


# -- one hub ---------------------------------------------------------------------------------------------


def test_streams_keys_and_history_of_memory_move_to_the_new_process_on_sighup(path: Path) -> None:
    with operated(path, env=NO_DRAIN) as parent, application(path) as app, app.stream("all") as stream:
        pids = {app.pid}
        assert app.publish("0", channel="all", key="0") == 1
        for number in range(1, 4):
            renew(parent, number)
            assert app.publish("again", channel="all", key="0") == 1
            assert app.publish(str(number), channel="all") == 1
            pids.add(app.pid)
        assert [event.data for event in stream.events(4)] == ["0", "1", "2", "3"]
        assert len(pids) == 4
        assert parent.alive
        wait_until(lambda: len(children(parent.pid)) == 1, what="the hubs of before gone")


def test_two_signals_in_a_row_replace_the_hub_twice(path: Path) -> None:
    with operated(path, env=NO_DRAIN) as parent, application(path) as app, app.stream("all") as stream:
        os.kill(parent.pid, signal.SIGHUP)
        wait_until(lambda: "SIGHUP" in parent.output(), what="the first one noticed")
        renew(parent, 2)
        assert app.publish("one", channel="all") == 1
        assert stream.next_event().data == "one"


def test_on_sighup_each_stream_gets_every_byte_once_and_in_order(path: Path) -> None:
    patient = StreamRules(max_backlog_bytes=100 * MEGABYTE)
    ours, hubs = tcp_pair()
    with (
        operated(path, env=NO_DRAIN) as parent,
        BareApplication(URL, hub=f"unix:{path}", history=History(2000, 60)) as app,
        kept(app, "all", rules=patient) as live,
        StreamReader(ours) as slow,
    ):
        since = app.hub_client.cursors(["all"])[0]
        with hubs:
            app.hand_over(hubs, "all", rules=patient)
        slow.wait_for_bytes(b"retry:")
        # None of them is read meanwhile, so each hub leaves a backlog to the next one.
        with published(app, "all") as sent:
            for number in range(1, 4):
                renew(parent, number)
        with kept(app, "all", str(since)) as back:
            for stream in (live, slow, back):
                assert [event.data for event in stream.events(len(sent))] == sent
        assert parent.alive


@contextlib.contextmanager
def published(app: BareApplication, channel: str) -> Iterator[list[str]]:
    """Publish all the time, and some megabytes at least; yield what was sent."""
    sent: list[str] = []
    enough = threading.Event()

    def publish() -> None:
        while not enough.is_set() or len(sent) < 200:
            sent.append(f"{len(sent)} {'x' * 20_000}")
            # A machine with much else to do may not answer in time.
            while True:
                with contextlib.suppress(BrokerUnavailableError):
                    app.publish(sent[-1], channel=channel, key=str(len(sent)))
                    break

    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish)
        try:
            yield sent
        finally:
            enough.set()
        publishing.result()


def test_heartbeats_go_on_after_sighup(path: Path) -> None:
    with (
        operated(path, env=NO_DRAIN) as parent,
        application(path) as app,
        app.stream("all", heartbeat_seconds=0.5) as stream,
    ):
        renew(parent, 1)
        stream.wait_for_bytes(b"\n\n:\n\n:\n\n")
        assert stream.raw.count(b"retry:") == 1


def test_many_signals_at_once_do_no_harm(path: Path) -> None:
    with operated(path, env=NO_DRAIN) as parent, application(path) as app, app.stream("all") as stream:
        for number in range(20):
            os.kill(parent.pid, signal.SIGHUP)
            assert app.publish(str(number), channel="all") == 1
        assert [event.data for event in stream.events(20)] == list(map(str, range(20)))
        assert parent.terminate() == 0
        assert stream.wait_closed() == "eof"
        assert "Traceback" not in parent.output()
    assert list(path.parent.iterdir()) == []


def test_a_hub_that_is_told_to_end_is_not_replaced_any_more(path: Path) -> None:
    env = {"SSE_DRAIN_SECONDS": "60"}
    with operated(path, env=env) as parent, application(path) as app, app.stream("all") as stream:
        os.kill(parent.pid, signal.SIGTERM)
        parent.wait_for_line("ending 1 stream ")
        os.kill(parent.pid, signal.SIGHUP)
        assert parent.terminate() == 0
        assert stream.wait_closed() == "eof"
        assert "handover received" not in parent.output()


def test_a_parent_that_cannot_start_a_process_for_a_moment_keeps_the_old_hub(path: Path) -> None:
    with operated(path, env=NO_DRAIN) as parent, application(path) as app, app.stream("all") as stream:
        with out_of_descriptors(parent):
            os.kill(parent.pid, signal.SIGHUP)
            parent.wait_for_line("Too many open files")
        assert app.publish("still here", channel="all") == 1
        renew(parent, 1)
        assert app.publish("renewed", channel="all") == 1
        assert [event.data for event in stream.events(2)] == ["still here", "renewed"]
        assert "Traceback" not in parent.output()


def test_a_parent_that_cannot_start_a_process_for_a_moment_tries_again(path: Path) -> None:
    with operated(path, env=NO_DRAIN) as parent, application(path) as app:
        pid = app.pid
        with out_of_descriptors(parent):
            os.kill(pid, signal.SIGKILL)
            parent.wait_for_line("Too many open files")
        wait_until(lambda: serves(path) or not parent.alive, what="another hub")
        assert app.pid != pid
        assert "Traceback" not in parent.output()


@contextlib.contextmanager
def out_of_descriptors(parent: Process) -> Iterator[None]:
    soft, hard = resource.prlimit(parent.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (soft, hard))


def serves(path: Path) -> bool:
    with contextlib.suppress(HubUnavailableError), application(path) as app:
        return bool(own_status(app))
    return False


@pytest.mark.parametrize(
    ("number", "how"), [(signal.SIGTERM, "ended with 0"), (40, "was killed by"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_a_hub_that_ended_by_any_signal_is_started_again_at_the_same_socket(
    number: int, how: str, path: Path
) -> None:
    with operated(path, env=NO_DRAIN) as parent, application(path) as app:
        pid, inode = app.pid, path.stat().st_ino
        os.kill(pid, number)
        assert how in parent.wait_for_line(f"hub process {pid} ")
        wait_until(lambda: serves(path), what="another hub")
        assert app.pid != pid
        assert path.stat().st_ino == inode


def test_a_hub_that_is_told_to_end_while_it_starts_ends_with_0(path: Path) -> None:
    for _ in range(3):
        with operated(path, ready=None) as parent:
            wait_until(partial(children, parent.pid), what="a hub that starts")
            assert parent.terminate() == 0, parent.output()
            assert "Traceback" not in parent.output()
        assert list(path.parent.iterdir()) == []


class Installation:
    """Flask-SSE in a folder of its own, which is changed while a hub runs; ``environment`` names it."""

    def __init__(self, folder: Path) -> None:
        self._broken = folder / "broken"
        (self._broken / "hub").mkdir(parents=True)
        for file in (self._broken / "__init__.py", self._broken / "hub" / "__init__.py"):
            file.touch()
        (self._broken / "hub" / "__main__.py").write_text("raise SystemExit('a broken release')")
        self._package = folder / "library" / "flask_sse"
        self._package.parent.mkdir()
        self.fix()

    @property
    def environment(self) -> dict[str, str]:
        python_path = [str(self._package.parent), os.environ.get("PYTHONPATH", "")]
        return {**NO_DRAIN, "PYTHONPATH": os.pathsep.join(filter(None, python_path))}

    def fix(self) -> None:
        self._lead_to(ROOT / "src" / "flask_sse")

    def break_(self) -> None:
        self._lead_to(self._broken)

    def _lead_to(self, package: Path) -> None:
        self._package.unlink(missing_ok=True)
        self._package.symlink_to(package)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_a_successor_that_fails_leaves_the_old_hub_in_charge(path: Path, installation: Installation) -> None:
    env = installation.environment
    with operated(path, env=env) as parent, application(path) as app, app.stream("all") as stream:
        pid = app.pid
        installation.break_()
        os.kill(parent.pid, signal.SIGHUP)
        parent.wait_for_line("reload failed, the old hub continues: its successor ended with 1")
        assert app.publish("still here", channel="all") == 1
        assert stream.next_event().data == "still here"
        assert app.pid == pid
        installation.fix()
        renew(parent, 1)
        assert app.publish("mended", channel="all") == 1
        assert stream.next_event().data == "mended"


def test_a_hub_that_was_killed_is_started_again_and_who_comes_meanwhile_waits(path: Path) -> None:
    with operated(path, env=NO_DRAIN) as parent, application(path) as app:
        for times in range(1, 4):
            pid = app.pid
            os.kill(pid, signal.SIGKILL)
            with application(path) as other, other.stream("all") as stream:
                assert other.publish("after", channel="all") == 1
                assert stream.next_event().data == "after"
                assert other.pid != pid
            assert parent.output().count("was killed by SIGKILL; last report: {") == times


def test_a_hub_that_is_killed_before_it_begins_ends_it_with_1_and_a_text(path: Path) -> None:
    with operated(path, ready=None) as parent:
        (hub,) = wait_until(partial(children, parent.pid), what="a hub that starts")
        os.kill(hub, signal.SIGKILL)
        assert parent.wait() == 1, parent.output()
        assert "SIGKILL" in parent.output()
    assert list(path.parent.iterdir()) == []


def test_streams_end_in_their_time_when_the_parent_is_killed(path: Path) -> None:
    env = {"SSE_DRAIN_SECONDS": "0.5"}
    with operated(path, env=env) as parent, application(path) as app, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(app.stream("all")) for _ in range(20)]
        pid = app.pid
        parent.kill()
        for stream in streams:
            assert stream.wait_closed() == "eof"
            assert stream.raw.endswith(b"\n\n")
            assert stream.raw.count(b"retry:") == 2
        wait_until(lambda: not running(pid), what="the end of the hub")
        assert "stopped: its parent is gone" in parent.output()
        # What it left does not matter to the next one.
        with operated(path, env=env), app.stream("all") as stream:
            assert app.publish("the next one", channel="all") == 1
            assert stream.next_event().data == "the next one"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_end_spread_over_the_time_to_drain_and_get_events_until_then(
    number: signal.Signals, path: Path, valkey: Broker, channel: str
) -> None:
    env = {"SSE_BROKER_URL": valkey.url, "SSE_DRAIN_SECONDS": "2"}
    with (
        operated(path, env=env) as parent,
        application(path, valkey.url) as app,
        contextlib.ExitStack() as stack,
    ):
        streams = [stack.enter_context(app.stream(channel)) for _ in range(40)]
        os.kill(parent.pid, number)
        parent.wait_for_line("ending 40 streams within 2 s")
        assert not path.exists(), "who comes now is not to wait for it"
        app.publish("meanwhile", channel=channel)
        assert parent.wait() == 0
        for stream in streams:
            assert stream.wait_closed() == "eof"
        heard = [b"meanwhile" in stream.raw for stream in streams]
        assert sum(heard) > 20
        retries = {stream.reading.decoder.retry_ms for stream in streams}
        assert len(retries) > 20


def test_the_second_signal_ends_at_once_and_nothing_is_published_after_the_first(path: Path) -> None:
    env = {"SSE_DRAIN_SECONDS": "60"}
    with (
        operated(path, env=env) as parent,
        application(path) as app,
        application(path) as other,
        contextlib.ExitStack() as stack,
    ):
        streams = [stack.enter_context(app.stream("all")) for _ in range(40)]
        hub = hub_of(parent)
        os.kill(parent.pid, signal.SIGTERM)
        parent.wait_for_line("ending 40 streams within 60 s")
        for each in (app, other):
            # Some streams would get it, and the publisher would not know of the others.
            with pytest.raises(BrokerUnavailableError):
                each.publish("too late", channel="all")
        os.kill(parent.pid, signal.SIGTERM)
        for stream in streams:
            assert stream.wait_closed() == "eof"
            assert b"too late" not in stream.raw
            assert stream.raw.count(b"retry:") == 2
        assert len({stream.reading.decoder.retry_ms for stream in streams}) > 20
        assert parent.wait() == 0
        assert not running(hub)
    assert list(path.parent.iterdir()) == []


# -- another parent --------------------------------------------------------------------------------------


def test_another_parent_replaces_the_first_which_leaves_the_socket_alone(path: Path) -> None:
    with operated(path, env=NO_DRAIN) as first, application(path) as app, app.stream("all") as stream:
        inode, hub = path.stat().st_ino, app.pid
        assert app.publish("0", channel="all", key="0") == 1
        with operated(path, "--replace", env=NO_DRAIN) as second:
            assert first.wait() == 0
            assert path.stat().st_ino == inode
            assert not running(hub)
            assert app.publish("again", channel="all", key="0") == 1
            assert app.publish("1", channel="all") == 1
            assert [event.data for event in stream.events(2)] == ["0", "1"]
            assert [app.pid] == children(second.pid)
            # The second one is the parent of its hub in all: it starts it again, renews and ends it.
            renew(second, 2)
            assert app.publish("2", channel="all") == 1
            assert stream.next_event().data == "2"
            os.kill(app.pid, signal.SIGKILL)
            wait_until(lambda: serves(path), what="another hub")
            assert second.terminate() == 0
    assert list(path.parent.iterdir()) == []


def test_replace_just_starts_where_nobody_is_or_a_dead_one_was(path: Path) -> None:
    with operated(path, "--replace") as first:
        assert path.is_socket()
        first.kill_tree()
    assert path.is_socket()
    with operated(path, "--replace") as second, application(path) as app:
        assert [app.pid] == children(second.pid)


def test_replacing_a_hub_whose_renewal_failed_before_ends_its_parent(
    path: Path, installation: Installation
) -> None:
    env = installation.environment
    with operated(path, env=env) as first, application(path) as app, app.stream("all") as stream:
        installation.break_()
        os.kill(first.pid, signal.SIGHUP)
        first.wait_for_line("reload failed, the old hub continues")
        installation.fix()
        with operated(path, "--replace", env=env) as second:
            assert first.wait(PATIENT_SECONDS) == 0
            assert app.publish("by the second", channel="all") == 1
            assert stream.next_event().data == "by the second"
            assert [app.pid] == children(second.pid)


def test_a_hub_that_does_not_answer_cannot_be_replaced_and_goes_on(path: Path) -> None:
    with operated(path, env=NO_DRAIN) as first, application(path) as app, app.stream("all") as stream:
        with suspended(app.pid), operated(path, "--replace", ready=None) as second:
            assert second.wait() == 4
            assert f"no hub at {path}: timed out" in second.output()
            assert "Traceback" not in second.output()
        assert app.publish("still here", channel="all") == 1
        assert stream.next_event().data == "still here"
        assert [app.pid] == children(first.pid)


# -- several ---------------------------------------------------------------------------------------------


def test_streams_of_one_application_are_spread_over_several_hubs(
    path: Path, own_valkey: Broker, channel: str
) -> None:
    env = {"SSE_BROKER_URL": own_valkey.url, **NO_DRAIN}
    with (
        operated(path, "--processes", "3", env=env) as parent,
        application(path, own_valkey.url) as app,
        contextlib.ExitStack() as stack,
    ):
        streams = [stack.enter_context(kept(app, channel)) for _ in range(30)]
        assert app.status()["streams"] == 30
        for each in range(3):
            with application(numbered(path, each), own_valkey.url) as one:
                assert 8 <= own_status(one)["streams"] <= 12
        renew(parent, 3)
        app.publish("to all", channel=channel)
        for stream in streams:
            assert stream.next_event().data == "to all"
        assert app.status()["streams"] == 30
        assert parent.terminate() == 0
    assert list(path.parent.iterdir()) == []


def own_status(one: BareApplication) -> dict[str, int]:
    """Return the counts of this hub alone, where several share the streams."""
    (fields,) = one.hub_client._ask([status_request()])  # type: ignore[attr-defined]
    return dict(fields)


def test_several_replace_several_and_no_other_number(path: Path, valkey: Broker, channel: str) -> None:
    env = {"SSE_BROKER_URL": valkey.url, **NO_DRAIN}
    with (
        operated(path, "--processes", "2", env=env) as first,
        application(path, valkey.url) as app,
        contextlib.ExitStack() as stack,
    ):
        streams = [stack.enter_context(kept(app, channel)) for _ in range(10)]
        with operated(path, "--processes", "3", "--replace", env=env, ready=None) as wrong:
            assert wrong.wait() == 4
            assert "it is one of 2 processes, not 3" in wrong.output()
        with operated(path, "--processes", "2", "--replace", env=env):
            assert first.wait() == 0
            app.publish("to all", channel=channel)
            for stream in streams:
                assert stream.next_event().data == "to all"


def test_memory_is_in_one_process(path: Path) -> None:
    with operated(path, "--processes", "2", ready=None) as parent:
        assert parent.wait() == 2
        assert "memory:// lives in one process" in parent.output()


def test_a_path_of_several_that_is_in_use_is_named_and_harms_nothing(
    path: Path, own_valkey: Broker, channel: str
) -> None:
    env = {"SSE_BROKER_URL": own_valkey.url, **NO_DRAIN}
    second = numbered(path, 1)
    with operated(second, env=env), application(second, own_valkey.url) as app, kept(app, channel) as stream:
        with operated(path, "--processes", "2", env=env, ready=None) as parent:
            assert parent.wait() == 3, parent.output()
            assert f"{second}: a hub runs there already" in parent.output()
        assert list(path.parent.iterdir()) == [second]
        app.publish("still here", channel=channel)
        assert stream.next_event().data == "still here"


def test_one_of_several_that_is_killed_is_started_again_by_itself(
    path: Path, valkey: Broker, channel: str
) -> None:
    env = {"SSE_BROKER_URL": valkey.url, **NO_DRAIN}
    with (
        operated(path, "--processes", "3", env=env) as parent,
        application(path, valkey.url) as app,
        contextlib.ExitStack() as stack,
    ):
        streams = [stack.enter_context(kept(app, channel)) for _ in range(12)]
        with application(numbered(path, 1), valkey.url) as one:
            killed, lost = own_status(one)["pid"], own_status(one)["streams"]
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: serves(numbered(path, 1)), what="another hub")
            assert own_status(one)["pid"] in {*children(parent.pid)} - {killed}
        app.publish("to all", channel=channel)
        ends = [stream_end(stream) for stream in streams]
        assert 2 <= lost <= 6
        assert sorted(ends) == ["closed"] * lost + ["to all"] * (12 - lost)
        # Whoever comes back finds one of the three.
        again = [stack.enter_context(kept(app, channel)) for _ in range(6)]
        app.publish("once more", channel=channel)
        assert {stream.next_event().data for stream in again} == {"once more"}
        assert app.status()["streams"] == 18 - lost
        assert len(children(parent.pid)) == 3


def stream_end(stream: StreamReader) -> str:
    try:
        return str(stream.next_event().data)
    except EOFError:
        return "closed"


# -- options ---------------------------------------------------------------------------------------------


def test_the_url_of_the_broker_comes_from_a_variable_of_any_name_and_stands_nowhere(path: Path) -> None:
    env = {"SSE_BROKER_URL": "", "CACHE_URL": "redis://user:geheim@127.0.0.1:1", "SSE_HUB": f"unix:{path}"}
    with operated(path, "--broker-url-from-env", "CACHE_URL", env=env) as parent:
        hub = hub_of(parent)
        for pid in (parent.pid, hub):
            assert b"geheim" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        parent.wait_for_line("the broker cannot be reached")
        assert "geheim" not in parent.output()


def test_a_variable_that_is_not_there_is_named(path: Path) -> None:
    with operated(path, "--broker-url-from-env", "CACHE_URL", ready=None) as parent:
        assert parent.wait() == 2
        assert "the environment has no CACHE_URL" in parent.output()


def test_logs_are_json_where_that_is_asked_for(path: Path) -> None:
    env = {"SSE_BROKER_URL": "redis://127.0.0.1:1", **NO_DRAIN}
    with operated(path, "--json-logs", env=env) as parent:
        parent.wait_for_line("the broker cannot be reached")
        hub = hub_of(parent)
        assert parent.terminate() == 0
        lines = [json.loads(line) for line in parent.output().splitlines()]
    assert {line["process"] for line in lines} == {parent.pid, hub}
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["logger"].startswith("flask_sse.hub.")
        assert line["level"] in {"INFO", "WARNING"}
        assert line["message"]


def test_a_level_leaves_out_what_is_below_it(path: Path) -> None:
    with operated(path, "--log-level", "error", env=NO_DRAIN, ready=None) as parent, application(path) as app:
        wait_until(path.is_socket, what="a hub")
        assert app.publish("nobody") == 0
        assert parent.terminate() == 0
        assert parent.output() == ""


def test_an_application_that_comes_while_the_hub_drains_is_told_so_at_once(path: Path) -> None:
    env = {"SSE_DRAIN_SECONDS": "5"}
    with operated(path, env=env) as parent, application(path) as app, app.stream("all"):
        ours, hubs = socket.socketpair()
        with StreamReader(ours) as late, hubs:
            os.kill(parent.pid, signal.SIGTERM)
            parent.wait_for_line("ending 1 stream ")
            with pytest.raises(HubUnavailableError, match="no hub at"):
                app.hand_over(hubs, "all")
            hubs.close()
            assert late.wait_closed() == "eof"
            assert late.raw == b""
        os.kill(parent.pid, signal.SIGTERM)
        assert parent.wait() == 0
