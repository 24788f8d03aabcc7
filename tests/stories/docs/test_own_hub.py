"""Every command of the pages on a hub of your own and on deploys is run, with other paths and ports."""

from __future__ import annotations

import configparser
import contextlib
import importlib
import importlib.util
import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.stories.docs.snippets import at_port, read, run, shell
from tests.support.brokers import Broker
from tests.support.client import StreamClient, get
from tests.support.local import LocalServer
from tests.support.processes import Process, children, free_port, running, wait_until
from tests.support.webservers import SCRIPTS
from tests.tools import find

from flask_sse import HubUnavailableError, sse
from flask_sse.settings import Settings

SOCKET_SHOWN = "/run/app/sse.sock"
SOCKET_IN_CONTAINERS = "/run/sse/sse.sock"
COMMAND_SHOWN = "/srv/app/.venv/bin/flask-sse"
REST_OF_THE_APPLICATION = """
from flask_sse import sse

app.register_blueprint(sse, url_prefix="/stream")


@app.get("/publish/<channel>/<data>")
def publish(channel, data):
    return str(int(sse.publish(data, channel=channel)))
"""
# As systemd starts a process with a socket: the first one is number 3.
ACTIVATED = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec {command}"


@dataclass(frozen=True)
class Place:
    """Where a test has its files.

    Attributes:
        folder: The working directory, with ``app.py``.
        path: The socket of the hub.
        broker_url: Of the broker that is there.
    """

    folder: Path
    path: Path
    broker_url: str

    def here(self, text: str) -> str:
        """Return a text of the pages with the paths and addresses of this place."""
        for shown, ours in {
            SOCKET_SHOWN: str(self.path),
            SOCKET_IN_CONTAINERS: str(self.path),
            COMMAND_SHOWN: str(SCRIPTS / "flask-sse"),
            "redis://localhost": self.broker_url,
            "redis://redis": self.broker_url,
        }.items():
            text = text.replace(shown, ours)
        return text

    @property
    def env(self) -> dict[str, str]:
        """The variables of hub and application."""
        lines = self.here(read("hub/app.env")).splitlines()
        return {**dict(line.split("=", 1) for line in lines), "SSE_DRAIN_SECONDS": "0.2"}

    def start(self, command: str, ready: int | str = "ready at", **env: str) -> Process:
        """Start a command line of the pages."""
        return shell(self.here(command), self.folder, {**self.env, **env}, ready)


@pytest.fixture
def place(valkey: Broker, tmp_path: Path, runtime_directory: str) -> Place:
    """A place for hub and application."""
    (tmp_path / "app.py").write_text(read("config/same_names.py") + REST_OF_THE_APPLICATION)
    # Not tmp_path, for the path of a Unix socket has room for some 100 bytes.
    return Place(tmp_path, Path(runtime_directory) / "sse.sock", valkey.url)


@pytest.fixture
def app(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """The application, in this process."""
    for name, value in place.env.items():
        monkeypatch.setenv(name, value)
    flask = run("config/same_names.py")["app"]
    flask.register_blueprint(sse, url_prefix="/stream")
    assert Settings.from_mapping(flask.config).hub == f"unix:{place.path}"
    with LocalServer(flask) as server:
        yield server


def hub_of(app: LocalServer) -> int:
    """Return the pid of the hub that is in charge."""
    return int(app.status()["pid"])


def check_goes_on(stream: StreamClient, port: int, channel: str, data: str) -> None:
    assert get(port, f"/publish/{channel}/{data}").body == b"1"
    assert stream.next_event().data == data


# -- start and replace -----------------------------------------------------------------------------------


def test_a_hub_of_your_own_serves_an_application_that_reads_the_same_variables(
    place: Place, app: LocalServer, channel: str
) -> None:
    with place.start(read("hub/start.sh")) as hub, app.stream(f"/stream?channel={channel}") as stream:
        assert stream.next_event().type == "stream-open"
        assert hub_of(app) in children(hub.pid)
        app.publish("by the hub", channel=channel)
        assert stream.next_event().data == "by the hub"
        assert oct(place.path.stat().st_mode)[-3:] == "600"
        assert hub.terminate() == 0
        assert stream.wait_closed() == "eof"
        assert not place.path.exists()


def test_a_hub_that_is_killed_is_started_again_while_the_application_waits(
    place: Place, app: LocalServer, channel: str
) -> None:
    with place.start(read("hub/start.sh")) as hub, app.stream(f"/stream?channel={channel}") as stream:
        position = stream.next_event().last_event_id
        killed = hub_of(app)
        os.kill(killed, signal.SIGKILL)
        assert stream.wait_closed() in {"eof", "reset"}
        wait_until(lambda: not running(killed), what="the end of the hub")

        def has_another_hub() -> bool:
            # The application waits for 2 seconds, which are not enough for a start on a busy machine.
            with contextlib.suppress(HubUnavailableError):
                return hub_of(app) != killed
            return False

        wait_until(has_another_hub, what="the next hub")
        with app.stream(f"/stream?channel={channel}&last_event_id={position}") as back:
            app.publish("again", channel=channel)
            assert back.next_event().data == "again"
            assert hub_of(app) in {*children(hub.pid)} - {killed}
            assert f"hub process {killed} was killed by SIGKILL; last report: " in hub.output()


def test_the_second_sigterm_ends_all_streams_at_once(place: Place, app: LocalServer, channel: str) -> None:
    with place.start(read("hub/start.sh"), SSE_DRAIN_SECONDS="60") as hub, contextlib.ExitStack() as stack:
        path = f"/stream?channel={channel}"
        streams = [stack.enter_context(app.stream(path)) for _ in range(10)]
        for stream in streams:
            assert stream.next_event().type == "stream-open"
        os.kill(hub.pid, signal.SIGTERM)
        hub.wait_for_line("ending 10 streams within 60 s")
        assert hub.terminate(5) == 0
        assert {stream.wait_closed() for stream in streams} == {"eof"}


def test_replace_takes_all_streams_over(place: Place, app: LocalServer, channel: str) -> None:
    with (
        place.start(read("hub/start.sh")) as old,
        app.stream(f"/stream?channel={channel}") as stream,
        place.start(read("hub/replace.sh")) as new,
    ):
        assert old.wait() == 0
        assert hub_of(app) in children(new.pid)
        app.publish("by the new one", channel=channel)
        assert stream.events(2)[1].data == "by the new one"


def test_replace_just_starts_where_there_is_none(place: Place, app: LocalServer) -> None:
    with place.start(read("hub/replace.sh")) as hub:
        assert hub_of(app) in children(hub.pid)


@pytest.mark.parametrize(
    ("options", "code"), [("", 3), ("--processes 2 --replace", 4), ("--log-level loud", 2)]
)
def test_a_hub_that_cannot_begin_says_why_and_the_other_one_goes_on(
    options: str, code: int, place: Place, app: LocalServer, channel: str
) -> None:
    with place.start(read("hub/start.sh")) as hub, app.stream(f"/stream?channel={channel}") as stream:
        with shell(place.here(f"flask-sse hub {options}"), place.folder, place.env) as other:
            assert other.wait() == code
            assert "Traceback" not in other.output()
        assert hub_of(app) in children(hub.pid)
        app.publish("still here", channel=channel)
        assert stream.events(2)[1].data == "still here"


# -- systemd ---------------------------------------------------------------------------------------------


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # systemd's names have capitals
    parser.read_string(read(name))
    return parser


def test_the_units_are_what_systemd_reads(tmp_path: Path) -> None:
    service = unit("hub/app-sse.service")["Service"]
    listening = unit("hub/app-sse.socket")["Socket"]
    assert float(service["TimeoutStopSec"]) > Settings("memory://").drain_seconds
    assert service["User"] == listening["SocketUser"]
    assert f"SSE_HUB=unix:{listening['ListenStream']}" in read("hub/app.env").splitlines()
    assert Path(listening["ListenStream"]).parent == Path("/run") / service["RuntimeDirectory"]
    if program := find("systemd-analyze"):
        paths = []
        for name in ("hub/app-sse.service", "hub/app-sse.socket"):
            paths.append(tmp_path / Path(name).name)
            paths[-1].write_text(read(name).replace(COMMAND_SHOWN, str(SCRIPTS / "flask-sse")))
        done = subprocess.run([program, "verify", *paths], capture_output=True, text=True, check=False)
        assert "app-sse" not in done.stderr, done.stderr


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What systemd is told: a function that returns the variables of all messages so far."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        messages: list[str] = []

        def read_all() -> list[str]:
            try:
                while True:
                    messages.extend(sock.recv(4096).decode().splitlines())
            except BlockingIOError:
                return [line for line in messages if not line.startswith("MONOTONIC_USEC=")]

        yield read_all


def test_the_service_is_reloaded_without_an_end_of_a_stream(
    place: Place, app: LocalServer, channel: str, told: Callable[[], list[str]]
) -> None:
    service = unit("hub/app-sse.service")["Service"]
    with (
        place.start(f"exec {service['ExecStart']}") as hub,
        app.stream(f"/stream?channel={channel}") as stream,
    ):
        assert stream.next_event().type == "stream-open"
        assert told() == ["READY=1"]
        before = hub_of(app)
        subprocess.run(shlex.split(service["ExecReload"].replace("$MAINPID", str(hub.pid))), check=True)
        wait_until(lambda: told() == ["READY=1", "RELOADING=1", "READY=1"], what="the end of the reload")
        assert hub_of(app) in children(hub.pid)
        assert hub_of(app) != before
        app.publish("by new code", channel=channel)
        assert stream.next_event().data == "by new code"
        assert hub.terminate(float(service["TimeoutStopSec"])) == 0
        assert stream.wait_closed() == "eof"
        assert told()[-1] == "STOPPING=1"


def test_the_socket_of_systemd_is_there_before_the_hub_and_after(
    place: Place, app: LocalServer, channel: str
) -> None:
    command = unit("hub/app-sse.service")["Service"]["ExecStart"]
    path = place.here(unit("hub/app-sse.socket")["Socket"]["ListenStream"])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        argv = ["bash", "-ec", place.here(ACTIVATED.format(command=command))]
        with (
            Process(argv, place.env, place.folder, "ready at", listener.fileno()) as hub,
            app.stream(f"/stream?channel={channel}") as stream,
        ):
            assert stream.next_event().type == "stream-open"
            assert hub_of(app) in children(hub.pid)
            assert hub.terminate() == 0
        assert place.path.is_socket()


# -- several processes in one container ------------------------------------------------------------------


def test_a_procfile_runs_both_and_a_deploy_of_one_ends_no_stream_of_the_other(
    place: Place, channel: str
) -> None:
    lines = dict(line.split(": ", 1) for line in read("hub/Procfile").splitlines())
    assert lines.keys() == {"web", "hub"}
    port = free_port()
    with place.start(lines["hub"]):
        with place.start(f"exec {lines['web']}", port, PORT=str(port)) as web:
            stream = StreamClient(port, f"/stream?channel={channel}")
            assert stream.next_event().type == "stream-open"
            assert web.terminate() == 0
        with stream, place.start(f"exec {lines['web']}", port, PORT=str(port)):
            check_goes_on(stream, port, channel, "after")


# -- containers ------------------------------------------------------------------------------------------


def services() -> dict[str, dict[str, str]]:
    """Return what the services of the compose file say on one line each, variables included."""
    found: dict[str, dict[str, str]] = {}
    for line in read("hub/compose.yaml").partition("\nvolumes:")[0].splitlines()[1:]:
        if name := re.fullmatch(r"  (\w+):", line):
            service = found[name[1]] = {}
        elif entry := re.fullmatch(r"    +(\w+): (.+)", line):
            service[entry[1]] = entry[2].strip('"')
    return found


def variables(service: Mapping[str, str], place: Place) -> dict[str, str]:
    return {name: place.here(value) for name, value in service.items() if name.startswith("SSE_")}


def test_the_containers_share_user_socket_and_broker() -> None:
    app, hub = services()["app"], services()["hub"]
    shared = ("image", "user", "volumes", "SSE_BROKER_URL", "SSE_HUB")
    assert [app[key] for key in shared] == [hub[key] for key in shared]
    folder = hub["volumes"].strip('[]"').split(":")[1]
    assert Path(hub["SSE_HUB"].removeprefix("unix:")).parent == Path(folder)
    uid, gid = hub["user"].split(":")
    assert f"o: uid={uid},gid={gid},mode=0700" in read("hub/compose.yaml")
    # A hub that was replaced ends with 0, and must not replace its successor.
    assert hub["restart"] == "on-failure"
    assert app["network_mode"] == "service:proxy"


def test_the_compose_file_is_yaml() -> None:
    if importlib.util.find_spec("yaml"):
        whole: Any = importlib.import_module("yaml").safe_load(read("hub/compose.yaml"))
        assert whole["services"].keys() == services().keys()
        assert whole["services"]["hub"]["command"] == services()["hub"]["command"]
    assert "\t" not in read("hub/compose.yaml")


def test_the_upgrade_names_the_service_of_the_hub() -> None:
    subprocess.run(["bash", "-n"], input=read("hub/compose-upgrade.sh"), text=True, check=True)
    first, second = (shlex.split(line, comments=True) for line in read("hub/compose-upgrade.sh").splitlines())
    assert first[:3] == ["docker", "compose", "run"]
    assert second[:3] == ["docker", "compose", "up"]
    assert first[-1] == second[-1] == "hub"
    assert "hub" in services()


def test_the_commands_of_the_containers_pass_streams_on(place: Place, channel: str) -> None:
    app, hub = services()["app"], services()["hub"]
    assert variables(app, place) == variables(hub, place)
    assert variables(hub, place).items() <= place.env.items()
    port = free_port()
    web = at_port(app["command"], port)
    with (
        place.start(f"exec {hub['command']}") as first,
        place.start(f"exec {web}", port) as before,
        StreamClient(port, f"/stream?channel={channel}") as stream,
    ):
        assert stream.next_event().type == "stream-open"
        # As the upgrade does it: one that steps in, and then the service's own again.
        with place.start(f"exec {hub['command']}") as meanwhile:
            assert first.wait() == 0
            assert "handover received: 1 stream " in meanwhile.output()
            check_goes_on(stream, port, channel, "meanwhile")
            with place.start(f"exec {hub['command']}") as last:
                assert meanwhile.wait() == 0
                check_goes_on(stream, port, channel, "upgraded")
                assert before.terminate() == 0
                with place.start(f"exec {web}", port):
                    check_goes_on(stream, port, channel, "deployed")
                os.kill(last.pid, 0)
