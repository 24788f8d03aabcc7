"""The hub client that the settings ask for; none connects before it is used."""

from __future__ import annotations

import sys

import pytest

from flask_sse.errors import InvalidSettingError
from flask_sse.hub.client.auto_hub_client import AutoHubClient
from flask_sse.hub.client.open_client import announce, open_hub_client, reaches_this_process_only
from flask_sse.hub.client.process_hub_client import ProcessHubClient
from flask_sse.hub.client.thread_hub_client import ThreadHubClient
from flask_sse.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has threads only")


@pytest.mark.parametrize(
    ("hub", "kind"),
    [
        ("auto", AutoHubClient),
        ("thread", ThreadHubClient),
        ("unix:/nowhere/hub.sock", ProcessHubClient),
    ],
)
def test_the_setting_chooses_the_client(hub: str, kind: type) -> None:
    client = open_hub_client(Settings("memory://name", hub=hub))

    assert type(client) is kind
    client.close()


def test_memory_without_a_name_belongs_to_an_application() -> None:
    with pytest.raises(InvalidSettingError, match="memory://NAME"):
        open_hub_client(Settings("memory://"))
    open_hub_client(Settings("memory://", application="shop")).close()


@pytest.mark.parametrize(
    ("url", "hub", "is_alone"),
    [
        ("memory://name", "thread", True),
        ("memory://name", "auto", False),
        ("redis://localhost", "thread", False),
    ],
)
def test_a_thread_with_memory_reaches_this_process_only(url: str, hub: str, is_alone: bool) -> None:
    settings = Settings(url, hub=hub)

    assert reaches_this_process_only(settings, open_hub_client(settings)) == is_alone


@pytest.mark.parametrize("hub", ["thread", "unix:/nowhere/hub.sock"])
def test_only_an_automatic_hub_is_announced_to(hub: str) -> None:
    assert announce(Settings("memory://name", hub=hub)) is None
