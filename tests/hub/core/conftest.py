"""Hubs without sockets."""

from __future__ import annotations

import pytest
from tests.support.core_readers import Hub


@pytest.fixture
def hub() -> Hub:
    """A hub whose broker confirms when it is told to."""
    return Hub()


@pytest.fixture
def ready() -> Hub:
    """A hub whose broker confirms at once, as ``memory://`` does."""
    return Hub(confirms_at_once=True)
