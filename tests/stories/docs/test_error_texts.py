"""The page on error texts quotes the code."""

from __future__ import annotations

import ast
import re

import pytest
from tests.stories.docs.snippets import DOCS
from tests.tools import ROOT

PAGE = (DOCS / "reference" / "errors.rst").read_text()
TEXTS = re.findall(r"^    \* - ``(.+)``$", PAGE, re.MULTILINE)
WRITTEN = "\n".join(
    node.value
    for module in (ROOT / "src").rglob("*.py")
    for node in ast.walk(ast.parse(module.read_text()))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
)


def test_it_has_texts_of_exceptions_responses_and_comments() -> None:
    assert {"no hub at", "a ticket is needed", "too many streams"} <= set(TEXTS)


@pytest.mark.parametrize("text", TEXTS)
def test_each_text_is_one_of_the_code(text: str) -> None:
    assert text in WRITTEN
