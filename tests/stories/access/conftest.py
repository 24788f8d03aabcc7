"""Servers whose blueprint has rules of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.access import Serve
from tests.support.bare_application import BareApplication
from tests.support.local import LocalServer, serve

from flask_sse import ServerSentEventsBlueprint


@pytest.fixture
def blueprint() -> ServerSentEventsBlueprint:
    """A blueprint to which a test adds rules."""
    own = ServerSentEventsBlueprint("events", __name__)
    own.add_url_rule(rule="", endpoint="stream", view_func=own.stream)
    return own


@pytest.fixture
def start(blueprint: ServerSentEventsBlueprint) -> Iterator[Serve]:
    """Start a server of the blueprint, with a hub of its own."""
    url = f"memory://access-{uuid.uuid4().hex}"
    with ExitStack() as stack:
        stack.enter_context(BareApplication(url))

        def started(**config: Any) -> LocalServer:
            settings = {"SSE_BROKER_URL": url, "SECRET_KEY": "not a secret", **config}
            return stack.enter_context(serve(blueprint, **settings))

        yield started
