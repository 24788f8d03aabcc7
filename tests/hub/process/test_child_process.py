"""How a hub process has ended is logged in words."""

from __future__ import annotations

import pytest

from flask_sse.hub.process.child_process import end_of


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended with 0"),
        (3, "ended with 3"),
        (-9, "was killed by SIGKILL"),
        (-200, "was killed by signal 200"),
    ],
)
def test_an_exit_code_is_told_from_a_signal(code: int, text: str) -> None:
    assert end_of(code) == text
