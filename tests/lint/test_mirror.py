"""The check of test files names a module that has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.lint.mirror import complaints


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("src/flask_sse/a/b.py", "src/flask_sse/a/__init__.py", "src/flask_sse/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "tests" / "a").mkdir(parents=True)
    return tmp_path


def test_modules_without_a_test_file_are_named(root: Path) -> None:
    (root / "tests" / "test_c.py").touch()
    assert [*complaints(root, {})] == ["src/flask_sse/a/b.py: no tests/a/test_b.py"]


def test_several_files_may_share_the_tests_of_a_module(root: Path) -> None:
    (root / "tests" / "a" / "test_b_limits.py").touch()
    assert [*complaints(root, {"c.py": "a reason"})] == []


def test_an_exception_for_a_folder_holds_for_what_is_in_it(root: Path) -> None:
    assert [*complaints(root, {"a": "a reason", "c.py": "a reason"})] == []


def test_an_exception_that_is_none_is_named(root: Path) -> None:
    (root / "tests" / "a" / "test_b.py").touch()
    (root / "tests" / "test_c.py").touch()
    assert [*complaints(root, {"a": "a reason"})] == ["a: no exception is needed"]
