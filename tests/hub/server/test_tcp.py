"""TCP options are set on connections that have them, and on no other."""

from __future__ import annotations

import socket

import pytest
from tests.support.bare_application import tcp_pair

from flask_sse.hub.server.tcp import UNACKNOWLEDGED_MS, get_options, set_options, tcp_options


def test_options_of_a_connection_are_set_and_restored() -> None:
    options = tcp_options()
    near, far = tcp_pair()
    with near, far:
        before = get_options(near, options)
        set_options(near, options)
        assert get_options(near, options) == options != before
        set_options(near, before)
        assert get_options(near, options) == before


def test_a_socket_without_tcp_or_that_is_closed_is_left_alone() -> None:
    near, far = socket.socketpair()
    with near, far:
        set_options(near, tcp_options())
        assert get_options(near, tcp_options()) == []
    set_options(near, tcp_options())


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such option")
@pytest.mark.parametrize(
    ("patience_seconds", "milliseconds"), [(0, UNACKNOWLEDGED_MS), (1, UNACKNOWLEDGED_MS), (90.5, 90_500)]
)
def test_a_client_may_read_nothing_for_as_long_as_the_application_says(
    patience_seconds: float, milliseconds: int
) -> None:
    values = {name: value for _, name, value in tcp_options(patience_seconds)}
    assert values[socket.TCP_USER_TIMEOUT] == milliseconds
