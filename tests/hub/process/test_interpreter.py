"""A hub process starts whatever lies beside the application, and wherever it was installed (14.35)."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.tools import ROOT

from flask_sse.hub.process.interpreter import hub_command

pytestmark = pytest.mark.usefixtures("runtime_directory")

# Loaded first, as web servers do, for what lies beside it would end the application itself.
SCRIPT = """
import os, sys
from flask_sse import Publisher
from flask_sse.hub.client.open_client import open_hub_client
import asyncio, psutil
sys.path[:0] = sys.argv[1:]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.argv[1:])
publisher = Publisher("memory://apart", SSE_HUB_LINGER_SECONDS=5)
hub = publisher._own_submitter._hub_client.status()["pid"]
assert hub != os.getpid(), "there is a thread in its place"
print("\\n".join(psutil.Process(hub).cmdline()))
"""
# What a hub or Python at its start imports.
SHADOWED = (
    "token",
    "select",
    "signal",
    "site",
    "runpy",
    "socket",
    "asyncio",
    "json",
    "logging",
    "sitecustomize",
)


def cmdline_of_hub(
    *folders: Path, python: str = sys.executable, path: Sequence[Path | str] = ()
) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [python, "-P", "-c", SCRIPT, *map(str, folders)],
        env=environment,
        cwd=folders[0] if folders else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("how", ["module", "package"])
def test_what_lies_beside_the_application_does_not_end_the_hub(how: str, tmp_path: Path) -> None:
    for name in SHADOWED:
        file = tmp_path / f"{name}.py" if how == "module" else tmp_path / name / "__init__.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text("raise SystemExit('the hub has loaded what lies beside the application')")
    assert str(tmp_path) not in cmdline_of_hub(tmp_path)


def test_a_hub_finds_what_only_a_path_names(tmp_path: Path) -> None:
    """The interpreter has nothing installed; all comes by PYTHONPATH."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "flask_sse").symlink_to(ROOT / "src" / "flask_sse")
    packages = site.getsitepackages()
    cmdline = cmdline_of_hub(python=sys._base_executable, path=[library, *packages])  # type: ignore[attr-defined]
    assert str(library) in cmdline


def test_a_hub_starts_from_a_zip_file(tmp_path: Path) -> None:
    archive = tmp_path / "library.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for source in (ROOT / "src" / "flask_sse").rglob("*.py"):
            file.write(source, source.relative_to(ROOT / "src"))
    assert str(archive) in cmdline_of_hub(path=[archive])


def test_its_command_line_has_no_directory_twice() -> None:
    directories = hub_command()[6:]
    assert directories
    assert len(set(directories)) == len(directories)
    assert all(Path(directory).is_absolute() for directory in directories)
