"""The product's own limits: patient in tests, but for the tests of what it promises.

A hub or a server that the machine does not let run answers late, and a call of an application then fails, as
it promises to. A test of something else must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flask_sse.brokers import deadline
from flask_sse.brokers.redis import connection
from flask_sse.hub.client import hub_connection, hub_finder, hub_thread, process_hub_client

from .patience import FACTOR, Stopwatch

# How long the product waits for an answer, in the call of an application.
_PROMISED = {
    (module, name): getattr(module, name)
    for module, name in (
        (deadline, "CALL_SECONDS"),
        (connection, "CALL_SECONDS"),
        (hub_connection, "ANSWER_SECONDS"),
        (hub_finder, "ANSWER_SECONDS"),
        (process_hub_client, "ANSWER_SECONDS"),
        (hub_thread, "ANSWER_SECONDS"),
    )
}


@contextmanager
def patient_product() -> Iterator[None]:
    """Let the product in this process wait as long for answers as tests do."""
    with _limits(FACTOR):
        yield


@contextmanager
def promised_limits() -> Iterator[None]:
    """Let the product in this process wait no longer than it promises."""
    with _limits(1):
        yield


@contextmanager
def _limits(factor: float) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), seconds in _PROMISED.items():
            patch.setattr(module, name, seconds * factor)
        yield


@contextmanager
def promised(seconds: float) -> Iterator[None]:
    """Check that the block takes less than ``seconds`` with the limits of the product."""
    with promised_limits(), Stopwatch() as watch:
        yield
    assert watch.seconds < seconds
