"""``SSE_HUB=auto``: one hub starts by itself, is found by all who share it, and ends by itself."""

from __future__ import annotations

import contextlib
import inspect
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from tests.support import webservers
from tests.support.bare_application import BareApplication, hubs_in, log_of
from tests.support.client import StreamClient
from tests.support.patience import PATIENT_SECONDS, patient
from tests.support.processes import running, wait_until
from tests.tools import ROOT

from flask_sse import settings as settings_module
from flask_sse.hub.client import launcher
from flask_sse.hub.client.config import hub_config
from flask_sse.hub.client.runtime_directory import hub_path
from flask_sse.hub.server.hub_server import HubServer
from flask_sse.settings import History, Settings, StreamRules

URL = "memory://lifecycle"
APPS = ROOT / "tests" / "stories" / "integration" / "apps"
LINGER_SECONDS = 0.5

pytestmark = pytest.mark.usefixtures("runtime_directory")


@pytest.fixture
def client() -> Iterator[BareApplication]:
    with BareApplication(URL) as client:
        yield client


def ended(pid: int) -> None:
    wait_until(lambda: not running(pid), what="the hub's end")


# -- one for all ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_8_processes_that_need_a_hub_at_the_same_moment_get_one(runtime_directory: str) -> None:
    context = multiprocessing.get_context("fork")
    gate, pids = context.Barrier(8, timeout=PATIENT_SECONDS), context.SimpleQueue()

    def need() -> None:
        with BareApplication(URL) as client:
            gate.wait()
            pids.put(client.pid)
            gate.wait()

    children = [context.Process(target=need) for _ in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 8
    found = {pids.get() for _ in children}
    assert len(found) == 1
    assert hubs_in(runtime_directory) == list(found)
    with BareApplication(URL) as later:
        assert later.pid in found, "a later process does not find it"


def test_20_threads_that_need_a_hub_at_the_same_moment_get_one(
    client: BareApplication, runtime_directory: str
) -> None:
    gate = threading.Barrier(20)
    with ThreadPoolExecutor(20) as pool:
        found = set(pool.map(lambda _: (gate.wait(), client.pid)[1], range(20)))
    assert hubs_in(runtime_directory) == list(found)


def test_settings_make_another_hub_for_redis_and_not_for_memory() -> None:
    redis = "redis://127.0.0.1:1"
    assert path_of(URL) == path_of(URL, max_event_bytes=1000, max_streams=5)
    assert path_of(URL) == path_of(f"{URL}/") != path_of(f"{URL}-2")
    assert path_of(redis) == path_of(redis)
    assert (
        len({path_of(redis), path_of(redis, max_event_bytes=1000), path_of(f"{redis}/2"), path_of(URL)}) == 4
    )
    with (
        BareApplication(URL) as one,
        BareApplication(URL, max_event_bytes=1000) as same,
        BareApplication(redis) as other,
    ):
        assert one.pid == same.pid != other.pid


# Other values than the defaults, of all settings that an application can have.
CHANGED: dict[str, object] = {
    "SSE_HUB_LINGER_SECONDS": 61,
    "SSE_TAKEOVER": "off",
    "SSE_DRAIN_SECONDS": 9,
    "SSE_HISTORY_SIZE": 7,
    "SSE_HISTORY_SECONDS": 7,
    "SSE_HISTORY_RULES": {"a:*": {"size": 1}},
    "SSE_SLOW_RULES": {"a:*": "skip"},
    "SSE_HEARTBEAT_SECONDS": 7,
    "SSE_RETRY_MS": 7,
    "SSE_MAX_BACKLOG_BYTES": 7,
    "SSE_MAX_TOTAL_BACKLOG_BYTES": 7,
    "SSE_MAX_EVENT_BYTES": 7,
    "SSE_MAX_STREAM_SECONDS": 7,
    "SSE_MAX_STREAMS": 7,
    "SSE_MAX_STREAMS_PER_SUBJECT": 7,
    "SSE_MAX_STREAMS_PER_ADDRESS": 7,
    "SSE_REQUIRE_TICKET": True,
    "SSE_CORS_ORIGINS": "*",
    "SSE_MAX_CHANNELS": 7,
    "SSE_MAX_RESPONSES": 7,
    "SSE_MAX_RUNS": 7,
    "SSE_MAX_CHANNELS_PER_STREAM": 7,
}


def test_only_a_setting_that_the_hub_reads_names_another_hub() -> None:
    # 14.30
    redis = {"SSE_BROKER_URL": "redis://127.0.0.1:1"}
    usual = Settings.from_mapping(redis)
    assert CHANGED.keys() == settings_module._KEYS.keys() - {"SSE_HUB"}
    for key, value in CHANGED.items():
        changed = Settings.from_mapping({**redis, key: value})
        assert changed != usual, key
        is_read = hub_config(changed) != hub_config(usual)
        assert (hub_path(changed) != hub_path(usual)) == is_read, key


def test_the_hub_reads_nothing_but_what_names_it() -> None:
    parameters = set(inspect.signature(HubServer).parameters)
    assert parameters == {*hub_config(Settings(URL)), "processes"}


def test_a_deploy_that_changes_what_no_hub_reads_ends_no_stream() -> None:
    url = "redis://127.0.0.1:1"
    with BareApplication(url) as old, old.stream("all"):
        pid = old.pid
        changed = {"rules": StreamRules(heartbeat_seconds=7), "history": History(5), "takeover": "off"}
        with BareApplication(url, **changed) as new:
            old.close()
            assert new.pid == pid
            assert new.status()["streams"] == 1


def path_of(url: str, **settings: object) -> Path:
    return hub_path(BareApplication(url, **settings).settings)


# -- its end ----------------------------------------------------------------------------------------


def test_hub_that_nobody_needs_says_goodbye_and_leaves_nothing(runtime_directory: str) -> None:
    with BareApplication(URL, hub_linger_seconds=LINGER_SECONDS) as client, client.stream("all") as stream:
        pid, path = client.pid, hub_path(client.settings)
        client.close()
        closed = time.monotonic()
        assert stream.wait_closed() == "eof"
        assert LINGER_SECONDS - 0.05 <= time.monotonic() - closed < patient(LINGER_SECONDS + 1)
        assert stream.raw.count(b"retry:") == 2
        assert stream.raw.endswith(b"\n\n")
    ended(pid)
    assert {file.suffix for file in path.parent.iterdir()} == {".log"}
    assert "ready at" in log_of(path)
    assert f"the hub ends in {LINGER_SECONDS:g} s unless one connects" in log_of(path)
    assert f"stopped: no application for {LINGER_SECONDS:g} s" in log_of(path)
    with BareApplication(URL) as later:
        assert later.pid != pid


def test_hub_stays_for_an_application_that_comes_while_it_lingers() -> None:
    lingers = patient(LINGER_SECONDS)  # the second one must come meanwhile
    with BareApplication(URL, hub_linger_seconds=lingers) as first, first.stream("all") as stream:
        pid = first.pid
        first.close()
        with BareApplication(URL, hub_linger_seconds=lingers) as second:
            assert second.pid == pid
            with pytest.raises(TimeoutError):
                stream.wait_closed(timeout=lingers + 0.3)
            assert second.publish("still here", channel="all") == 1


def test_hub_that_was_killed_is_started_again_by_the_next_request() -> None:
    env = {"STORY_BROKER_URL": URL}
    with (
        webservers.start("gunicorn-gevent", "story:app", APPS, env) as server,
        BareApplication(URL) as client,
    ):
        for _ in range(2):
            with server.stream("/stream?channel=all") as stream:
                assert stream.status == 200
                assert stream.next_event().type == "stream-open"
                pid = client.pid
                assert client.publish("to the new one", channel="all") == 1
                assert stream.next_event().data == "to the new one"
                os.kill(pid, signal.SIGKILL)
                assert stream.wait_closed() in {"eof", "reset"}
            ended(pid)
        with StreamClient(server.port, "/stream?channel=all") as stream:
            stream.wait_for_bytes(b"retry:")
            assert client.pid != pid
        assert not zombies_of(server.process.pid)


def zombies_of(pid: int) -> list[psutil.Process]:
    family = psutil.Process(pid).children(recursive=True)
    return [child for child in family if child.status() == psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("stale", ["socket", "file", "lock", "all of a killed hub"])
def test_what_a_dead_hub_left_does_not_matter(stale: str, client: BareApplication) -> None:
    path = hub_path(client.settings)
    if stale == "socket":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    elif stale == "file":
        path.write_text("no socket")
    elif stale == "lock":
        path.with_suffix(".lock").write_text("4711")
    else:
        pid = client.pid
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        assert path.is_socket()
    with client.stream("all") as stream:
        assert client.publish("one", channel="all") == 1
        assert stream.next_event().data == "one"
        assert client.pid != os.getpid()


# -- its surroundings -------------------------------------------------------------------------------


def test_hub_whose_socket_is_removed_gives_way_to_another(client: BareApplication) -> None:
    with client.stream("all") as stream:
        old = client.pid
        hub_path(Settings(URL)).unlink()
        assert stream.wait_closed() == "eof"
        assert stream.reading.decoder.retry_ms is not None
        ended(old)
    with client.stream("all") as stream:
        assert client.pid != old
        assert client.publish("by the new one", channel="all") == 1
        assert stream.next_event().data == "by the new one"


def test_hub_that_ends_leaves_the_socket_of_its_successor_alone(client: BareApplication) -> None:
    old, path = client.pid, hub_path(Settings(URL))
    os.kill(old, signal.SIGSTOP)
    for left in path.parent.iterdir():
        left.unlink()
    with BareApplication(URL) as later:
        new = later.pid
        assert new != old
        os.kill(old, signal.SIGCONT)
        ended(old)
        assert path.is_socket()
        assert later.pid == new


def test_hub_is_nobodys_child_and_has_a_session_of_its_own(client: BareApplication) -> None:
    pid = client.pid
    wait_until(lambda: psutil.Process(pid).ppid() != os.getpid(), what="another parent")
    assert not zombies_of(os.getpid())
    assert os.getsid(pid) == pid
    assert psutil.Process(pid).cwd() == "/"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not show descriptors")
def test_hub_holds_no_descriptor_of_the_application(client: BareApplication, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        # Enough of them to have one at each number that the hub itself uses at its start.
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(30)]
        file = stack.enter_context((tmp_path / "file").open("w"))
        numbers = [file.fileno(), *(listener.fileno() for listener in listeners)]
        for number in numbers:
            os.set_inheritable(number, True)
        ours = {Path(f"/proc/self/fd/{number}").readlink() for number in numbers}
        hubs = {link.readlink() for link in Path(f"/proc/{client.pid}/fd").iterdir()}
        assert not ours & hubs
        (log,) = {target for target in hubs if target.suffix == ".log"}
        assert log == hub_path(client.settings).with_suffix(".log")


def test_program_that_started_a_hub_ends_and_its_pipe_too() -> None:
    code = "from flask_sse import Publisher; print(Publisher('memory://pipe').publish('x'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=10, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    with BareApplication("memory://pipe") as client:
        assert client.status()["apps"] == 1


def test_hub_started_from_a_thread_that_blocks_signals_ends_on_sigterm(client: BareApplication) -> None:
    def start() -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        return client.pid

    with ThreadPoolExecutor(1) as pool:
        pid = pool.submit(start).result()
    os.kill(pid, signal.SIGTERM)
    ended(pid)
    assert "stopped: SIGTERM" in log_of(hub_path(client.settings))


def test_secrets_are_neither_on_the_command_line_nor_in_the_log() -> None:
    with BareApplication("redis://user:geheim@127.0.0.1:1/0", hub_linger_seconds=0.1) as client:
        pid, path = client.pid, hub_path(client.settings)
        # The log tells of the broker that cannot be reached when a stream was told of it.
        with client.stream("all") as stream:
            stream.wait_for_bytes(b":the broker cannot be reached")
        assert "geheim" not in " ".join(psutil.Process(pid).cmdline())
    ended(pid)
    assert "the broker cannot be reached" in log_of(path)
    assert "geheim" not in log_of(path)
    assert "geheim" not in str(path)


def test_files_of_a_hub_are_for_its_user_only_and_its_log_stays_small(client: BareApplication) -> None:
    path = hub_path(client.settings)
    log = path.with_suffix(".log")
    log.write_bytes(bytes(launcher._MAX_LOG_BYTES + 1))
    assert client.pid
    wait_until(lambda: "ready at" in log_of(path), what="a fresh log")
    assert log.stat().st_size < 1000
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in (path, path.with_suffix(".lock")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
