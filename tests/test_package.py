"""The package as it is imported: lazily, and without a framework where none is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import flask_sse

FRAMEWORKS = {"flask", "jinja2", "werkzeug"}


@pytest.mark.parametrize(
    "module",
    [
        "flask_sse",
        "flask_sse.door",
        "flask_sse.publisher",
        "flask_sse.serving.relay",
        "flask_sse.serving.takeover",
        "flask_sse.hub.process.main",
    ],
)
def test_a_module_without_a_framework_loads_none(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    loaded = set(done.stdout.split())
    assert module in loaded
    assert loaded & FRAMEWORKS == set()


def test_every_public_name_is_there_and_no_other() -> None:
    assert {name: getattr(flask_sse, name) for name in flask_sse.__all__}.keys() == set(flask_sse.__all__)
    with pytest.raises(AttributeError, match="no attribute 'publish'"):
        _ = flask_sse.publish
