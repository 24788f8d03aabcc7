"""What a failed test leaves open does not fail the next one.

A test that fails leaves its frames behind, in the traceback that pytest keeps for a debugger, and with them
connections that were in the middle of something. Python warns of each when the garbage is collected, which
is an error here, and in whichever test that happens.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Generator
from contextlib import suppress

import pytest

_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test has failed."""
    report = yield
    item.stash[_failed] = report.failed or item.stash.get(_failed, False)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Close what a failed test has left, without a warning."""
    result = yield
    if item.stash.get(_failed, False):
        for name in ("last_exc", "last_type", "last_value", "last_traceback"):
            with suppress(AttributeError):
                delattr(sys, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    return result
