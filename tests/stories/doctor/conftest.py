"""An application, behind the proxy of a test, for the doctor."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Blueprint
from tests.support.local import LocalServer, serve

from flask_sse import ServerSentEventsBlueprint, sse


@pytest.fixture
def start() -> Iterator[Callable[..., LocalServer]]:
    """Start an application with its streams at ``/stream``; the hub ends with the test."""
    with ExitStack() as stack:

        def started(blueprint: Blueprint = sse, **config: Any) -> LocalServer:
            config.setdefault("SSE_BROKER_URL", f"memory://doctor-{uuid.uuid4().hex}")
            # A heartbeat ends the examination of a stream that is well, so it comes soon.
            config.setdefault("SSE_HEARTBEAT_SECONDS", 0.5)
            return stack.enter_context(serve(blueprint, **{"SSE_HUB": "thread", **config}))

        yield started


@pytest.fixture
def blueprint() -> ServerSentEventsBlueprint:
    """A blueprint to which a test adds rules."""
    own = ServerSentEventsBlueprint("guarded", __name__)
    own.add_url_rule(rule="", endpoint="stream", view_func=own.stream)
    return own
