"""No snippet is shown that no test runs, and none is kept that no page shows."""

from __future__ import annotations

import re
from pathlib import Path

from tests.stories.docs.snippets import DOCS, SNIPPETS

PAGES = [page for page in DOCS.rglob("*.rst") if "_build" not in page.parts]
ALL = {
    path.relative_to(SNIPPETS).as_posix()
    for path in SNIPPETS.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


def test_every_snippet_is_shown() -> None:
    included = re.compile(r"^ *\.\. literalinclude:: (\S+)$", re.MULTILINE)
    shown = {
        (page.parent / name).resolve().relative_to(SNIPPETS).as_posix()
        for page in PAGES
        for name in included.findall(page.read_text())
    }
    assert shown == ALL


def test_every_snippet_is_named_in_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    assert [name for name in sorted(ALL) if f'"{name}"' not in tests] == []


def test_pages_hold_no_code_of_their_own() -> None:
    own = re.compile(r"^ *\.\. (?:code-block|code|sourcecode)::(?! text$).*$|^(?! *\.\.).*::$", re.MULTILINE)
    assert {page.name: own.findall(page.read_text()) for page in PAGES if own.search(page.read_text())} == {}
