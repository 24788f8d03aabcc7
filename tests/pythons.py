"""Unit tests on every supported Python that is installed, each in its own environment.

``make test-all`` runs it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
PYENV = Path.home() / ".pyenv" / "versions"


def candidates(version: str, pyenv: Path = PYENV) -> Iterator[Path]:
    """Yield where a Python may be: on the PATH, or where pyenv installs those that it hides by default."""
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    yield from sorted(pyenv.glob(f"{version}.*/bin/python{version}"))


def find(version: str, pyenv: Path = PYENV) -> Path | None:
    """Return the first one that runs; ``None`` if there is none."""
    for python in candidates(version, pyenv):
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return python
    return None


def main() -> int:
    """Run the tests and return the exit status: 1 if they failed on any Python, or there is none."""
    results = []
    for version in VERSIONS:
        python = find(version)
        print(f"Python {version}: {python or 'not installed, so nothing is tested on it'}", flush=True)
        if python:
            make = ["make", "--no-print-directory", "unit", f"PYTHON={python}", f"VENV=.venv-{version}"]
            results.append(subprocess.run(make, check=False).returncode)
    return 1 if any(results) or not results else 0


if __name__ == "__main__":
    sys.exit(main())
