"""The log of a hub: text for people, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.bare_application import BareApplication
from tests.support.operators import URL, operated
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import Process, children, wait_until
from tests.tools import ROOT

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ODD = 'two\nlines, "quoted", \\, \u2028, \xfc, \U0001f600, \ud800, \x00, %s'

# Writes its pid to standard output, and to its log what a hub might.
PROGRAM = f"""
import logging, os, sys
from flask_sse.hub.process.logs import log_to_stderr

log_to_stderr(sys.argv[1], json_logs=sys.argv[2] == "json")
logger = logging.getLogger("flask_sse.hub.here")
logger.debug("a detail")
logger.info("%s of %d", "one", 2)
logger.warning({ODD!a})
try:
    {{}}["missing"]
except KeyError:
    logger.exception("it failed")
logging.getLogger("asyncio").error("of another")
print(os.getpid())
"""


def log_of(level: str, form: str, **env: str) -> tuple[int, list[str]]:
    """Return the pid of a program and the lines of its log."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level, form],
        env={**os.environ, "TZ": "Asia/Tokyo", **env},
        capture_output=True,
        timeout=PATIENT_SECONDS,
        check=True,
        cwd=ROOT,
    )
    *lines, rest = done.stderr.decode().split("\n")
    assert rest == ""
    return int(done.stdout), lines


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_is_an_object_a_line_whatever_is_logged_and_however_the_terminal_writes(encoding: str) -> None:
    before = time.time()
    pid, lines = log_of("INFO", "json", PYTHONIOENCODING=encoding)
    records = [json.loads(line) for line in lines]
    assert [record["message"] for record in records] == ["one of 2", ODD, "it failed", "of another"]
    assert [record["level"] for record in records] == ["INFO", "WARNING", "ERROR", "ERROR"]
    assert [record["logger"] for record in records] == ["flask_sse.hub.here"] * 3 + ["asyncio"]
    for record in records:
        assert record["process"] == pid
        assert RFC_3339.fullmatch(record["time"])
        # UTC, wherever the machine is; to the millisecond.
        said = datetime.fromisoformat(record["time"]).astimezone(UTC).timestamp()
        assert before - 0.001 <= said <= time.time()


def test_an_exception_has_a_place_of_its_own_in_json() -> None:
    _, lines = log_of("INFO", "json")
    first, _, failed, _ = map(json.loads, lines)
    assert first.keys() == {"time", "level", "logger", "process", "message"}
    assert failed.keys() == {*first, "exception"}
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert failed["exception"].endswith("\nKeyError: 'missing'")


def test_text_has_the_time_the_process_and_the_message() -> None:
    pid, lines = log_of("INFO", "text")
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}} hub {pid} one of 2", lines[0])
    assert "KeyError: 'missing'" in lines
    assert lines[-1].endswith(f" hub {pid} of another")
    assert not [line for line in lines if line.startswith("{")]


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("DEBUG", ["a detail", "one of 2", "it failed"]),
        ("WARNING", ["it failed", "of another"]),
        ("ERROR", ["it failed", "of another"]),
    ],
)
def test_what_is_below_the_level_is_left_out(form: str, level: str, said: list[str]) -> None:
    text = "\n".join(log_of(level, form)[1])
    assert [each for each in said if each not in text] == []
    assert ("a detail" in text) == (level == "DEBUG")
    assert ("one of 2" in text) == (level == "DEBUG")
    assert ("quoted" in text) == (level != "ERROR")


# -- of a hub --------------------------------------------------------------------------------------------


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        yield Path(directory) / "h\xfcb \U0001f600.sock"


def records_of(parent: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in parent.output().removesuffix("\n").split("\n")]


def test_all_that_a_hub_and_its_parent_say_is_json(path: Path) -> None:
    env = {"SSE_DRAIN_SECONDS": "0", "PYTHONIOENCODING": "ascii"}
    with operated(path, "--json-logs", env=env) as parent, BareApplication(URL, hub=f"unix:{path}") as app:
        pids = {parent.pid, app.pid}
        os.kill(parent.pid, signal.SIGHUP)
        parent.wait_for_line("handover received: 0 streams")
        killed = app.pid
        os.kill(killed, signal.SIGKILL)
        parent.wait_for_line("starting another one")
        pids |= {killed, app.pid}
        with app.stream("all"):
            assert parent.terminate() == 0
        records = records_of(parent)
    messages = [record["message"] for record in records]
    assert f"ready at {path}" in messages
    assert "SIGTERM: ending" in messages
    (how,) = [each for each in records if each["message"].startswith(f"hub process {killed} was killed")]
    assert how["level"] == "ERROR"
    assert json.loads(how["message"].partition("last report: ")[2])["pid"] == killed
    assert {record["process"] for record in records} == pids


def test_what_a_hub_says_is_text_where_nothing_else_is_asked_for(path: Path) -> None:
    with operated(path, env={"SSE_DRAIN_SECONDS": "0"}) as parent:
        # Either may be the first to say so.
        wait_until(lambda: parent.output().count(" ready at ") == 2, what="the parent and its hub ready")
        pids = (parent.pid, *children(parent.pid))
        assert parent.terminate() == 0
        for pid in pids:
            assert f" hub {pid} ready at {path}\n" in parent.output()
        assert not [line for line in parent.output().splitlines() if not re.match(r"\d{4}-", line)]


def test_what_is_not_begun_for_a_reason_is_json_too(path: Path) -> None:
    path.write_text("a file")
    with operated(path, "--json-logs", ready=None) as parent:
        assert parent.wait() == 2
        (record,) = records_of(parent)
    assert record["level"] == "ERROR"
    assert record["message"].startswith(f"cannot start at {path}: ")
