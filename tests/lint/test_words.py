"""The check of words finds what is not to be written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.lint.words import main


def test_a_word_is_found_with_its_place_and_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs" / "_build").mkdir(parents=True)
    (tmp_path / "docs" / "index.rst").write_text("fine\nmended_by says so\n")
    (tmp_path / "docs" / "_build" / "index.html").write_text("mended\n")
    assert main(tmp_path) == 1
    assert capsys.readouterr().out == (
        "docs/index.rst:2: 'mended'; write: fix, fixed; hint for how to fix it\n"
    )


def test_parts_of_other_words_are_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("We recommend dicey, amended agendas.\n")
    assert main(tmp_path) == 0
    assert capsys.readouterr().out == ""
