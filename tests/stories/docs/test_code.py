"""The page on the layout of the code names functions that are there."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import resolve_name

import pytest
from tests.stories.docs.snippets import DOCS

PAGE = (DOCS / "explanation" / "code.rst").read_text()
HOPS = re.findall(r"^    \* - ``([\w.]+)``$", PAGE, re.MULTILINE)
PACKAGES = re.findall(r"``([a-z_.]+)``", "".join(re.findall(r"^``.+``$", PAGE, re.MULTILINE)))


def test_the_page_has_both_ways_from_their_first_hop_to_their_last() -> None:
    of_an_event, of_a_stream = (
        HOPS.index(f"blueprint.ServerSentEventsBlueprint.{view}") for view in ("publish", "stream")
    )
    assert of_an_event < HOPS.index("hub.server.stream.Stream.send") < of_a_stream
    assert of_a_stream < HOPS.index("hub.core.groups.Groups.join")


@pytest.mark.parametrize("name", sorted(set(HOPS)))
def test_each_hop_is_there(name: str) -> None:
    assert callable(resolve_name(f"flask_sse.{name}"))


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_there(name: str) -> None:
    import_module(f"flask_sse.{name}")
