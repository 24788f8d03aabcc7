"""Descriptors: as many as the machine allows, and high numbers for streams."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator

import pytest
from tests.support.bare_application import BareApplication

from flask_sse.hub.server.descriptors import duplicate, has_room, raise_descriptor_limit

SELECT_LIMIT = 1024


@pytest.fixture(autouse=True)
def keep_limit() -> Iterator[None]:
    """Put the limit of this process back."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def allow(descriptors: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))


def test_streams_may_take_nine_tenths_of_the_descriptors() -> None:
    allow(1000)

    assert has_room(899, 0)
    assert not has_room(900, 0)


def test_without_a_limit_of_descriptors_there_is_still_one_of_streams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: no_limit)

    assert has_room(10**6, 99_999)
    assert not has_room(10, 100_000)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    allow(1000)
    raise_descriptor_limit()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


@pytest.mark.parametrize(("limit", "is_high"), [(SELECT_LIMIT + 500, True), (SELECT_LIMIT, False)])
def test_a_duplicate_is_the_same_connection_under_a_high_number_where_there_are_any(
    limit: int, is_high: bool
) -> None:
    allow(limit)
    near, far = socket.socketpair()
    with far:
        number = duplicate(near.fileno())
        near.close()
        with socket.socket(fileno=number) as copy:
            copy.sendall(b"x")

            assert far.recv(10) == b"x"
            assert (number >= SELECT_LIMIT) == is_high
            assert not os.get_inheritable(number)


@pytest.mark.parametrize("limit", [1024, 1025, 1100, 1137, 1138, 1200])
def test_a_hub_in_a_thread_takes_streams_under_any_limit(limit: int) -> None:
    """(14.37) From 1025 to 1137 there are numbers from 1024 up, and no stream may have one of them."""
    with BareApplication("memory://limits", hub="thread") as client, contextlib.ExitStack() as stack:
        assert client.status()
        allow(limit)
        # Of 1138 and 1200, those from 1024 up have room for no more than 56.
        streams = [stack.enter_context(client.stream("all")) for _ in range(60)]
        assert client.publish("to all", channel="all") == 60
        assert all(stream.next_event().data == "to all" for stream in streams)
        assert client.status()["rejected"] == 0


def test_duplicates_leave_a_tenth_of_the_low_numbers_to_the_server() -> None:
    allow(SELECT_LIMIT + 100)
    with contextlib.ExitStack() as stack:
        near, far = socket.socketpair()
        stack.enter_context(near)
        stack.enter_context(far)
        numbers: list[int] = []
        while not numbers or has_room(numbers[-1], 0):
            numbers.append(duplicate(near.fileno()))
            stack.callback(os.close, numbers[-1])
        assert max(numbers[:-1]) < 0.9 * SELECT_LIMIT
        assert numbers[-1] >= SELECT_LIMIT, "the hub does not reject what it has no room for"


def test_two_duplicates_have_two_numbers() -> None:
    near, far = socket.socketpair()
    with near, far:
        first, second = duplicate(near.fileno()), duplicate(near.fileno())
        try:
            assert len({near.fileno(), first, second}) == 3
        finally:
            os.close(first)
            os.close(second)


def test_what_is_not_open_cannot_be_duplicated() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    os.close(reader)

    with pytest.raises(OSError, match="Bad file descriptor"):
        duplicate(reader)
