"""Where hubs live nobody else can look, and where there is no such place a thread does the work."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.bare_application import BareApplication, hubs_in
from tests.support.processes import running, wait_until

from flask_sse.errors import HubStartError, HubUnavailableError
from flask_sse.hub.client import auto_hub_client
from flask_sse.hub.client.runtime_directory import hub_path, private_directory
from flask_sse.hub.process import interpreter
from flask_sse.settings import Settings

URL = "memory://private"


def uses_a_thread_and_says_so_once(caplog: pytest.LogCaptureFixture, why: str) -> None:
    """Check that everything works in this process, with one warning that says why."""
    caplog.clear()
    gate = threading.Barrier(4)
    with caplog.at_level(logging.WARNING), BareApplication(URL) as client, ThreadPoolExecutor(4) as pool:
        # All of them meet the obstacle at the same moment.
        pids = pool.map(lambda _: (gate.wait(), client.pid)[1], range(4))
        assert set(pids) == {os.getpid()}
        with client.stream("all") as first, client.stream("all") as second:
            assert client.publish("to both", channel="all") == 2
            assert first.next_event().data == second.next_event().data == "to both"
    (warning,) = caplog.messages
    assert why in warning
    assert "the hub runs in a thread of this process" in warning


def open_to_others(path: Path) -> None:
    path.mkdir(mode=0o755)
    path.chmod(0o755)


def a_symbolic_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.mkdir(mode=0o700)
    path.symlink_to(target)


def a_file(path: Path) -> None:
    path.touch(mode=0o600)


@pytest.mark.parametrize("obstacle", [open_to_others, a_symbolic_link, a_file])
def test_directory_that_is_not_ours_alone_is_refused(
    obstacle: Callable[[Path], None], runtime_directory: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(runtime_directory) / "flask-sse"
    obstacle(path)
    with pytest.raises(HubStartError, match=r"not a directory of user \d+ alone \(mode 0700\)"):
        private_directory()
    uses_a_thread_and_says_so_once(caplog, f"{path}: not a directory of user")
    assert not hubs_in(runtime_directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_directory_of_another_user_is_refused(
    runtime_directory: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(runtime_directory) / "flask-sse"
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)
    uses_a_thread_and_says_so_once(caplog, "not a directory of user 0 alone")


@pytest.fixture
def temporary_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path, for there is room for some 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        monkeypatch.setenv("TMPDIR", directory)
        yield Path(directory)


@pytest.mark.parametrize("runtime", ["unset", "missing", "too long"])
def test_temporary_directory_is_used_where_the_runtime_directory_cannot_be(
    runtime: str, temporary_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = temporary_directory / ("x" * 100)
    long.mkdir()
    values = {"unset": "", "missing": str(temporary_directory / "missing"), "too long": str(long)}
    monkeypatch.setenv("XDG_RUNTIME_DIR", values[runtime])
    with BareApplication(URL, hub_linger_seconds=0.0) as client:
        pid = client.pid
        assert pid != os.getpid()
        path = hub_path(client.settings)
        assert path.parent == temporary_directory / f"flask-sse-{os.geteuid()}"
        assert path.is_socket()
    wait_until(lambda: not running(pid), what="the hub gone")


def no_short_path(path: Path, patch: pytest.MonkeyPatch) -> str:
    long = path.parent / ("x" * 100)
    long.mkdir()
    patch.setenv("XDG_RUNTIME_DIR", str(long))
    patch.setenv("TMPDIR", str(long))
    return "path too long"


def no_python(path: Path, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(interpreter, "_python", lambda: "/no/python")
    return "cannot start one: [Errno 2]"


def python_without_the_hub(path: Path, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(interpreter, "_python", lambda: "/bin/false")
    return f"started twice, ended at once; see {path.with_suffix('.log')}"


def no_log(path: Path, patch: pytest.MonkeyPatch) -> str:
    path.with_suffix(".log").mkdir()
    return "Is a directory"


def no_lock(path: Path, patch: pytest.MonkeyPatch) -> str:
    path.with_suffix(".lock").mkdir()
    return "Is a directory"


def no_socket(path: Path, patch: pytest.MonkeyPatch) -> str:
    path.mkdir()
    return "started twice, ended at once"


@pytest.mark.parametrize(
    "obstacle", [no_short_path, no_python, python_without_the_hub, no_log, no_lock, no_socket]
)
def test_thread_does_the_work_where_no_process_can_be_started(
    obstacle: Callable[[Path, pytest.MonkeyPatch], str],
    runtime_directory: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = hub_path(Settings(URL))
    uses_a_thread_and_says_so_once(caplog, obstacle(path, monkeypatch))
    assert not hubs_in(runtime_directory)


def test_start_of_a_hub_does_not_touch_the_umask_of_the_application(
    runtime_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other threads create files at the same moment."""

    def refuse(mask: int) -> int:
        pytest.fail("the umask was changed")

    monkeypatch.setattr(os, "umask", refuse)
    with BareApplication(URL) as client:
        assert client.pid != os.getpid()


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EINTR", "ETIMEDOUT", "ESTALE", "EIO", "ENOENT"])
def test_a_lock_that_fails_for_a_moment_gives_no_process_a_hub_of_its_own(
    number: str, runtime_directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(13.14) It is an error of this call, and the next one finds the hub of all."""
    really_open, failures = os.open, [1]

    def fail_once(path: str | Path, *arguments: int) -> int:
        if str(path).endswith(".lock") and failures:
            failures.clear()
            raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), str(path))
        return really_open(path, *arguments)

    with BareApplication(URL) as client:
        monkeypatch.setattr(os, "open", fail_once)
        with pytest.raises(HubUnavailableError) as caught:
            client.status()
        assert not isinstance(caught.value, HubStartError)
        assert client.pid != os.getpid()


def test_a_hub_in_a_thread_gives_way_as_soon_as_a_process_can_be_started(
    runtime_directory: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """(13.14) A full disk ends the process at once, too, so nothing says that it is for ever."""
    monkeypatch.setattr(auto_hub_client, "RETRY_FIRST_SECONDS", 0.1)
    with monkeypatch.context() as patch, BareApplication(URL) as client, BareApplication(URL) as other:
        patch.setattr(interpreter, "_python", lambda: "/bin/false")
        with (
            client.stream("all") as stream,
            caplog.at_level(logging.INFO, "flask_sse.hub.client.auto_hub_client"),
        ):
            assert client.pid == os.getpid()
            assert client.publish("one", channel="all") == 1
            assert stream.next_event().data == "one"
            patch.undo()
            wait_until(lambda: client.pid != os.getpid(), what="a hub process")
            # The page comes back and is with all others.
            assert stream.wait_closed() == "eof"
            assert b"retry:" in stream.raw
            assert "a hub process runs now" in caplog.text
        with client.stream("all") as stream:
            assert other.publish("two", channel="all") == 1
            assert stream.next_event().data == "two"


def test_the_directory_does_not_depend_on_what_can_be_written_at_the_moment(
    temporary_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(13.14) ``tempfile`` settles for life on a directory that takes a file just then."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", "/somewhere/else")
    monkeypatch.setattr(tempfile, "gettempdir", lambda: pytest.fail("asked for"))
    assert private_directory() == temporary_directory / f"flask-sse-{os.geteuid()}"
