"""Jitter: spread, bounds, and that no two processes draw the same."""

from __future__ import annotations

import os
import random

import pytest

from flask_sse.jitter import HEALTHY_SECONDS, backoff_seconds, draw, draw_between, draw_ms, failures_in_a_row


def test_delays_lie_in_their_range_and_are_spread() -> None:
    delays = {draw_ms((100, 200)) for _ in range(100)}

    assert len(delays) > 20
    assert all(100 <= delay <= 200 for delay in delays)
    assert draw_ms((7, 7)) == 7
    assert all(0.5 <= draw_between(0.5, 1.5) <= 1.5 for _ in range(100))


def test_the_seed_of_an_application_makes_nothing_alike() -> None:
    drawn = set()
    for _ in range(3):
        random.seed(0)
        drawn.add(draw())

    assert len(drawn) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_forked_from_one_process_draw_different_numbers() -> None:
    reading, writing = os.pipe()
    for _ in range(2):
        pid = os.fork()
        if not pid:
            os.write(writing, f"{draw()}\n".encode())
            os._exit(0)
        os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        first, second = pipe.read().split()

    assert first != second


def test_the_wait_doubles_up_to_its_maximum_and_half_of_it_is_jitter() -> None:
    longest = [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    for failures, most in enumerate(longest, 1):
        waits = {backoff_seconds(failures, 1.0, 10.0) for _ in range(50)}
        assert len(waits) > 10
        assert all(most / 2 <= wait <= most for wait in waits)
    assert backoff_seconds(10_000_000, 1.0, 10.0) <= 10.0


def test_failures_count_again_after_an_attempt_that_lived_long() -> None:
    assert failures_in_a_row(0, 0.0) == 1
    assert failures_in_a_row(4, HEALTHY_SECONDS) == 5
    assert failures_in_a_row(4, HEALTHY_SECONDS + 1) == 1
