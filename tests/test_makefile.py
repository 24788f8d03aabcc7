"""The Makefile does what its help says."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.lowest import lowest
from tests.pythons import VERSIONS, find
from tests.support.processes import Process, children, running, wait_until
from tests.tools import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# Imports the modules that are named, where those that begin the command line are not installed.
IMPORT_WITHOUT = """
import importlib, sys
away, modules = (words.split() for words in sys.argv[1:])
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in away:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NotInstalled())
for module in modules:
    importlib.import_module(module)
"""


def output_of_make(*words: str) -> str:
    # `make test` gives its own flags, level and variables to the tests.
    of_make = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "FUZZ_SECONDS"}
    environment = {name: value for name, value in os.environ.items() if name not in of_make}
    run = subprocess.run(
        ["make", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("words", "seconds"), [([], "600"), (["FUZZ_SECONDS=60"], "60")])
def test_fuzzing_takes_as_long_as_make_is_told(words: list[str], seconds: str) -> None:
    assert f"FUZZ_SECONDS={seconds} " in output_of_make("--dry-run", "fuzz", *words)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_burns_the_cores_ends_however_the_tests_beside_it_end(number: signal.Signals) -> None:
    waits = [sys.executable, "-c", "print('waits', flush=True); input()"]
    reader, writer = os.pipe()
    with open(reader), open(writer, "w"):  # noqa: PTH123 - they are descriptors
        command = [sys.executable, str(ROOT / "tests" / "busy.py"), *waits]
        with Process(command, ready="waits", stdin=reader) as process:
            burning = [pid for pid in children(process.pid) if os.getsid(pid) == pid]
            assert len(burning) == 2
            # As a terminal does it: to all but those with a session of their own.
            os.killpg(process.pid, number)
            process.wait()
            wait_until(lambda: not any(map(running, burning)), what="the end of what burns")


def test_a_command_beside_busy_cores_has_its_own_status() -> None:
    command = [sys.executable, str(ROOT / "tests" / "busy.py"), sys.executable, "-c", "raise SystemExit(7)"]
    assert subprocess.run(command, check=False).returncode == 7


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_all_targets_that_are_documented() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert [line.split()[0] for line in output_of_make("help").splitlines()] == phony.split()


def installed_with(*wanted: str) -> set[str]:
    """Return the distributions that these requirements bring, of those that are installed here."""
    found: set[str] = set()
    left = [Requirement(each) for each in wanted]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        is_meant = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if is_meant and name not in found:
            found.add(name)
            # What builds the documentation is not there in tests.
            with contextlib.suppress(PackageNotFoundError):
                left += map(Requirement, requires(name) or [])
    return found


def modules_of_the_documentation() -> set[str]:
    """Return the modules that autodoc imports."""
    pages = "\n".join(page.read_text() for page in (ROOT / "docs").rglob("*.rst"))
    names = re.findall(r"\.\. auto\w+:: (flask_sse(?:\.[a-z_]+)+)", pages)
    return {
        name if (ROOT / "src" / f"{name.replace('.', '/')}.py").is_file() else name.rpartition(".")[0]
        for name in names
    }


@pytest.mark.parametrize(
    ("group", "modules", "folder"),
    [
        ("docs", modules_of_the_documentation(), ROOT),
        ("demo", {"serve"}, ROOT / "examples" / "demo"),
    ],
)
def test_a_target_installs_what_its_programs_import(group: str, modules: set[str], folder: Path) -> None:
    # 14.44
    own = PROJECT["dependency-groups"].get(group, [])
    there = {*installed_with(*PROJECT["project"]["dependencies"], *own), "flask-sse"}
    away = [
        module
        for module, distributions in packages_distributions().items()
        if not there & {canonicalize_name(each) for each in distributions}
    ]
    assert {"pytest", "celery"} <= {*away}
    command = [sys.executable, "-c", IMPORT_WITHOUT, " ".join(away), " ".join(modules)]
    subprocess.run(command, cwd=folder, check=True)


def test_the_lowest_versions_are_those_that_the_project_allows() -> None:
    assert lowest(["click>=8.1.3", "flask>=3.0.0"]) == ["click==8.1.3", "flask==3.0.0"]
    names = {line.partition("==")[0] for line in lowest(PROJECT["project"]["dependencies"])}
    assert names == {"click", "flask", "itsdangerous", "redis", "werkzeug"}


@pytest.mark.parametrize("dependency", ["flask", "flask>=3,<4", "flask[async]>=3"])
def test_a_dependency_without_a_plain_lowest_version_is_an_error(dependency: str) -> None:
    with pytest.raises(ValueError, match="NAME>=VERSION"):
        lowest([dependency])


def test_a_python_is_found_where_pyenv_hides_it_and_only_if_it_runs(tmp_path: Path) -> None:
    for number, status in (("9.9.1", 1), ("9.9.2", 0)):
        program = tmp_path / number / "bin" / "python9.9"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\nexit {status}\n")
        program.chmod(0o755)
    assert find("9.9", tmp_path) == program
    assert find("9.8", tmp_path) is None


def test_the_first_python_of_make_test_all_is_the_oldest_that_is_supported() -> None:
    assert PROJECT["project"]["requires-python"] == f">={VERSIONS[0]}"
