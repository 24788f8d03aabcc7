"""Fixtures of the faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.brokers import Broker, start_redis, start_valkey

from .line import shorten_waits

# It is for other processes: imported by the search for doctests, it would change this one.
collect_ignore = ["brief"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hubs in this process notice soon what takes them seconds otherwise."""
    shorten_waits(monkeypatch)


@pytest.fixture(
    params=[
        pytest.param(start_valkey, id="valkey"),
        pytest.param(start_redis, id="redis", marks=pytest.mark.long),
    ]
)
def start(request: pytest.FixtureRequest) -> Callable[..., Broker]:
    """What starts a server, of each kind."""
    kind: Callable[..., Broker] = request.param
    return kind
