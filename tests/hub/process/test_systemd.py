"""Sockets and notifications of systemd concern the process that they are meant for alone."""

from __future__ import annotations

import os

import pytest

from flask_sse.hub.process.systemd import activated_sockets, notify


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@flask-sse-nobody", "x" * 200])
def test_nobody_is_told_where_nobody_listens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


def test_the_hubs_below_do_not_take_the_sockets_for_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_FDNAMES", "hub")
    assert activated_sockets() == []
    assert not [name for name in os.environ if name.startswith("LISTEN_")]
