"""The application is restarted in every way there is: the same connections go on.

Requests are made only where a test says so: a hub must not need them to know that its application is back.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from tests.support.bare_application import BareApplication, hubs_in, log_of
from tests.support.brokers import Broker
from tests.support.client import StreamClient, get
from tests.support.hostile import HELLO, Peer
from tests.support.processes import Process, free_port, running, wait_until
from tests.support.webservers import SCRIPTS

from flask_sse import Publisher
from flask_sse.errors import HubUnavailableError
from flask_sse.hub.client.runtime_directory import hub_path

from .site import Site

# An application must be back within it.
LINGER_SECONDS = 10.0
T = TypeVar("T")

CONFIG = {"SSE_HUB_LINGER_SECONDS": LINGER_SECONDS, "SSE_RETRY_MS": "1000-9000"}


def goes_on(stream: StreamClient, broker: Broker, channel: str) -> None:
    """Check that a stream is open and gets what is published, when any lingering is over."""
    with pytest.raises(TimeoutError):
        stream.wait_closed(timeout=LINGER_SECONDS + 1)
    # By somebody who has to do with no hub.
    with contextlib.closing(Publisher(broker.url)) as publisher:
        publisher.publish("after", channel=channel)
    assert stream.next_event().data == "after"


PRELOAD = ("--preload",)
LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("way", "options"),
    [
        (Site.reload, ()),
        pytest.param(Site.restart, (), marks=LONG),
        *(pytest.param(way, PRELOAD, marks=LONG) for way in (Site.reload, Site.restart)),
        *(
            pytest.param(way, options, marks=LONG)
            for way in (Site.lose_power, Site.kill_master, Site.kill_worker)
            for options in ((), PRELOAD)
        ),
    ],
)
def test_stream_goes_on_while_nobody_asks_the_new_workers_for_anything(
    way: Callable[[Site], None],
    options: tuple[str, ...],
    valkey: Broker,
    channel: str,
    runtime_directory: str,
) -> None:
    with (
        Site(valkey.url, options=options, config=CONFIG) as site,
        StreamClient(site.port, f"/stream?channel={channel}") as stream,
    ):
        assert stream.next_event().type == "stream-open"
        way(site)
        goes_on(stream, valkey, channel)
        assert len(hubs_in(runtime_directory)) == 1


@pytest.mark.parametrize(
    "worker", [pytest.param(worker, marks=LONG) for worker in ("sync", "gthread", "gevent")]
)
def test_workers_that_end_after_some_requests_take_no_stream_with_them(
    worker: str, valkey: Broker, channel: str, runtime_directory: str
) -> None:
    options = ("--max-requests", "5")
    with (
        Site(valkey.url, worker=worker, options=options, config=CONFIG) as site,
        StreamClient(site.port, f"/stream?channel={channel}") as stream,
    ):
        assert stream.next_event().type == "stream-open"
        with site.new_workers():
            for _ in range(50):
                assert site.get("/ordinary").status == 200
        goes_on(stream, valkey, channel)


def test_events_of_the_new_application_arrive_on_streams_of_the_old_one(
    channel: str, runtime_directory: str
) -> None:
    with (
        Site(f"memory://{channel}", config={**CONFIG, "SSE_HUB_LINGER_SECONDS": 30}) as site,
        StreamClient(site.port, f"/stream?channel={channel}") as stream,
    ):
        assert stream.next_event().type == "stream-open"
        for number in range(3):
            site.restart()
            event = f'{{"data":"{number}","channel":"{channel}"}}'
            assert site.get(f"/publish?event={event}").body == b"1"
            assert stream.next_event().data == str(number)


def test_when_no_application_comes_back_streams_are_told_and_nothing_is_left(
    own_valkey: Broker, channel: str, runtime_directory: str
) -> None:
    with Site(own_valkey.url, config=CONFIG) as site:
        path = f"/stream?channel={channel}"
        streams = [StreamClient(site.port, path) for _ in range(10)]
        for stream in streams:
            assert stream.next_event().type == "stream-open"
        (hub,) = hubs_in(runtime_directory)
        began = time.monotonic()
        site.process.close()
        assert {stream.wait_closed() for stream in streams} == {"eof"}
        assert time.monotonic() - began > LINGER_SECONDS
        retries = set()
        for stream in streams:
            goodbye = re.fullmatch(rb".*\n\nretry:(\d+)\n\n", bytes(stream.reading.body), re.DOTALL)
            assert goodbye, stream.reading.body
            retries.add(int(goodbye[1]))
            stream.close()
        assert len(retries) > 5
        assert all(1000 <= retry <= 9000 for retry in retries)
        wait_until(lambda: not running(hub), what="the end of the hub")
        log = site.hub_files.with_suffix(".log")
        assert list(site.hub_files.parent.iterdir()) == [log]
        assert f"the hub ends in {LINGER_SECONDS:g} s unless one connects" in log.read_text()
        assert [*Path(runtime_directory).iterdir()] == [log.parent]


# -- flask run -----------------------------------------------------------------------------------------

APP = """
from flask import Flask
from flask_sse import sse

app = Flask(__name__)
app.config.from_prefixed_env()
app.register_blueprint(sse, url_prefix="/stream")

@app.get("/version")
def version():
    return "version 0"
"""


@pytest.fixture
def dev_server(
    tmp_path: Path, channel: str, runtime_directory: str
) -> Iterator[tuple[Process, int, BareApplication]]:
    """``flask run`` with its reloader, its port, and another application of the same hub."""
    (tmp_path / "site_of_a_developer.py").write_text(APP)
    port, url = free_port(), f"memory://{channel}"
    argv: list[str | Path] = [
        SCRIPTS / "flask",
        "--app",
        "site_of_a_developer",
        "run",
        "--debug",
        "--port",
        str(port),
    ]
    env = {
        "FLASK_SSE_BROKER_URL": url,
        "FLASK_SSE_HUB_LINGER_SECONDS": str(LINGER_SECONDS),
        "PYTHONUNBUFFERED": "1",
        # What was compiled counts as new for a whole second after it was saved.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with (
        Process(argv, env, tmp_path, ready=port) as process,
        BareApplication(url, hub_linger_seconds=LINGER_SECONDS) as client,
    ):
        yield process, port, client


def test_stream_goes_on_each_time_that_the_developer_saves(
    dev_server: tuple[Process, int, BareApplication], tmp_path: Path, channel: str
) -> None:
    process, port, client = dev_server
    with StreamClient(port, f"/stream?channel={channel}") as stream:
        assert stream.next_event().type == "stream-open"
        for number in range(1, 3):
            text = APP.replace("version 0", f"version {number}")
            (tmp_path / "site_of_a_developer.py").write_text(text)
            wait_until(partial(has_version, port, number), what="the new version")
            assert client.publish(str(number), channel=channel) == 1
            assert stream.next_event().data == str(number)
            client.close()
        with pytest.raises(TimeoutError):
            stream.wait_closed(timeout=LINGER_SECONDS + 1)
        assert process.alive


RUNS = """
import time

def work():
    yield "one"
    while True:
        time.sleep(0.1)
        yield "again"

@app.get("/run")
def run():
    return sse.run(work())
"""


def test_the_pages_of_a_run_are_told_that_the_reloader_ended_it(
    dev_server: tuple[Process, int, BareApplication], tmp_path: Path
) -> None:
    _, port, _ = dev_server
    file = tmp_path / "site_of_a_developer.py"
    file.write_text(APP.replace("version 0", "version 1") + RUNS)
    wait_until(partial(has_version, port, 1), what="the new version")
    channel = get(port, "/run").body.decode()
    with StreamClient(port, f"/stream?channel={channel}") as stream:
        assert [stream.next_event().type for _ in range(2)] == ["run-begin", "message"]
        file.write_text(APP.replace("version 0", "version 2") + RUNS)
        assert stream.wait_closed() == "eof"
        assert b'"reason": "interrupted"' in stream.raw


def has_version(port: int, number: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):  # it is being restarted
        return get(port, "/version").body == f"version {number}".encode()
    return False


def test_ctrl_c_leaves_the_hub_no_longer_than_it_lingers_and_its_log_says_so(
    dev_server: tuple[Process, int, BareApplication], channel: str, runtime_directory: str
) -> None:
    process, port, client = dev_server
    with StreamClient(port, f"/stream?channel={channel}") as stream:
        assert stream.next_event().type == "stream-open"
        client.close()
        (hub,) = hubs_in(runtime_directory)
        # As a terminal does it: to all processes of the group.
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        assert running(hub)
        wait_until(lambda: not running(hub), what="the end of the hub")
        assert time.monotonic() - began > LINGER_SECONDS
        assert stream.wait_closed() == "eof"
    log = log_of(hub_path(client.settings))
    assert f"no application is connected; the hub ends in {LINGER_SECONDS:g} s unless one connects" in log


# -- which hub -----------------------------------------------------------------------------------------


def test_two_applications_with_other_settings_have_two_hubs_and_two_releases_of_one_share_one(
    valkey: Broker, channel: str, runtime_directory: str
) -> None:
    with (
        Site(valkey.url, config=CONFIG) as site,
        Site(valkey.url, config=CONFIG) as same,
        Site(valkey.url, config={**CONFIG, "SSE_MAX_EVENT_BYTES": 5000}) as other,
    ):
        pids = [each.get("/hub").body for each in (site, same, other)]
        assert pids[0] == pids[1] != pids[2]
        assert len(hubs_in(runtime_directory)) == 2


@pytest.mark.parametrize(
    "worker", ["sync", *(pytest.param(worker, marks=LONG) for worker in ("gthread", "gevent"))]
)
def test_24_a_link_that_was_used_before_the_server_forked_is_shared_by_nobody(
    worker: str, channel: str, runtime_directory: str
) -> None:
    env = {"PLAIN_PUBLISH_AT_START": channel}
    with (
        Site(f"memory://{channel}", worker=worker, options=PRELOAD, config=CONFIG, env=env) as site,
        StreamClient(site.port, f"/stream?channel={channel}&last_event_id=earliest") as stream,
        ThreadPoolExecutor(8) as pool,
    ):
        assert stream.next_event().data == "at the start"
        site.workers()

        def publish(number: int) -> bytes:
            # Two workers, each over a connection of its own: nobody gets another one's answer.
            event = f'{{"data":"{number}","channel":"{channel if number % 2 else "nobody"}"}}'
            return site.get(f"/publish?event={event}").body

        assert list(pool.map(publish, range(200))) == [b"0", b"1"] * 100
        assert {event.data for event in stream.events(100)} == {str(number) for number in range(1, 200, 2)}
        assert len(hubs_in(runtime_directory)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_two_users_never_share_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="sse-", dir="/tmp"))
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setenv("TMPDIR", str(folder))
    url = "memory://users"
    try:
        with BareApplication(url, hub_linger_seconds=0.1) as client:
            ours = hub_path(client.settings)
            assert client.pid
            theirs = as_another_user(lambda: hub_path(client.settings))
            assert theirs != ours
            assert theirs.name == ours.name, "the same application"
            # Not even if somebody lets everybody look into the directory and use the socket.
            ours.parent.chmod(0o755)
            ours.chmod(0o666)
            with as_another_user(lambda: Peer(ours, HELLO)) as stranger:
                assert b"a process of another user (54321)" in stranger.rest()
            assert "a process of another user (54321)" in log_of(ours)
            # Nor the other way round; root alone may look everywhere.
            with as_another_user(lambda: listening(theirs)):
                app = BareApplication(url, hub=f"unix:{theirs}")
                monkeypatch.setattr(os, "geteuid", lambda: 1000)
                with app, pytest.raises(HubUnavailableError, match=r"belongs to another user \(54321\)"):
                    app.status()
    finally:
        monkeypatch.undo()
        shutil.rmtree(folder)


def as_another_user(act: Callable[[], T]) -> T:
    os.seteuid(54321)
    try:
        return act()
    finally:
        os.seteuid(0)


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener
