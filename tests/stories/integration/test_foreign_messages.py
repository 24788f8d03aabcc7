"""What others publish on our channels of a shared Redis server: events of 1.0, and things that are none."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis
from tests.support.brokers import Broker
from tests.support.client import StreamClient
from tests.support.local import LocalServer, serve

from flask_sse import sse
from flask_sse.wire.decode import Event

MEBIBYTE = 1024 * 1024

REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "text": b"hello",
    "binary": bytes(range(256)),
    "half a message": b'{"data": "hel',
    "two messages": b'{"data": 1}{"data": 2}',
    "a message and more": b'{"data": "x"} }',
    "single quotes": b"{'data': 'x'}",
    "a pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01x\x94.",
    "Latin-1": '{"data": "ü"}'.encode("latin-1"),
    "UTF-16": '{"data": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"data": "x"}',
    "a lone surrogate": b'{"data": "\\ud800"}',
    "a number": b"7",
    "a string": b'"data"',
    "a list": b'["data"]',
    "null": b"null",
    "no data": b'{"type": "x"}',
    "an unknown key": b'{"data": "x", "event": "y"}',
    "an unknown key first": b'{"event": "y", "data": "x"}',
    "NaN": b'{"data": NaN}',
    "infinity in an object": b'{"type": "x", "data": {"a": Infinity}}',
    "a number too large for a float": b'{"type": "x", "data": 1e999}',
    "deep": b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep elsewhere": b'{"type": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "many digits": b'{"data": ' + b"9" * 10_000 + b"}",
    "a type with a line feed": b'{"data": "x", "type": "a\\ndata:forged"}',
    "a type with a carriage return": b'{"data": "x", "type": "a\\rdata:forged"}',
    "a type of ours": b'{"data": "x", "type": "stream-reset"}',
    "a type that is no string": b'{"data": "x", "type": 7}',
    "an id with a line feed": b'{"data": "x", "id": "1\\nretry:1"}',
    "an id with NUL": b'{"data": "x", "id": "a\\u0000b"}',
    "an id that is long": b'{"data": "x", "id": "' + b"9" * 1000 + b'"}',
    "an id that is a fraction": b'{"data": "x", "id": 1.5}',
    "an id that is an object": b'{"data": "x", "id": {}}',
    "a retry that is text": b'{"data": "x", "retry": "1\\ndata:forged"}',
    "a retry below nothing": b'{"data": "x", "retry": -1}',
    "a retry that is true": b'{"data": "x", "retry": true}',
    "5 MB": b'{"data": "' + b"x" * (5 * MEBIBYTE) + b'"}',
    "5 MB of nothing": b"\x00" * (5 * MEBIBYTE),
}

TAKEN: dict[str, tuple[bytes, Event]] = {
    "what 1.0 writes": (
        b'{"data": {"a": "\\u00fc"}, "id": "1", "retry": 5, "type": "t"}',
        Event("t", '{"a": "\\u00fc"}', "1"),
    ),
    "another order": (b'{"type": "t", "data": "x"}', Event("t", "x", "")),
    "other spaces": (b' {"data":"x"}\n', Event("message", "x", "")),
    "an object without spaces": (b'{"data":{"b":1,"a":2}}', Event("message", '{"b":1,"a":2}', "")),
    # Where data comes later, an object is written anew, as 1.0 does with every object.
    "an object after a type": (b'{"type":"t","data":{"b":1,"a":2}}', Event("t", '{"a": 2, "b": 1}', "")),
    "an object in our form": (b'{"data": {"b":1,"a":2}}', Event("message", '{"b":1,"a":2}', "")),
    "a lone surrogate that JSON hides": (b'{"data": ["\\ud800"]}', Event("message", '["\\ud800"]', "")),
    "spaces before and after an object": (
        b'{"data":  {"a": 1} , "type": "t"}',
        Event("t", '{"a": 1}', ""),
    ),
    "null for what is not set": (
        b'{"data": "x", "type": null, "id": null, "retry": null}',
        Event("message", "x", ""),
    ),
    "null as data": (b'{"data": null}', Event("message", "null", "")),
    "a number as data": (b'{"data": 1.50}', Event("message", "1.50", "")),
}


@pytest.fixture(scope="module", params=[1000, 0], ids=["history", "no history"])
def server(request: pytest.FixtureRequest, valkey: Broker) -> Iterator[LocalServer]:
    with serve(REDIS_URL=valkey.url, SSE_HISTORY_SIZE=request.param) as running:
        yield running


@contextmanager
def listening(server: LocalServer, channel: str) -> Iterator[tuple[StreamClient, str]]:
    """Yield a stream that has begun, and what its client would come back with."""
    with server.stream(f"/stream?channel={channel}") as stream:
        if server.app.config["SSE_HISTORY_SIZE"]:
            yield stream, stream.wait_opened().last_event_id
        else:
            stream.wait_for_bytes(b"retry:")
            yield stream, ""


@pytest.fixture(scope="module")
def foreigner(valkey: Broker) -> Iterator[Any]:
    with contextlib.closing(redis.Redis.from_url(valkey.url)) as client:
        yield client


@pytest.mark.parametrize("payload", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_event_is_dropped_and_counted(
    payload: bytes, server: LocalServer, foreigner: Any, channel: str
) -> None:
    with listening(server, channel) as (stream, _):
        before, begun = server.status(), len(stream.reading.body)
        assert foreigner.publish(channel, payload) == 1
        ours = server.publish("goes on", channel=channel)
        assert ours == 1
        assert stream.next_event() == Event("message", "goes on", ours.id or "")
        after = server.status()
        assert after["foreign_dropped"] == before["foreign_dropped"] + 1
        assert after["events"] == before["events"] + 1
        assert after["pid"] == before["pid"]
        event_id = f"id:{ours.id}\n" if ours.id else ""
        assert stream.reading.body[begun:] == f"data:goes on\n{event_id}\n".encode()


@pytest.mark.parametrize(("payload", "event"), TAKEN.values(), ids=TAKEN.keys())
def test_what_is_an_event_is_taken_however_it_is_written(
    payload: bytes, event: Event, server: LocalServer, foreigner: Any, channel: str
) -> None:
    """It has no place in the history, so it is without a cursor."""
    with listening(server, channel) as (stream, last_event_id):
        assert foreigner.publish(channel, payload) == 1
        assert stream.next_event() == replace(event, last_event_id=event.last_event_id or last_event_id)


def test_what_is_refused_is_told_to_no_stream_that_reads_envelopes(
    server: LocalServer, foreigner: Any, channel: str
) -> None:
    with server.app.app_context():
        messages = sse.messages(channel)
    for payload in REFUSED.values():
        foreigner.publish(channel, payload)
    foreigner.publish(channel, json.dumps({"data": [1]}))
    assert next(messages).data == [1]
    messages.close()  # type: ignore[attr-defined] # it is a generator


def test_a_flood_of_foreign_messages_leaves_the_hub_alive_and_quiet(
    server: LocalServer, foreigner: Any, channel: str
) -> None:
    with listening(server, channel) as (stream, _):
        before = server.status()["foreign_dropped"]
        pipeline = foreigner.pipeline(transaction=False)
        for number in range(2000):
            pipeline.publish(channel, f"foreign {number}")
        pipeline.execute()
        server.publish("goes on", channel=channel)
        assert stream.next_event().data == "goes on"
        assert server.status()["foreign_dropped"] == before + 2000
