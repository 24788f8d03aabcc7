"""The pages of the reference have every name that the code has, and no other."""

from __future__ import annotations

import re

import pytest
from tests.docs.snippets import DOCS
from tests.tools import ROOT

import flask_sse
from flask_sse import SSEError

API = (DOCS / "reference" / "api.rst").read_text()
LOGS = (DOCS / "reference" / "logs.rst").read_text()
SOURCE = ROOT / "src" / "flask_sse"
DOCUMENTED = re.compile(
    r"^\.\. (?:data|auto(?:class|exception|function)):: (?:flask_sse\.)?([\w.]+)$", re.MULTILINE
)
# What logs something that operators see by default.
LOUD = re.compile(r"\blogger\.(?:warning|error|exception|critical)\(")
# In a process of the hub; its log has a part of the page of its own.
OF_THE_HUB = {
    f"flask_sse.hub.{name}"
    for name in ("connection", "process", "report", "server", "succession", "supervisor")
} | {"flask_sse.cli"}


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


def test_every_logger_of_an_application_is_on_the_page() -> None:
    loud = {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        for path in SOURCE.rglob("*.py")
        if LOUD.search(path.read_text())
    }
    assert loud > OF_THE_HUB
    table = LOGS.partition("The hub's own log")[0]
    assert set(re.findall(r"``(flask_sse\.[\w.]+)``", table)) == loud - OF_THE_HUB
