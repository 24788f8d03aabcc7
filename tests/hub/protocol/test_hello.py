"""The first packet of an application, and the protocol that both ends speak."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.packets import (
    HELLO,
    NO_NUMBERS,
    changed,
    sent,
    without,
)

from flask_sse.errors import ProtocolError
from flask_sse.hub.protocol.hello import PROTOCOLS, Hello, common_protocol

OURS = PROTOCOLS[-1]


@pytest.mark.parametrize("linger_seconds", [0, 0.5, 60, 10**6])
def test_a_hello_is_understood(linger_seconds: float) -> None:
    hello = Hello(4711, linger_seconds)

    assert Hello.read(sent(hello.packet())) == hello


@pytest.mark.parametrize("name", ["protocols", "pid", "linger_seconds"])
def test_a_hello_that_lacks_something_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        Hello.read(sent(without(HELLO.packet(), name)))


@pytest.mark.parametrize("protocols", [[], [0], [OURS + 1], [str(OURS)], [None], OURS, None, {}])
def test_a_hello_in_other_protocols_is_refused_with_ours(protocols: object) -> None:
    with pytest.raises(ProtocolError, match=f"speaks protocol {OURS}"):
        Hello.read(sent(changed(HELLO.packet(), protocols=protocols)))


def test_the_highest_protocol_that_both_ends_speak_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_sse.hub.protocol.hello.PROTOCOLS", (3, 4, 5))

    assert common_protocol([4, 3]) == 4
    assert common_protocol([2, 3, 9]) == 3
    assert common_protocol([1, 2, 6]) is None


@pytest.mark.parametrize("linger_seconds", NO_NUMBERS, ids=lambda value: ascii(value)[:10])
def test_a_hello_with_a_linger_that_is_no_time_is_refused(linger_seconds: object) -> None:
    with pytest.raises(ProtocolError):
        Hello.read(sent(changed(HELLO.packet(), linger_seconds=linger_seconds)))


@pytest.mark.parametrize("pid", [None, "7", 7.5, [], True])
def test_a_hello_with_a_pid_that_is_none_is_refused(pid: object) -> None:
    with pytest.raises(ProtocolError):
        Hello.read(sent(changed(HELLO.packet(), pid=pid)))


def test_what_does_not_say_hello_is_no_hello() -> None:
    with pytest.raises(ProtocolError):
        Hello.read(sent(replace(HELLO.packet(), op="attach")))
