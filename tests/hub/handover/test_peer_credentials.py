"""Who is at the other end: the kernel says it, and only our own user and root are trusted."""

from __future__ import annotations

import os
import socket

import pytest

from flask_sse.hub.handover.peer_credentials import is_trusted, peer_uid

OTHER_UID = 54321


def test_the_kernel_names_the_user_of_the_other_end() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert peer_uid(near) == peer_uid(far) == os.geteuid()


def test_a_system_that_does_not_tell_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in ("SO_PEERCRED", "LOCAL_PEERCRED"):
        monkeypatch.delattr(socket, option, raising=False)
    near, far = socket.socketpair()
    with near, far:
        assert peer_uid(near) is None


@pytest.mark.parametrize(
    ("uid", "trusted"),
    [(1000, True), (0, True), (None, True), (1001, False), (-1, False), (OTHER_UID, False)],
)
def test_only_our_own_user_root_and_the_unknown_are_trusted(
    uid: int | None, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert is_trusted(uid) is trusted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_known_and_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair()
    with near, far:
        os.seteuid(OTHER_UID)
        try:
            theirs, ours = socket.socketpair()
        finally:
            os.seteuid(0)
        with theirs, ours:
            monkeypatch.setattr(os, "geteuid", lambda: 1000)

            assert peer_uid(ours) == OTHER_UID
            assert not is_trusted(peer_uid(ours))
