"""``flask-sse hub`` keeps hubs running, replaces them, and spreads streams over several."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.brokers import Broker
from tests.support.client import StreamReader
from tests.support.hub_client import HubClient
from tests.support.operators import URL, operated
from tests.support.processes import Process, children, running, wait_until

from flask_sse.errors import HubUnavailableError
from flask_sse.hub.control import status_request
from flask_sse.hub.lifecycle import numbered

NO_DRAIN = {"SSE_DRAIN_SECONDS": "0"}


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        yield Path(directory) / "hub.sock"


def application(path: Path, url: str = URL) -> HubClient:
    return HubClient(url, hub=f"unix:{path}")


def hub_of(parent: Process) -> int:
    """Return the pid of the one hub process below the command."""

    def one() -> int | None:
        pids = children(parent.pid)
        return pids[0] if len(pids) == 1 else None

    return wait_until(one, what="one hub")


def renew(parent: Process, times: int) -> None:
    os.kill(parent.pid, signal.SIGHUP)
    wait_until(lambda: parent.output().count(" took over ") == times, what="new hubs in charge")


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


def test_a_successor_that_fails_leaves_the_old_hub_in_charge(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    (broken / "flask_sse" / "hub").mkdir(parents=True)
    for name in ("flask_sse/__init__.py", "flask_sse/hub/__init__.py"):
        (broken / name).touch()
    (broken / "flask_sse" / "hub" / "__main__.py").write_text("raise SystemExit('a broken release')")
    switch = tmp_path / "switch"
    # Stands for an installation that was changed since the command was started.
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nif os.path.exists({str(switch)!r}): sys.path.insert(0, {str(broken)!r})\n"
    )
    env = {**NO_DRAIN, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    with operated(path, env=env) as parent, application(path) as app, app.stream("all") as stream:
        pid = app.pid
        switch.touch()
        os.kill(parent.pid, signal.SIGHUP)
        parent.wait_for_line("the hub of before goes on: its successor ended with 1")
        assert app.publish("still here", channel="all") == 1
        assert stream.next_event().data == "still here"
        assert app.pid == pid
        switch.unlink()
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


# -- several ---------------------------------------------------------------------------------------------


def test_streams_of_one_application_are_spread_over_several_hubs(
    path: Path, valkey: Broker, channel: str
) -> None:
    env = {"SSE_BROKER_URL": valkey.url, **NO_DRAIN}
    with (
        operated(path, "--processes", "3", env=env) as parent,
        application(path, valkey.url) as app,
        contextlib.ExitStack() as stack,
    ):
        streams = [stack.enter_context(app.stream(channel)) for _ in range(30)]
        assert app.status()["streams"] == 30
        for each in range(3):
            with application(numbered(path, each), valkey.url) as one:
                assert 8 <= streams_of(one) <= 12
        renew(parent, 3)
        app.publish("to all", channel=channel)
        for stream in streams:
            assert stream.next_event().data == "to all"
        assert app.status()["streams"] == 30
        assert parent.terminate() == 0
    assert list(path.parent.iterdir()) == []


def streams_of(one: HubClient) -> int:
    (fields,) = one.link._ask([status_request()])  # type: ignore[attr-defined] # of this one alone
    return int(fields["streams"])


def test_several_replace_several_and_no_other_number(path: Path, valkey: Broker, channel: str) -> None:
    env = {"SSE_BROKER_URL": valkey.url, **NO_DRAIN}
    with (
        operated(path, "--processes", "2", env=env) as first,
        application(path, valkey.url) as app,
        contextlib.ExitStack() as stack,
    ):
        streams = [stack.enter_context(app.stream(channel)) for _ in range(10)]
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
            parent.wait_for_line("ending 1 streams")
            with pytest.raises(HubUnavailableError, match="no hub at"):
                app.hand_over(hubs, "all")
            hubs.close()
            assert late.wait_closed() == "eof"
            assert late.raw == b""
        os.kill(parent.pid, signal.SIGTERM)
        assert parent.wait() == 0
