"""Programs that tests need: there, or a clear line why the test does not run."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
from tests.tools import find, in_ci


def require(name: str) -> Path:
    """Return the program ``name``, or the directory of ``eventsource`` or ``flask-sse-1.0``."""
    return find(name) or missing(f"{name} is missing; python tests/tools.py installs it where it can")


def missing(line: str) -> NoReturn:
    """Skip the test on a laptop; fail it where ``CI`` is set."""
    if in_ci():
        pytest.fail(line, pytrace=False)
    pytest.skip(line)
