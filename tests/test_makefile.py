"""The Makefile does what its help says."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from tests.tools import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("words", "seconds"), [([], "600"), (["FUZZ_SECONDS=60"], "60")])
def test_fuzzing_takes_as_long_as_make_is_told(words: list[str], seconds: str) -> None:
    # `make test` gives its own flags and variables to the tests.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "FUZZ_SECONDS"}
    }
    command = ["make", "--dry-run", "fuzz", *words]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert f"FUZZ_SECONDS={seconds} " in run.stdout
