"""Whatever bytes come from outside: an answer or an error of ours, no crash, and nothing that grows.

``seeds.json`` has what each target is fed with, changed at random. ``make fuzz`` runs each for ten minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import psutil
import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.local import local_app

from flask_sse import ServerSentEventsBlueprint
from flask_sse.errors import InvalidMessageError, ProtocolError
from flask_sse.hub.core.runs import frame_of
from flask_sse.hub.protocol.hello import Hello
from flask_sse.hub.protocol.hub_events import stream_end
from flask_sse.hub.protocol.packet import PacketDecoder
from flask_sse.hub.protocol.requests import read_channel, read_publication, read_rejected
from flask_sse.hub.protocol.revocation import Revocation
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.wire.cursor import MAX_ID_BYTES, positions, read_cursor
from flask_sse.wire.decode import Decoder
from flask_sse.wire.envelope import pack, split_stamp, unpack
from flask_sse.wire.frame import Frame

SECONDS = float(os.environ.get("FUZZ_SECONDS", "4"))
EXAMPLES = 300
MAX_GROWTH_BYTES = 64 * 1024 * 1024
MAX_BODY_BYTES = 100_000
SEEDS: dict[str, list[str]] = json.loads((Path(__file__).parent / "seeds.json").read_text())
TOKENS = [
    b"\0",
    b"\n",
    b"\r\n",
    b",",
    b".",
    b"-",
    b"9" * 20,
    b"{",
    b"[" * 2000,
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"%00",
]

pytestmark = pytest.mark.timeout(SECONDS + 120)

changes = st.tuples(
    st.sampled_from(["cut", "repeat", "flip", "insert", "splice"]),
    st.integers(0, 10_000),
    st.integers(1, 64),
    st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8)),
)


def changed(seed: bytes, other: bytes, steps: list[tuple[str, int, int, bytes]]) -> bytes:
    """Change bytes as a hostile hand would."""
    for kind, place, size, token in steps:
        at = place % (len(seed) + 1)
        piece = seed[at : at + size]
        if kind == "cut":
            seed = seed[:at] + seed[at + size :]
        elif kind == "repeat":
            seed = seed[:at] + piece * 3 + seed[at + size :]
        elif kind == "flip":
            seed = seed[:at] + bytes(byte ^ 1 << place % 8 for byte in piece) + seed[at + size :]
        elif kind == "insert":
            seed = seed[:at] + token + seed[at:]
        else:
            seed = seed[:at] + other[place % (len(other) + 1) :]
    return seed


def fuzz(name: str, target: Callable[[bytes], None]) -> None:
    """Feed a target for a while, and see that this process does not grow."""
    seeds = st.sampled_from([text.encode("latin-1") for text in SEEDS[name]])
    inputs = st.builds(changed, seeds, seeds, st.lists(changes, max_size=6))
    run = settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )(given(inputs)(target))
    run()
    before = psutil.Process().memory_info().rss
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        run()
    assert psutil.Process().memory_info().rss - before < MAX_GROWTH_BYTES


def test_control_protocol() -> None:
    def target(data: bytes) -> None:
        decoder = PacketDecoder(MAX_BODY_BYTES)
        try:
            for packet in decoder.feed(data):
                for read in (StreamRequest.read, Hello.read, read_publication, read_channel, read_rejected):
                    with contextlib.suppress(ProtocolError):
                        read(packet)
        except ProtocolError:
            return
        assert len(decoder.incomplete) <= len(data)

    fuzz("control", target)


def test_cursor() -> None:
    def target(data: bytes) -> None:
        text = data.decode(errors="replace")
        cursor = read_cursor(text)
        assert cursor is None or str(cursor) == text
        for channels in (["a"], ["a", "b"], ["a", "b", "c"]):
            since = positions(text, channels)
            assert len(since) == len(channels)
            assert all(len(each.encode()) <= MAX_ID_BYTES for each in since)

    fuzz("cursor", target)


def test_envelope() -> None:
    def target(data: bytes) -> None:
        _, envelope = split_stamp(data)
        with contextlib.suppress(InvalidMessageError):
            assert stream_end(FRAMES, Revocation.read(envelope).reason)
        with contextlib.suppress(InvalidMessageError):
            assert frame_of("run:a", envelope).plain
        with contextlib.suppress(InvalidMessageError):
            message = unpack(envelope)
            assert unpack(pack(message)).to_dict() == message.to_dict()
        with contextlib.suppress(InvalidMessageError):
            events = list(Decoder().feed(Frame.of_envelope(envelope).plain))
            assert len(events) <= 1
            assert not any(event.type.startswith("stream-") for event in events)

    fuzz("envelope", target)


@pytest.fixture
def app() -> Iterator[Flask]:
    """An application with rules and limits, and its hub in this process."""
    blueprint = ServerSentEventsBlueprint("events", __name__)
    blueprint.add_url_rule(rule="", endpoint="stream", view_func=blueprint.stream)
    blueprint.authorize(lambda channel: not channel.startswith("no"))
    limits = {
        "SSE_MAX_CHANNELS": 200,
        "SSE_MAX_STREAMS_PER_ADDRESS": 50,
        "SSE_CORS_ORIGINS": "https://a.example",
    }
    with local_app(
        blueprint, SSE_BROKER_URL="memory://fuzz", SSE_HUB="thread", SECRET_KEY="not a secret", **limits
    ) as app:
        yield app


def test_request(app: Flask) -> None:
    client = app.test_client()
    known = {*map(HTTPStatus, (200, 204, 400, 403, 405))}

    def target(data: bytes) -> None:
        query, _, rest = data.partition(b"\n")
        header, _, origin = rest.partition(b"\n")
        environ = {
            "HTTP_LAST_EVENT_ID": header.decode("latin-1"),
            "HTTP_ORIGIN": origin.decode("latin-1"),
            "HTTP_SEC_FETCH_SITE": "cross-site" if b"a.example" in origin else "none",
        }
        with client.get(
            "/stream", query_string=query.decode("latin-1"), environ_overrides=environ, buffered=False
        ) as response:
            assert response.status_code in known
            if response.status_code == HTTPStatus.OK:
                next(response.iter_encoded())

    fuzz("request", target)
    with app.app_context():
        assert app.extensions["sse"].hub_client.status()["channels"] <= 200
