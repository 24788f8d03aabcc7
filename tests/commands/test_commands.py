"""`flask sse publish`, `listen` and `status`, as they are typed."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from tests.support.bare_application import hubs_in
from tests.support.brokers import start_valkey
from tests.support.local import LocalServer, close, make_app
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, wait_until
from tests.support.webservers import SCRIPTS

from flask_sse import sse
from flask_sse.commands import sse_group
from flask_sse.commands.listen import _readable, _show
from flask_sse.wire.decode import Decoder, Event

APP = """
import os
from flask import Flask
from flask_sse import sse

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = os.environ["URL"]
app.config["SSE_HUB_LINGER_SECONDS"] = 1
app.register_blueprint(sse, url_prefix="/stream")
"""


@pytest.fixture
def app() -> Iterator[Flask]:
    """An application with its hub in a thread."""
    app = make_app(SSE_BROKER_URL=f"memory://{uuid.uuid4().hex}", SSE_HUB="thread")
    yield app
    close(app)


def run(app: Flask, *words: str, text: str | None = None, exit_code: int = 0) -> str:
    result = app.test_cli_runner().invoke(sse_group, words, input=text)
    assert result.exit_code == exit_code, result.output
    return result.output


def history(app: Flask, channel: str, count: int) -> list[tuple[str, str, str]]:
    """The first events of a channel, as ``listen`` reads them."""
    output = run(app, "listen", channel, "--since", "earliest", "--raw", "-n", str(count))
    return [(event.type, event.data, event.last_event_id) for event in Decoder().feed(output.encode())]


# -- publish -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["hello"], None, ("message", "hello")),
        ([], "two\nlines\n", ("message", "two\nlines")),
        (["-"], "from the input", ("message", "from the input")),
        (["--json", '{"b": [1, null]}', "-t", "paid"], None, ("paid", '{"b": [1, null]}')),
        (["--json"], "7\n", ("message", "7")),
        (["", "-t", "empty"], None, ("empty", "")),
    ],
)
def test_data_is_published_from_an_argument_or_from_the_input(
    app: Flask, words: list[str], text: str | None, expected: tuple[str, str]
) -> None:
    output = run(app, "publish", "-c", "a", *words, text=text)
    ((event_type, data, last_event_id),) = history(app, "a", 1)
    assert (event_type, data) == expected
    assert output == f"receivers: 0  id: {last_event_id}\n"


def test_every_line_is_an_event_and_a_key_makes_it_once(app: Flask) -> None:
    assert run(app, "publish", "-c", "a", "--lines", text="x\n\ny").count("receivers: 0") == 3
    first = run(app, "publish", "-c", "a", "once", "--key", "k", "--id", "own", "--retry", "5000")
    assert run(app, "publish", "-c", "a", "once", "--key", "k", "--id", "own") == first
    assert [data for _, data, _ in history(app, "a", 4)] == ["x", "", "y", "once"]
    assert first == "receivers: 0  id: own\n"


@pytest.mark.parametrize(
    ("words", "exit_code", "complaint"),
    [
        (["--json", "{"], 2, "the data is not JSON"),
        (["x", "--lines"], 2, "--lines needs standard input"),
        (["--lines", "--key", "k"], 2, "--lines needs standard input"),
        (["x", "-t", "stream-open"], 1, "reserved"),
        (["x", "-c", "flask-sse:control"], 1, "reserved"),
    ],
)
def test_what_cannot_be_published_is_said_in_a_line(
    app: Flask, words: list[str], exit_code: int, complaint: str
) -> None:
    output = run(app, "publish", *words, exit_code=exit_code)
    assert complaint in output
    assert "Traceback" not in output


def test_an_application_without_a_broker_is_an_error() -> None:
    for command in ("publish", "listen", "status"):
        assert "Must set a redis connection URL" in run(make_app(), command, exit_code=1)


# -- listen and status, in a terminal ----------------------------------------------------------------


class Terminal:
    """Commands in a directory with an application."""

    def __init__(self, directory: Path, url: str) -> None:
        (directory / "app.py").write_text(APP)
        self._directory = directory
        self._env = {"URL": url, "PYTHONUNBUFFERED": "1"}

    def type(self, *words: str) -> Process:
        return Process([SCRIPTS / "flask", "sse", *words], self._env, self._directory)


def test_a_command_shows_what_another_one_publishes_until_ctrl_c(
    tmp_path: Path, channel: str, runtime_directory: str
) -> None:
    terminal = Terminal(tmp_path, f"memory://{channel}")
    with terminal.type("listen", "news") as listener:
        listener.wait_for_line("stream-open")
        with terminal.type("publish", "hello \x1b[31m", "-c", "news", "-t", "greeting") as publisher:
            assert publisher.wait() == 0
            assert "receivers: 1" in publisher.output()
        listener.wait_for_line("greeting")
        listener.wait_for_line("hello")
        os.kill(listener.pid, signal.SIGINT)
        assert listener.wait() == 0
        output = listener.output()
        assert "hello \N{REPLACEMENT CHARACTER}[31m" in output
        assert "\x1b[31m" not in output
        assert not {"Traceback", "Aborted"} & set(output.split())


def test_listening_resumes_at_the_next_hub_and_misses_nothing(
    tmp_path: Path, channel: str, valkey: Any, runtime_directory: str
) -> None:
    terminal = Terminal(tmp_path, f"{valkey.url}")
    app = make_app(SSE_BROKER_URL=valkey.url, SSE_HUB_LINGER_SECONDS=1, SSE_RETRY_MS=50)
    with LocalServer(app) as server, terminal.type("listen", channel, "-n", "2") as listener:
        listener.wait_for_line("stream-open")
        server.publish("one", channel=channel)
        listener.wait_for_line("one")
        (hub,) = hubs_in(runtime_directory)
        os.kill(hub, signal.SIGKILL)
        server.publish("two", channel=channel)
        assert listener.wait(PATIENT_SECONDS) == 0
        assert listener.output().count("one") == listener.output().count("two") == 1


def test_status_watches_until_ctrl_c(tmp_path: Path, channel: str, runtime_directory: str) -> None:
    terminal = Terminal(tmp_path, f"memory://{channel}")
    with terminal.type("listen", "news") as listener, terminal.type("status", "--watch") as watcher:
        listener.wait_for_line("stream-open")
        assert watcher.wait_for_line("1 open on 1 channel").endswith("channel")
        watcher.wait_for_line("news ")
        os.kill(watcher.pid, signal.SIGINT)
        assert watcher.wait() == 0
        assert not {"Traceback", "Aborted"} & set(watcher.output().split())


# -- listen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [[], ["--raw"]])
def test_listening_ends_after_the_last_event_of_the_count(app: Flask, way: list[str]) -> None:
    # 14.43: all of the history comes in one piece.
    with app.app_context():
        for number in range(9):
            sse.publish(f"event {number}", channel="a", id=f"own-{number}" if number % 2 else None)
    for count in (1, 4, 9):
        output = run(app, "listen", "a", "--since", "earliest", "-n", str(count), *way)
        shown = [number for number in range(9) if f"event {number}\n" in output]
        assert shown == list(range(count))


def test_json_is_readable_and_a_terminal_executes_nothing_of_it() -> None:
    assert _readable("plain\ntext\t") == "plain\ntext\t"
    assert _readable('{"a": 1}') == '{"a": 1}'
    assert _readable('{"a": "%s"}' % ("x" * 100)).count("\n") == 2
    assert _readable('"\\u001b[31m"') == '"\\u001b[31m"'
    assert (
        _readable("\x1b]0;title\x07\x9b\u202e")
        == "\N{REPLACEMENT CHARACTER}]0;title" + 3 * "\N{REPLACEMENT CHARACTER}"
    )


def test_nothing_of_an_event_reaches_the_terminal_as_a_command(
    capsys: pytest.CaptureFixture[str],
) -> None:  # 13.11
    _show(Event("a\x1b]0;title\x07\u202eb", "\x9b2J", "id\x1b[31m"))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert not {"\x07", "\x9b", "\u202e"} & set(shown)
    assert "a\N{REPLACEMENT CHARACTER}]0;title" in shown


def test_a_run_that_is_over_ends_it(app: Flask) -> None:
    with app.app_context():
        channel = sse.run(iter("ab"))
    output = run(app, "listen", channel, "--since", "earliest")
    assert [word in output for word in ("run-begin", "  a\n", "  b\n", "finished")] == 4 * [True]


# -- status ------------------------------------------------------------------------------------------


def test_status_for_programs(app: Flask) -> None:
    state = json.loads(run(app, "status", "--json"))
    assert state["hub"]["streams"] == 0
    assert state["hub"]["busiest"] == []
    assert state["broker"]["milliseconds"] > 0
    assert state["history"] == {"size": 1000, "seconds": 3600.0}


def test_status_for_people(app: Flask) -> None:
    with LocalServer(app) as server, server.stream("/stream?channel=news%1Bbad") as stream:
        assert stream.status == 400
        with server.stream("/stream?channel=n%C3%A4ws") as other:
            other.wait_opened()
            server.publish("x", channel="näws")
            wait_until(lambda: server.status()["events"] == 1, what="the event")
            output = run(app, "status")
    assert "1 open on 1 channel\n" in output
    assert "n\\xe4ws" in output
    assert "0 resets" in output


def test_status_says_what_cannot_be_reached(tmp_path: Path) -> None:
    with start_valkey() as broker:
        app = make_app(SSE_BROKER_URL=broker.url, SSE_HUB=f"unix:{tmp_path}/none.sock")
        output = run(app, "status", exit_code=1)
        assert "none.sock" in output
        assert "responds in" in output
        broker.kill()
        state = json.loads(run(app, "status", "--json", exit_code=1))
        assert "error" in state["hub"]
        assert str(broker.port) in state["broker"]["error"]
        close(app)
