"""What pytest loads by itself where Flask-SSE is installed; the rest is loaded when a test asks for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import PublishedEvents


@pytest.fixture
def sse_events() -> Iterator[PublishedEvents]:
    """What any application or Publisher publishes during the test, in place of any broker."""
    from .testing import capture  # noqa: PLC0415 - see above

    with capture() as events:
        yield events


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show which events are there and which are not."""
    testing = sys.modules.get("flask_sse.testing")
    if (
        testing is None
        or op != "=="
        or not isinstance(left, testing.PublishedEvents)
        or not isinstance(right, list)
    ):
        return None
    lines = ["what was published is not what is expected"]
    for number in range(max(len(left), len(right))):
        there = left[number] if number < len(left) else None
        wanted = right[number] if number < len(right) else None
        if there == wanted:
            lines.append(f"      {there!r}")
        else:
            lines += [f"there {there!r}"] if there is not None else []
            lines += [f"not   {wanted!r}"] if wanted is not None else []
    return lines
