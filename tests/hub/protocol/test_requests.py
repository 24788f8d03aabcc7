"""Requests and their answers: what one end sends arrives, and nothing else is accepted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.packets import (
    ATTACH,
    HELLO,
    NO_NUMBERS,
    PUBLICATION,
    changed,
    json_values,
    quick,
    sent,
    without,
)

from flask_sse.brokers.base import Publication, Receipt
from flask_sse.errors import ProtocolError
from flask_sse.hub.protocol.hello import Hello
from flask_sse.hub.protocol.packet import Packet
from flask_sse.hub.protocol.requests import (
    answer,
    cursor_request,
    read_channel,
    read_publication,
    read_receipt,
    read_rejected,
    receipt_answer,
    refusal,
    rejected_request,
    submit_request,
)
from flask_sse.hub.protocol.stream_request import StreamRequest
from flask_sse.settings import History
from flask_sse.version import __version__
from flask_sse.wire.cursor import Cursor


def test_an_answer_and_a_refusal_say_what_they_were_given() -> None:
    assert sent(answer(streams=3, pid=7)).fields == {"streams": 3, "pid": 7}
    assert sent(refusal("too late")).fields == {"reason": "too late", "version": __version__}


@pytest.mark.parametrize(
    "publication",
    [
        PUBLICATION,
        Publication("über", bytes(range(256)), History(0, 0.5)),
        Publication("a", b"", History(10**9, 10**9), own_id="", key="order-17-paid"),
        Publication("a", b"x", History(), own_id="豆腐"),
    ],
)
def test_a_submit_is_understood(publication: Publication) -> None:
    assert read_publication(sent(submit_request(publication))) == publication


@pytest.mark.parametrize(
    "receipt", [Receipt(0, None), Receipt(7, Cursor("abcdefgh", "1-0")), Receipt(7, None, "")]
)
def test_a_receipt_is_understood(receipt: Receipt) -> None:
    assert read_receipt(sent(receipt_answer(receipt)).fields) == receipt


def test_a_request_for_a_cursor_names_its_channel() -> None:
    assert read_channel(sent(cursor_request("über"))) == "über"


@pytest.mark.parametrize("name", ["own_id", "key"])
@pytest.mark.parametrize("value", [1, True, [], {}, ["x"]])
def test_a_submit_with_a_name_that_is_no_text_is_refused(name: str, value: object) -> None:
    with pytest.raises(ProtocolError):
        read_publication(sent(changed(submit_request(PUBLICATION), **{name: value})))


@pytest.mark.parametrize(
    "history",
    [
        *(None, 1, [], {}, {"size": 1}, {"seconds": 1}, {"size": 1, "seconds": 1, "more": 1}),
        *({"size": number, "seconds": 1} for number in (-1, 1.5, "1", True, None)),
        *({"size": 1, "seconds": number} for number in NO_NUMBERS),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_submit_with_a_history_that_is_none_is_refused(history: object) -> None:
    with pytest.raises(ProtocolError):
        read_publication(sent(changed(submit_request(PUBLICATION), history=history)))


@pytest.mark.parametrize("limit", [None, 1, "address", "streams", "", ["stream_channels"]])
def test_a_rejected_stream_is_counted_by_a_limit_of_applications_alone(limit: object) -> None:
    request = rejected_request("stream_channels")
    assert read_rejected(sent(request)) == "stream_channels"
    with pytest.raises(ProtocolError, match="rejected"):
        read_rejected(sent(changed(request, limit=limit)))


@pytest.mark.parametrize("channel", [None, 1, True, ["a"], {}])
def test_a_submit_on_what_is_no_channel_is_refused(channel: object) -> None:
    with pytest.raises(ProtocolError):
        read_publication(sent(changed(submit_request(PUBLICATION), channel=channel)))


def test_a_submit_without_a_channel_is_refused() -> None:
    with pytest.raises(ProtocolError):
        read_publication(sent(without(submit_request(PUBLICATION), "channel")))


@quick
@given(
    packet=st.sampled_from([HELLO.packet(), ATTACH.packet(), submit_request(PUBLICATION)]),
    name=st.sampled_from(
        [
            *("protocol", "pid", "linger_seconds", "channels", "mode", "rules", "since"),
            *("channel", "history", "own_id", "key"),
        ]
    ),
    value=json_values | st.sampled_from(NO_NUMBERS),
)
def test_a_request_with_any_value_anywhere_is_understood_or_refused(
    packet: Packet, name: str, value: object
) -> None:
    readers: dict[str, Any] = {"hello": Hello.read, "attach": StreamRequest.read, "submit": read_publication}
    read = readers[packet.op]
    try:
        request = read(sent(changed(packet, **{name: value})))
    except ProtocolError:
        return

    again = submit_request(request) if packet.op == "submit" else request.packet()
    assert read(sent(again)) == request
