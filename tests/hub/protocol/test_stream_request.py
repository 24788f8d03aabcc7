"""The request that hands a stream over: what an application sends arrives, nothing else is accepted."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.packets import (
    ATTACH,
    NO_NUMBERS,
    changed,
    quick,
    sent,
    without,
)

from flask_sse.errors import InvalidSettingError, ProtocolError
from flask_sse.hub.protocol.stream_request import ENVELOPES, FRAMES, StreamRequest
from flask_sse.settings import Settings, StreamRules

numbers = st.integers(1, 10**6) | st.integers(1) | st.floats(min_value=0.1).map(str)


@pytest.mark.parametrize(
    "attach",
    [
        ATTACH,
        replace(ATTACH, head=b""),
        replace(ATTACH, mode=ENVELOPES),
        replace(ATTACH, channels=("über", "豆腐", "\U0001f9ea", "a:b c"), since={"豆腐": "ü"}),
        replace(ATTACH, rules=StreamRules(0.5, (0, 0), 1, 3600)),
        replace(ATTACH, rules=StreamRules(20, (1000, 90_000), 10**9, 0.5)),
        replace(ATTACH, head=bytes(range(256))),
        replace(ATTACH, since={}),
        replace(ATTACH, since={"b": "abcdefgh.1-0", "a": '\0\u2028 anything " else'}),
    ],
)
def test_an_attach_is_understood(attach: StreamRequest) -> None:
    assert StreamRequest.read(sent(attach.packet())) == attach


def test_the_largest_allowed_attach_fits_into_a_packet() -> None:
    channels = tuple(f"{number:04}" + "é" * 98 for number in range(10))
    largest = replace(ATTACH, channels=channels, since=dict.fromkeys(channels, "\x7f" * 256))

    assert StreamRequest.read(sent(largest.packet())) == largest


def rules_with(**values: Any) -> dict[str, Any]:
    return {**asdict(StreamRules()), **values}


def changes(rules: object) -> str:
    """Return what is not as in the default rules, for the name of a test."""
    if not isinstance(rules, dict):
        return ascii(rules)
    default = asdict(StreamRules())
    return ascii({name: value for name, value in rules.items() if default.get(name) != value})


@pytest.mark.parametrize("name", ["channels", "mode", "rules", "since"])
def test_an_attach_that_lacks_something_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(without(ATTACH.packet(), name)))


@pytest.mark.parametrize(
    "channels",
    [
        *(None, "a", [], {}, {"a": "b"}, [1], [None], ["a", 1], [["a"]]),
        *([""], ["a\n"], ["\ud800"], ["a" * 201], ["a", "a"]),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_an_attach_with_channels_that_are_none_is_refused(channels: object) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), channels=channels)))


@pytest.mark.parametrize("mode", [None, "", "Frames", "bytes", 1, True, [FRAMES], {}])
def test_an_attach_in_an_unknown_mode_is_refused(mode: object) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), mode=mode)))


@pytest.mark.parametrize(
    "since",
    [None, 7, "ab", ["a"], [["a"]], [["a", 0]], [["a", [2]]], [["a", [-1]]], [["a", [True]]], [[None, [0]]]],
)
def test_an_attach_that_resumes_from_nothing_it_has_is_refused(since: object) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), since=since)))


@pytest.mark.parametrize("missing", asdict(StreamRules()))
def test_an_attach_that_lacks_a_rule_is_refused(missing: str) -> None:
    rules = {name: value for name, value in asdict(StreamRules()).items() if name != missing}
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), rules=rules)))


@pytest.mark.parametrize(
    "rules",
    [
        *(None, [], "rules", 1, rules_with(speed=1)),
        *(rules_with(heartbeat_seconds=value) for value in (*NO_NUMBERS, 0)),
        *(rules_with(max_backlog_bytes=value) for value in (*NO_NUMBERS, 0)),
        *(rules_with(max_stream_seconds=value) for value in (*NO_NUMBERS[1:], 0)),
        *(rules_with(retry_ms=value) for value in NO_NUMBERS),
        *(rules_with(retry_ms=[value, value]) for value in NO_NUMBERS),
        *(rules_with(retry_ms=value) for value in (5, [], [5], [5, 6, 7], [6, 5], [1.5, 2], "2000-5000")),
    ],
    ids=lambda value: changes(value)[:60],
)
def test_an_attach_with_rules_that_no_application_sends_is_refused(rules: object) -> None:
    with pytest.raises(ProtocolError):
        StreamRequest.read(sent(changed(ATTACH.packet(), rules=rules)))


@quick
@given(
    heartbeat_seconds=numbers,
    retry_ms=st.integers(0) | st.lists(st.integers(0), min_size=2, max_size=2).map(sorted),
    max_backlog_bytes=st.integers(1),
    max_stream_seconds=st.none() | numbers,
)
def test_whatever_the_settings_allow_is_understood(**values: object) -> None:
    config = {f"SSE_{name.upper()}": value for name, value in values.items()}
    try:
        rules = Settings.from_mapping({"SSE_BROKER_URL": "memory://", **config}).rules
    except InvalidSettingError:
        return

    attach = replace(ATTACH, rules=rules)
    assert StreamRequest.read(sent(attach.packet())) == attach


def test_fields_that_no_hub_reads_are_refused_before_they_are_sent() -> None:
    channels = tuple(f"{number:04d}{'ä' * 90}" for number in range(3000))
    with pytest.raises(ProtocolError, match="the most is 1048576"):
        replace(ATTACH, channels=channels).packet().encode()
