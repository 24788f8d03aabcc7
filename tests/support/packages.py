"""Packages of npm for pages that ask a content delivery network for them: the same files, from the disk."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Route
from tests.tools import CLIENTS

from .tools import require

_NETWORK = "https://cdn.jsdelivr.net/npm/"


def serve_packages(context: BrowserContext) -> None:
    """Answer for the network; a package that is not there, or in another version, is an error."""
    require("eventsource")
    context.route(f"{_NETWORK}**", _answer)


def _answer(route: Route) -> None:
    name, _, rest = route.request.url.removeprefix(_NETWORK).rpartition("@")
    version, _, path = rest.partition("/")
    folder = CLIENTS / "node_modules" / name
    if f'"version": "{version}"' not in (folder / "package.json").read_text():
        raise AssertionError(f"{name} {version} is not installed")
    route.fulfill(path=folder / path)
