"""A URL becomes what a browser would ask for, with one channel or another."""

from __future__ import annotations

import pytest

from flask_sse import UsageError
from flask_sse.doctor.stream_url import StreamURL


@pytest.mark.parametrize(
    ("url", "host", "target", "encrypted"),
    [
        ("http://example.com", "example.com", "/", False),
        ("https://example.com/stream", "example.com", "/stream", True),
        ("https://example.com:443/stream", "example.com", "/stream", True),
        ("http://example.com:8000/a b?channel=x y#top", "example.com:8000", "/a%20b?channel=x%20y", False),
        ("http://[::1]:5000/stream", "[::1]:5000", "/stream", False),
        ("http://bücher.example/ü", "xn--bcher-kva.example", "/%C3%BC", False),
        ("HTTPS://Example.COM/Stream", "example.com", "/Stream", True),
        ("http://example.com:0/", "example.com:0", "/", False),
    ],
)
def test_a_url_is_asked_for_as_a_browser_does(url: str, host: str, target: str, encrypted: bool) -> None:
    address = StreamURL.parse(url)
    assert (address.host_header, address.target, address.is_encrypted) == (host, target, encrypted)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/stream",
        "example.com/stream",
        "ftp://example.com",
        "http://",
        "http://example.com:x/",
        "http://[::1",
        "http://ann:geheim@example.com/",
        "http://example.com:99999/",
        "http://a b.example/",
        "http://a\x1b.example/",
        "http://\udcff.example/",
    ],
)
def test_what_is_no_url_of_a_stream_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        StreamURL.parse(url)
    assert "geheim" not in str(caught.value)


def test_no_line_break_reaches_a_request() -> None:
    address = StreamURL.parse("http://example.com/a\r\nX: y?channel=\r\nb\x85\u2028")
    other = address.with_channel("a\r\nb")
    text = f"{address.target} {address.host_header} {other.target}"
    assert text.splitlines() == [text]


@pytest.mark.parametrize(
    ("query", "channel"),
    [("", "sse"), ("?channel=", "sse"), ("?channel=a&channel=b", "a"), ("?x=1&channel=a%20b", "a b")],
)
def test_the_channel_of_a_url_is_the_first_one(query: str, channel: str) -> None:
    assert StreamURL.parse(f"http://example.com/stream{query}").channel == channel


def test_another_channel_takes_the_place_of_all_and_of_what_goes_with_them() -> None:
    address = StreamURL.parse("http://example.com/s?channel=a&x=1&ticket=t&channel=b&last_event_id=7")
    assert address.with_channel("c d").target == "/s?x=1&channel=c+d"
    assert address.with_channel("c", "new").target == "/s?x=1&channel=c&ticket=new"
    assert address.without_cursor().target == "/s?channel=a&x=1&ticket=t&channel=b"


def test_a_ticket_is_not_shown() -> None:
    address = StreamURL.parse("http://example.com/s?channel=a&ticket=geheim")
    assert str(address) == "http://example.com/s?channel=a&ticket=..."


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("127.0.0.1", True), ("[::1]", True), ("localhost", True), ("app.localhost", True), ("10.0.0.1", False)],
)
def test_this_machine_is_known(host: str, is_here: bool) -> None:
    assert StreamURL.parse(f"http://{host}/").is_local == is_here
