"""The file of revocations: what survives a hub, and what is not believed. 13.3."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from flask_sse.hub.protocol.revocation import HISTORY, REMEMBERED_SECONDS, Revocation
from flask_sse.hub.server import revocation_journal as journal_module
from flask_sse.hub.server.revocation_journal import RevocationJournal


def revocation(subject: str) -> Revocation:
    return Revocation(subject, None, "x", 1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return RevocationJournal.beside(tmp_path / "a.sock")._path


def subjects(path: Path) -> list[str | None]:
    """Return what the next hub finds."""
    journal = RevocationJournal(path)
    found = [line.revocation.subject for line in journal.open()]
    journal.close()
    return found


def test_what_was_appended_is_there_for_the_next_hub_and_for_this_user_alone(path: Path) -> None:
    assert subjects(path) == []
    assert not path.exists()
    first, now = RevocationJournal(path), time.time()
    assert first.open() == []
    for subject in ("ann", "bob", 'line\n"feed'):
        first.append(revocation(subject), now)
    # It was killed, so nothing was closed.
    assert subjects(path) == ["ann", "bob", 'line\n"feed']
    second = RevocationJournal(path)
    second.open()
    second.append(revocation("carl"), now)
    assert subjects(path) == ["ann", "bob", 'line\n"feed', "carl"]
    assert path.stat().st_mode & 0o777 == 0o600
    for journal in (first, second):
        journal.close()


@pytest.mark.parametrize(
    "broken",
    [
        b'{"at": 1e9, "revoc',
        b"\xff\0\n\n\n",
        b"[" * 100_000,
        b"7",
        b'{"at": true, "revocation": {"subject": "x", "channel": null, "reason": "x", "at": 1}}',
        b'{"at": 1.0, "revocation": {"subject": null, "channel": null, "reason": "x", "at": 1}}',
        b'{"at": 1.0, "revocation": {"subject": "x", "channel": null, "reason": "x", "at": 1e999}}',
    ],
)
def test_a_broken_line_takes_no_other_with_it(path: Path, broken: bytes) -> None:
    journal, now = RevocationJournal(path), time.time()
    journal.open()
    journal.append(revocation("ann"), now)
    with path.open("ab") as file:
        file.write(broken)
    journal.append(revocation("bob"), now)
    journal.close()
    assert subjects(path) == ["ann", "bob"]


def test_lines_are_dropped_after_a_day(path: Path) -> None:
    journal, now = RevocationJournal(path), time.time()
    journal.open()
    for age, subject in ((REMEMBERED_SECONDS + 3600, "ann"), (REMEMBERED_SECONDS - 60, "bob"), (0, "carl")):
        journal.append(revocation(subject), now - age)
    assert subjects(path) == ["bob", "carl"]
    journal.prune(now)
    assert b'"ann"' not in path.read_bytes()
    journal.prune(now + 2 * REMEMBERED_SECONDS)
    assert path.read_bytes() == b""
    journal.append(revocation("dora"), now)
    journal.close()
    assert subjects(path) == ["dora"]
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_file_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_BYTES", 100_000)
    journal, now = RevocationJournal(path), time.time()
    journal.open()
    for number in range(3 * HISTORY.size // 10):
        journal.append(revocation(f"subject-{number}"), now)
        if number % 100 == 0:
            assert path.stat().st_size <= 250_000
    journal.close()
    found = subjects(path)
    assert found[-1] == f"subject-{3 * HISTORY.size // 10 - 1}"
    assert len(found) > 500


@pytest.mark.parametrize("kind", ["readable", "link", "directory"])
def test_a_file_that_is_not_this_users_alone_is_not_used(path: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    target.chmod(0o644)
    if kind == "readable":
        target.rename(path)
    elif kind == "link":
        path.symlink_to(target)
    else:
        path.mkdir()
    with pytest.raises(OSError, match=r"of this user alone|symbolic|Is a directory"):
        RevocationJournal(path).open()
    if kind != "directory":
        assert path.read_bytes() == b"kept"


def test_hubs_that_share_streams_have_a_file_each(tmp_path: Path) -> None:
    sockets = ["hub.sock", "hub.sock.1", "hub.sock.2"]
    assert len({RevocationJournal.beside(tmp_path / name)._path.name for name in sockets}) == 3
    assert RevocationJournal.beside(tmp_path / "hub.sock")._path.name == "hub.revocations"
