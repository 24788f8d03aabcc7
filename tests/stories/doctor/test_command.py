"""The command ``flask sse doctor``: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points

import pytest
from click.testing import Result
from flask import Flask
from flask.cli import ScriptInfo
from tests.support.local import LocalServer
from tests.support.nginx import Nginx
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import free_port
from tests.support.tools import missing
from tests.tools import ROOT

from flask_sse.commands import sse_group

Start = Callable[..., LocalServer]
ESCAPE = "\x1b["


def run(app: Flask, *words: str, colour: bool = False, **env: str) -> Result:
    return app.test_cli_runner().invoke(sse_group, ["doctor", *words], env=env, color=colour)


def test_a_stream_without_problems_ends_it_with_0(start: Start) -> None:
    server = start()
    url = f"http://127.0.0.1:{server.port}/stream"
    result = run(server.app, url)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert (lines[0], lines[-1]) == (url, "0 problems, 2 warnings, 9 fine")
    assert "fine      Events arrive at once: all 5, median " in result.output
    assert ESCAPE not in result.output


def test_a_problem_ends_it_with_1_and_its_fix_stands_below(start: Start) -> None:
    server = start()
    result = run(server.app, f"http://127.0.0.1:{free_port()}/stream")
    assert result.exit_code == 1
    problem, rest = result.stdout.split("\n\n", 2)[1:]
    assert problem.startswith("problem   The connection is refused\n")
    assert "proxy_pass http://127.0.0.1:8000;" in problem
    assert rest.endswith("1 problem, 0 warnings, 0 fine\n")


def test_a_terminal_gets_colours(start: Start) -> None:
    server = start()
    result = run(server.app, f"http://127.0.0.1:{free_port()}/stream", colour=True)
    assert f"{ESCAPE}31mproblem" in result.output


def test_lines_fit_a_terminal(start: Start) -> None:
    server = start()
    with Nginx(server.port, location="proxy_hide_header Cache-Control;") as nginx:
        output = run(server.app, f"{nginx.url}/stream").stdout
    words = [line for line in output.splitlines() if not line.startswith(" " * 14)]
    assert max(map(len, words)) <= 100


def test_a_program_gets_json_with_all_that_was_seen(start: Start) -> None:
    server = start()
    result = run(server.app, "--json", "--wait", "0", f"http://127.0.0.1:{server.port}/stream")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["problems"], report["warnings"]) == (0, 2)
    assert report["findings"][0]["severity"] == "warning"
    assert report["findings"][0]["hint"]["Flask"][0] == "@sse.authorize"
    assert [mark["was_flushed"] for mark in report["observations"]["probe_events"]] == [False] * 5
    assert report["observations"]["idle"]["heartbeat_seconds"] is None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Missing argument 'URL'"),
        (["/stream"], "is not the URL of a stream"),
        (["--wait", "-1", "http://127.0.0.1/"], "--wait"),
        (["--wait", "long", "http://127.0.0.1/"], "--wait"),
        (["--channel", "", "http://127.0.0.1/"], "it is empty"),
        (
            ["--cookie-from-env", "NOTHING", "http://127.0.0.1/"],
            "variable NOTHING has no cookies",
        ),
        (
            ["--cookie-from-env", "BROKEN", "http://127.0.0.1/"],
            "variable BROKEN has no cookies",
        ),
    ],
)
def test_what_cannot_be_used_ends_it_with_2_and_is_named(words: list[str], text: str, start: Start) -> None:
    result = run(start().app, *words, BROKEN="a=b\r\nX: y")
    assert result.exit_code == 2
    assert text in re.sub(r"\s+", " ", result.output)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"SSE_BROKER_URL": None}, "Must set a redis connection URL in app config."),
        ({"SSE_HEARTBEAT_SECONDS": "soon"}, "SSE_HEARTBEAT_SECONDS = 'soon' cannot be used"),
    ],
)
def test_an_application_that_is_not_set_up_ends_it_with_2(config: dict[str, object], text: str) -> None:
    app = Flask("unset")
    app.config.from_mapping({"SSE_BROKER_URL": "memory://unset", **config})
    result = run(app, "http://127.0.0.1/")
    assert result.exit_code == 2
    assert text in re.sub(r"\s+", " ", result.output)


def test_without_h11_it_ends_with_2_and_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['h11'] = None\n"
        "from flask import Flask; from flask_sse.commands import sse_group\n"
        "app = Flask('app'); app.config['SSE_BROKER_URL'] = 'memory://'\n"
        "result = app.test_cli_runner().invoke(sse_group, ['doctor', 'http://127.0.0.1/'])\n"
        "print(result.output); sys.exit(result.exit_code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=PATIENT_SECONDS
    )
    assert done.returncode == 2, done.stderr
    assert "flask sse doctor needs h11: pip install 'Flask-SSE[doctor]'" in done.stdout


def test_the_application_is_the_one_that_flask_finds(start: Start) -> None:
    server = start()
    info = ScriptInfo(create_app=lambda: server.app)
    url = f"http://127.0.0.1:{server.port}/stream"
    result = server.app.test_cli_runner().invoke(sse_group, ["doctor", "--wait", "0", url], obj=info)
    assert result.exit_code == 0, result.output


def test_flask_finds_the_commands_by_their_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["flask.commands"]["sse"].partition(":")
    assert getattr(import_module(module), name) is sse_group


def test_flask_lists_the_command() -> None:
    if not entry_points(group="flask.commands", name="sse"):
        missing("the package was installed before it had commands for flask")
    done = subprocess.run(
        [sys.executable, "-m", "flask", "sse", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENT_SECONDS,
    )
    assert re.search(r"^  doctor +Open the stream", done.stdout, re.MULTILINE)


def test_the_command_loads_neither_flask_nor_asyncio_nor_h11() -> None:
    kept_out = "{'flask', 'asyncio', 'redis', 'h11'}"
    program = f"import sys, flask_sse.doctor.command\nassert not {kept_out} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENT_SECONDS)
