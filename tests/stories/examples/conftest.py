"""What all examples are started and looked at with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.stories.docs.snippets import FlaskRun
from tests.tools import ROOT

HUB = {"FLASK_SSE_HUB_LINGER_SECONDS": "1"}


@pytest.fixture
def server(request: pytest.FixtureRequest, runtime_directory: str) -> Iterator[FlaskRun]:
    """The example that the test's module is named after."""
    name = Path(request.module.__file__).stem.removeprefix("test_")
    with FlaskRun(ROOT / "examples" / name, HUB) as server:
        yield server
        assert "streams are public" not in server.output()


@pytest.fixture
def look(tmp_path: Path) -> Callable[[Page], None]:
    """Take pictures of a page in all sizes and colours, and see that nothing is wider than the window."""

    def look(page: Page) -> None:
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme="light" if width == 390 else "dark")
            page.screenshot(path=tmp_path / f"{width}.png")
            assert page.evaluate("document.documentElement.scrollWidth") <= width

    return look
