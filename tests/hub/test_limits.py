"""Descriptors: as many as the machine allows, and high numbers for streams."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from flask_sse.hub.limits import duplicate, has_room, raise_descriptor_limit

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
