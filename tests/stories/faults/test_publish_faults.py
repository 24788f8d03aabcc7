"""What no event stream can carry is refused before the broker hears of it. Fault 20."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.processes import free_port

from flask_sse import InvalidMessageError, MessageTooLargeError, Publisher

MEBIBYTE = 1024 * 1024

HOSTILE: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "10 MB": ({"data": "x" * 10 * MEBIBYTE}, MessageTooLargeError),
    "a mebibyte of line feeds": ({"data": "\n" * MEBIBYTE}, MessageTooLargeError),
    "few bytes that become many": ({"data": "\n" * 50_000}, MessageTooLargeError),
    "a lone surrogate": ({"data": "\ud800"}, InvalidMessageError),
    "NaN": ({"data": float("nan")}, InvalidMessageError),
    "what is no JSON": ({"data": object()}, InvalidMessageError),
    "a type with a line feed": ({"data": "x", "type": "a\nb"}, InvalidMessageError),
    "a type of ours": ({"data": "x", "type": "stream-reset"}, InvalidMessageError),
    "an id with NUL": ({"data": "x", "id": "a\0b"}, InvalidMessageError),
    "a long key": ({"data": "x", "key": "k" * 201}, InvalidMessageError),
    "an empty key": ({"data": "x", "key": ""}, InvalidMessageError),
    "a key that is no text": ({"data": "x", "key": 7}, InvalidMessageError),
    "a key with a lone surrogate": ({"data": "x", "key": "\ud800"}, InvalidMessageError),
}


@pytest.mark.parametrize(("event", "error"), HOSTILE.values(), ids=HOSTILE.keys())
def test_20_hostile_event_is_refused_before_the_broker(event: dict[str, Any], error: type[Exception]) -> None:
    """No broker is there: an error of ours says that none was asked."""
    publisher = Publisher(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(error):
        publisher.publish(**event)
    with pytest.raises(error):
        publisher.publish_many([{"data": "good"}, event])
