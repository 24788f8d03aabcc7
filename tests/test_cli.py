"""The options of the command ``flask-sse``, and what it says where they cannot be used."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.support.operators import operated
from tests.support.processes import Process, children
from tests.support.webservers import SCRIPTS

from flask_sse.cli import main
from flask_sse.hub.process.job import Job
from flask_sse.version import __version__

# Whatever the machine has in its environment.
NOTHING: Mapping[str, str | None] = dict.fromkeys(
    ("SSE_HUB", "SSE_BROKER_URL", "SSE_REDIS_URL", "REDIS_URL", "CACHE_URL", "LISTEN_FDS", "LISTEN_PID")
)
MEMORY = {"SSE_BROKER_URL": "memory://cli"}


def run(*words: str | Path, **env: str) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], env={**NOTHING, **env})


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        yield Path(directory) / "hub.sock"


class Supervised:
    """Stands for the hubs that the command would run.

    Attributes:
        path: Where.
        job: What they would do.
        replaces: Whether they would take over.
        code: How they end.
    """

    path: Path
    job: Job
    replaces: bool
    code = 0

    def __call__(self, path: Path, job: Job, *, replaces: bool, activated: Sequence[object]) -> int:
        self.path, self.job, self.replaces = path, job, replaces
        return self.code


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> Supervised:
    supervised = Supervised()
    monkeypatch.setattr("flask_sse.hub.process.supervisor.supervise", supervised)
    monkeypatch.setattr("flask_sse.hub.process.logs.log_to_stderr", lambda level, *, json_logs: None)
    return supervised


def test_it_prints_its_release() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.split() == ["flask-sse,", "version", __version__]


# -- where it listens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [{}, {"SSE_HUB": "auto"}, {"SSE_HUB": "thread"}])
def test_without_a_path_it_says_how_to_give_one(env: dict[str, str], supervised: Supervised) -> None:
    result = run("hub", **MEMORY, **env)
    assert result.exit_code == 2
    assert "give --socket PATH, or SSE_HUB=unix:PATH in the environment" in result.output


def test_the_path_is_that_of_the_application_unless_another_one_is_given(supervised: Supervised) -> None:
    assert run("hub", **MEMORY, SSE_HUB="unix:/run/app/sse.sock").exit_code == 0
    assert supervised.path == Path("/run/app/sse.sock")
    assert (
        run("hub", "--socket", "/run/other.sock", **MEMORY, SSE_HUB="unix:/run/app/sse.sock").exit_code == 0
    )
    assert supervised.path == Path("/run/other.sock")


def test_a_relative_path_is_one_from_the_working_directory(supervised: Supervised) -> None:
    assert run("hub", "--socket", "sse.sock", **MEMORY).exit_code == 0
    assert supervised.path == Path.cwd() / "sse.sock"


def test_a_hub_listens_where_the_variable_of_the_application_says(path: Path) -> None:
    env = {**MEMORY, "SSE_HUB": f"unix:{path}"}
    with Process([SCRIPTS / "flask-sse", "hub"], env, ready=f"ready at {path}") as parent:
        assert path.is_socket()
        assert parent.terminate() == 0


# -- the broker ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", [{}, {"CACHE_URL": ""}])
def test_a_variable_without_a_url_is_named(env: dict[str, str], supervised: Supervised) -> None:
    # It is not to be replaced by one that was not meant.
    result = run("hub", "--socket", "x", "--broker-url-from-env", "CACHE_URL", **MEMORY, **env)
    assert result.exit_code == 2
    assert "the environment has no CACHE_URL" in result.output


def test_the_url_is_that_of_the_variable_that_is_named(supervised: Supervised) -> None:
    env = {"SSE_BROKER_URL": "memory://b", "SSE_REDIS_URL": "memory://r", "CACHE_URL": "memory://c"}
    assert run("hub", "--socket", "x", "--broker-url-from-env", "CACHE_URL", **env).exit_code == 0
    assert supervised.job.config["broker_url"] == "memory://c"
    assert run("hub", "--socket", "x", **env).exit_code == 0
    assert supervised.job.config["broker_url"] == "memory://b"


def test_no_variable_at_all_is_an_error_that_says_what_is_missing(supervised: Supervised) -> None:
    result = run("hub", "--socket", "x")
    assert result.exit_code == 2
    for name in ("SSE_BROKER_URL", "SSE_REDIS_URL", "REDIS_URL", "memory://NAME", "--broker-url-from-env"):
        assert name in result.output
    # There is no app.config here (14.38).
    assert "app config" not in result.output


def test_a_bad_url_is_named_by_its_variable_before_the_socket_is_touched(supervised: Supervised) -> None:
    env = {"SSE_BROKER_URL": "redis://right", "CACHE_URL": "redis://:geheim@localhost:abc"}
    result = run("hub", "--socket", "x", "--broker-url-from-env", "CACHE_URL", **env)
    assert result.exit_code == 2
    assert "CACHE_URL = 'redis://...@localhost:abc' cannot be used: its port" in result.output
    assert not hasattr(supervised, "job")
    result = run("hub", "--socket", "x", SSE_REDIS_URL="localhost:6379")
    assert "SSE_REDIS_URL = 'localhost:6379' cannot be used" in result.output
    assert "redis://localhost:6379" in result.output


def test_unknown_settings_are_logged(supervised: Supervised, caplog: pytest.LogCaptureFixture) -> None:
    """A hub that an operator runs reads the environment; a typo there would change nothing (14.38)."""
    env = {"SSE_DRAIN_SECOND": "1", "SSE_MY_CACHE": "memory://c"}
    assert run("hub", "--socket", "x", "--broker-url-from-env", "SSE_MY_CACHE", **env).exit_code == 0
    (line,) = [text for text in caplog.messages if "knows no setting" in text]
    assert "SSE_DRAIN_SECOND;" in line
    assert "SSE_DRAIN_SECONDS?" in line


URLS = [
    "redis://user:geheim@127.0.0.1:1",
    "redis://user:geheim@host:port",
    "ftp://user:geheim@host",
]


@pytest.mark.parametrize("url", URLS)
def test_a_url_stands_on_no_command_line_and_in_no_log(url: str, path: Path) -> None:
    options = ["--broker-url-from-env", "CACHE_URL", "--log-level", "debug"]
    env = {"SSE_BROKER_URL": "", "CACHE_URL": url, "SSE_DRAIN_SECONDS": "0"}
    with operated(path, *options, env=env, ready=None) as parent:
        if url == URLS[0]:
            parent.wait_for_line("the broker cannot be reached")
            for pid in (parent.pid, *children(parent.pid)):
                assert b"geheim" not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert parent.terminate() == 0
        else:
            assert parent.wait() == 2
            assert "cannot be used" in parent.output()
        assert "geheim" not in parent.output()
        assert "Traceback" not in parent.output()


def test_a_job_does_not_show_its_url_to_a_log(supervised: Supervised) -> None:
    run("hub", "--socket", "x", SSE_BROKER_URL=URLS[0])
    assert supervised.job.config["broker_url"] == URLS[0]
    assert "geheim" not in repr(supervised.job)


# -- other options ---------------------------------------------------------------------------------------


def test_without_options_there_is_one_hub_that_replaces_none(supervised: Supervised) -> None:
    assert run("hub", "--socket", "x", **MEMORY).exit_code == 0
    job = supervised.job
    assert (job.processes, job.log_level, job.json_logs, supervised.replaces) == (1, "INFO", False, False)
    assert (job.lock, job.listener, job.replaces, job.only_if_older) == (None, None, False, False)


def test_options_are_passed_on(supervised: Supervised) -> None:
    words = ["--processes", "64", "--replace", "--log-level", "debug", "--json-logs"]
    assert run("hub", "--socket", "x", *words, SSE_BROKER_URL="redis://host").exit_code == 0
    job = supervised.job
    assert (job.processes, job.log_level, job.json_logs, supervised.replaces) == (64, "DEBUG", True, True)


def test_settings_of_the_hub_come_from_the_environment(supervised: Supervised) -> None:
    limits = {"SSE_MAX_EVENT_BYTES": "2000", "SSE_MAX_STREAMS": "7", "SSE_MAX_CHANNELS": "9"}
    env = {**limits, "SSE_DRAIN_SECONDS": "1.5", "SSE_MAX_TOTAL_BACKLOG_BYTES": "10000"}
    assert run("hub", "--socket", "x", **MEMORY, **env).exit_code == 0
    expected = {
        "broker_url": "memory://cli",
        "max_event_bytes": 2000,
        "stream_limit": 7,
        "channel_limit": 9,
        "max_total_backlog_bytes": 10_000,
        "drain_seconds": 1.5,
    }
    assert supervised.job.config == expected


@pytest.mark.parametrize(
    ("words", "env", "text"),
    [
        (["--processes", "0"], {}, "--processes"),
        (["--processes", "65"], {}, "--processes"),
        (["--processes", "many"], {}, "--processes"),
        (["--processes", "2"], {}, "memory:// lives in one process"),
        (["--log-level", "loud"], {}, "--log-level"),
        (["--socket", "/tmp"], {}, "--socket"),
        (["--colour"], {}, "--colour"),
        (["more"], {}, "more"),
        ([], {"SSE_DRAIN_SECONDS": "soon"}, "SSE_DRAIN_SECONDS = 'soon' cannot be used"),
        ([], {"SSE_HEARTBEAT_SECONDS": "-1"}, "SSE_HEARTBEAT_SECONDS = '-1' cannot be used"),
        ([], {"SSE_HUB": "unix:relative"}, "SSE_HUB = 'unix:relative' cannot be used"),
    ],
)
def test_what_cannot_be_used_ends_it_with_2_and_is_named(
    words: Sequence[str], env: dict[str, str], text: str, supervised: Supervised
) -> None:
    result = run("hub", "--socket", "x", *words, **MEMORY, **env)
    assert result.exit_code == 2
    assert text in result.output
    assert not hasattr(supervised, "job")


@pytest.mark.parametrize("code", range(5))
def test_it_ends_as_its_hubs_did(code: int, supervised: Supervised) -> None:
    supervised.code = code
    assert run("hub", "--socket", "x", **MEMORY).exit_code == code


def test_sockets_of_systemd_are_not_left_in_the_environment(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def supervise(*_: object, **__: object) -> int:
        seen.update(os.environ)
        return 0

    monkeypatch.setattr("flask_sse.hub.process.supervisor.supervise", supervise)
    assert run("hub", "--socket", "x", **MEMORY, LISTEN_PID="1", LISTEN_FDS="1").exit_code == 0
    assert seen
    assert not [name for name in seen if name.startswith("LISTEN_")]
