"""The pages of the reference have every name that the code has, and no other."""

from __future__ import annotations

import re

import pytest
from tests.stories.docs.snippets import DOCS

import flask_sse
from flask_sse import SSEError

API = (DOCS / "reference" / "api.rst").read_text()
DOCUMENTED = re.compile(
    r"^\.\. (?:data|auto(?:class|exception|function)):: (?:flask_sse\.)?([\w.]+)$", re.MULTILINE
)


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    shown = DOCUMENTED.findall(API)
    assert sorted(name for name in shown if "." not in name) == sorted(flask_sse.__all__)


def test_every_error_has_its_place_and_its_family() -> None:
    shown = {getattr(flask_sse, name) for name in re.findall(r"autoexception:: (\w+)$", API, re.MULTILINE)}
    errors = {each for name in flask_sse.__all__ if isinstance(each := getattr(flask_sse, name), type)}
    assert shown == {each for each in errors if issubclass(each, SSEError)}


@pytest.mark.parametrize("name", ["ServerSentEventsBlueprint", "Publisher"])
def test_all_methods_come_from_the_code(name: str) -> None:
    options = re.search(rf"autoclass:: {name}\n((?:    :.*\n)+)", API)
    assert options
    assert "    :members:\n" in options[1]
