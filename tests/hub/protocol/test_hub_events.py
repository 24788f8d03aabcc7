"""Events of the hub itself: what a client reads of them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flask_sse.hub.protocol.hub_events import (
    STREAM_END,
    STREAM_RESET,
    authorize_again,
    goodbye,
    reconnect_in,
    rejection,
    stream_end,
    stream_reset,
)
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES
from flask_sse.wire.cursor import Cursor
from flask_sse.wire.decode import Decoder


def test_a_rejected_stream_says_why_and_when_to_reconnect() -> None:
    body = rejection(FRAMES, "too many\nstreams", 30_000)
    decoder = Decoder()

    assert decoder.feed(body) == []
    assert body.startswith(b":too many\n:streams\n")
    assert decoder.retry_ms == 30_000


@pytest.mark.parametrize("ending", [goodbye, authorize_again])
def test_a_stream_that_the_hub_ends_is_no_event_and_says_when_to_reconnect(
    ending: Callable[[str, int], bytes],
) -> None:
    decoder = Decoder()

    assert decoder.feed(ending(FRAMES, 150)) == []
    assert decoder.retry_ms == 150


def test_a_reconnection_time_repeats_the_last_event_id() -> None:
    decoder = Decoder()

    assert decoder.feed(reconnect_in(150, "abc.1-2")) == []
    assert decoder.last_event_id == "abc.1-2"


def test_a_reader_of_envelopes_needs_no_last_bytes() -> None:
    assert rejection(ENVELOPES, "too many", 100) == b""
    assert goodbye(ENVELOPES, 100) == b""
    assert authorize_again(ENVELOPES, 100) == b""
    assert stream_end(ENVELOPES, "expired") == b""


def test_texts_of_any_script_are_ascii_on_the_wire() -> None:
    end = stream_end(FRAMES, "vorbei: \u00fc")
    reset = stream_reset("k\u00f6ln", "lost", "", Cursor("abcdefgh", "1-0"), "abcdefgh.1-0")

    events = Decoder().feed(end + reset)

    assert (end + reset).isascii()
    assert [event.type for event in events] == [STREAM_END, STREAM_RESET]
    assert json.loads(events[0].data) == {"reason": "vorbei: \u00fc"}
    assert json.loads(events[1].data)["channel"] == "k\u00f6ln"
