"""Hubs that tests start by themselves: apart from the user's own, and ended with the test."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

RUNTIME_DIRECTORY = "XDG_RUNTIME_DIR"


@contextmanager
def separate_hubs() -> Iterator[str]:
    """Let hubs live in a new directory, whose path this yields; end those that are left in it.

    What was started before keeps the directory that it has.
    """
    # Directly in /tmp, for the path of a Unix socket has room for some 100 bytes.
    directory = tempfile.mkdtemp(prefix="sse-", dir="/tmp")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(RUNTIME_DIRECTORY, directory)
            yield directory
    finally:
        _kill_all_that_know(directory)
        shutil.rmtree(directory, ignore_errors=True)


def _kill_all_that_know(directory: str) -> None:
    for process in psutil.process_iter(["environ"]):
        environ = process.info["environ"] or {}
        if environ.get(RUNTIME_DIRECTORY) == directory:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
