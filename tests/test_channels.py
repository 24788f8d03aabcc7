"""Channel names: 1.0 took any text, and only what could do harm is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_sse.channels import DEFAULT_CHANNEL, MAX_CHANNEL_BYTES, check_channel, requested_channels
from flask_sse.errors import InvalidChannelError


@pytest.mark.parametrize(
    "name",
    [
        "sse",
        "a",
        " ",
        "room:5",
        "users.name@example.com",
        "a b",
        "a,b",
        "*",
        "{x}",
        "über",
        "豆腐",
        "\U0001f9ea",
    ],
)
def test_1_0_s_names_are_channels(name: str) -> None:
    assert check_channel(name) == name


@pytest.mark.parametrize("name", ["a" * MAX_CHANNEL_BYTES, "é" * (MAX_CHANNEL_BYTES // 2)])
def test_a_name_may_have_200_bytes(name: str) -> None:
    assert check_channel(name) == name


@pytest.mark.parametrize("name", ["a" * (MAX_CHANNEL_BYTES + 1), "é" * (MAX_CHANNEL_BYTES // 2) + "a"])
def test_a_name_of_more_than_200_bytes_is_refused(name: str) -> None:
    with pytest.raises(InvalidChannelError, match="200 bytes") as refused:
        check_channel(name)

    assert refused.value.channel == name


@pytest.mark.parametrize("control", [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))], ids=ascii)
def test_a_control_character_is_refused(control: str) -> None:
    with pytest.raises(InvalidChannelError, match="control"):
        check_channel(f"a{control}")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("", "empty"), (None, "string"), (b"sse", "string"), (5, "string"), ("\ud800", "surrogate")],
    ids=repr,
)
def test_what_is_no_name_is_refused_with_the_reason(name: object, hint: str) -> None:
    with pytest.raises(InvalidChannelError, match=hint) as refused:
        check_channel(name)

    assert refused.value.channel is name


@settings(deadline=None, max_examples=200)
@given(name=st.text(st.characters(), max_size=230))
def test_a_name_is_a_channel_or_refused(name: str) -> None:
    try:
        assert check_channel(name) == name
    except InvalidChannelError:
        return

    assert 1 <= len(name.encode()) <= MAX_CHANNEL_BYTES
    assert name.isprintable() or not any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in name)


@pytest.mark.parametrize(
    ("asked", "channels"),
    [
        ([], (DEFAULT_CHANNEL,)),
        ([""], (DEFAULT_CHANNEL,)),
        (["", ""], (DEFAULT_CHANNEL,)),
        (["a"], ("a",)),
        (["b", "a"], ("b", "a")),
        (["b", "a", "b", "b"], ("b", "a")),
        (["a", ""], ("a", DEFAULT_CHANNEL)),
        (["", "a", "sse"], (DEFAULT_CHANNEL, "a")),
    ],
)
def test_a_request_gets_the_channels_it_asks_for(asked: list[str], channels: tuple[str, ...]) -> None:
    assert requested_channels(asked) == channels


def test_the_default_channel_is_1_0_s() -> None:
    assert DEFAULT_CHANNEL == "sse"


def test_one_bad_name_spoils_the_request() -> None:
    with pytest.raises(InvalidChannelError):
        requested_channels(["good", "bad\n"])
