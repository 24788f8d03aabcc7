"""The socket of a hub is for this user alone, stays while the hub lives, and is removed by no other hub."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_sse.hub.server.control_listener import ControlListener, identity, numbered


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sse-", dir="/tmp") as directory:
        yield Path(directory) / "hub.sock"


def test_it_is_found_by_this_user_alone_and_gone_in_the_end(path: Path) -> None:
    lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR)
    listener = ControlListener.at(path, lock)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listener.is_found
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()
    assert not list(path.parent.iterdir())
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lock)


def test_it_takes_the_path_of_a_dead_process_and_not_of_a_living_one(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    first = ControlListener.at(path)
    with pytest.raises(OSError, match="Address already in use"):
        ControlListener.at(path)
    assert first.is_found
    first.close()


def test_a_socket_that_another_hub_has_put_there_stays(path: Path) -> None:
    first = ControlListener.at(path)
    path.unlink()
    second = ControlListener.at(path)
    assert not first.is_found
    first.close()
    assert second.is_found
    second.close()


@pytest.mark.parametrize("end", ["close", "release"])
def test_a_socket_of_a_parent_stays(end: str, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as parents:
        parents.bind(str(path))
        parents.listen()
        getattr(ControlListener(path, parents.dup(), owns_path=False), end)()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_file_is_told_from_another_one_at_its_path(path: Path) -> None:
    assert identity(path) is None
    path.touch()
    other = path.with_name("other")
    other.touch()
    with path.open() as opened:
        assert identity(path) == identity(opened.fileno()) != identity(other)
        other.replace(path)
        assert identity(path) != identity(opened.fileno())


def test_several_hubs_have_a_path_each() -> None:
    names = [numbered(Path("/run/hub.sock"), number).name for number in range(3)]
    assert names == ["hub.sock", "hub.sock.1", "hub.sock.2"]
