"""The URL of a broker: what is said of one that cannot be meant, and that nothing secret is."""

from __future__ import annotations

import pytest

from flask_sse.errors import InvalidSettingError
from flask_sse.urls import check_url, shown_url

SECRET = "geheim"


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("memory://", "memory"),
        ("memory://a shop", "memory"),
        ("redis://", "redis"),
        ("redis://localhost:6379/0/", "redis"),
        ("redis://[::1]:6379", "redis"),
        ("redis://ann:p%2F%40@host:1/2?socket_timeout=1", "redis"),
        ("redis://:p@ss@host", "redis"),
        ("redis://host/0?client_name=a@b", "redis"),
        ("rediss://host/1?ssl_cert_reqs=none", "rediss"),
        ("unix:///run/redis.sock?db=1", "unix"),
        ("unix://ann:secret@/run/redis.sock", "unix"),
        ("valkeys://host", "valkeys"),
    ],
)
def test_what_clients_of_brokers_understand_is_taken(url: str, scheme: str) -> None:
    assert check_url("REDIS_URL", url) == scheme


@pytest.mark.parametrize(
    ("url", "shown", "hint"),
    [
        ("redis://localhost:abc", "redis://localhost:abc", "port"),
        ("redis://localhost:0", "redis://localhost:0", "port"),
        ("redis://localhost:70000", "redis://localhost:70000", "port"),
        ("redis://a:1,b:2", "redis://a:1,b:2", "port"),
        (f"redis://ann:{SECRET}@host:port", "redis://...@host:port", "port"),
        (f"redis://:{SECRET}", "redis://...", "port"),
        (f"redis://ann:{SECRET}", "redis://ann:...", "port"),
        ("redis://localhost/main", "redis://localhost/main", "database"),
        ("redis://local host", "redis://local host", "spaces"),
        (f"redis://:{SECRET}/x@host", "redis://...@host", "percent-encoded"),
        (f"redis://:{SECRET}?x@host", "redis://...", "percent-encoded"),
        (f"redis://:{SECRET}#x@host", "redis://...", "percent-encoded"),
        (f"redis://ann#{SECRET}@host", "redis://...", "percent-encoded"),
        (f"redis://ann?{SECRET}@host", "redis://...", "percent-encoded"),
        (f"redis://ann/{SECRET}@host", "redis://...@host", "percent-encoded"),
        (f"redis://:[{SECRET}@host", "redis://...@host", "percent-encoded"),
        ("unix://run/redis.sock", "unix://run/redis.sock", "unix:///run/redis.sock"),
        ("unix://", "unix://", "unix:///run/redis.sock"),
        ("localhost:6379", "localhost:6379", "redis://localhost:6379"),
        ("localhost", "localhost", "redis://localhost"),
        ("redis.example.com/0", "redis.example.com/0", "redis://redis.example.com/0"),
        ("memory:", "memory:", "memory://"),
        ("memory", "memory", "memory://"),
        ("redis:/localhost", "redis:/localhost", "redis://"),
        ("REDIS://localhost", "REDIS://localhost", "small letters"),
        ("http://localhost:6379", "http://localhost:6379", "redis://"),
        (f"ftp://ann:{SECRET}@host", "ftp://...@host", "redis://"),
        (f"ann:{SECRET}@localhost:6379", "...@localhost:6379", "redis://"),
        (SECRET, "...", "redis://"),
        (f"{SECRET}://x", f"{SECRET}://x", "redis://"),
        (f"{SECRET}!://x", "...", "redis://"),
    ],
)
def test_a_url_that_cannot_be_meant_is_named_by_setting_value_and_fix(
    url: str, shown: str, hint: str
) -> None:
    """(14.38)"""
    with pytest.raises(InvalidSettingError) as refused:
        check_url("SSE_REDIS_URL", url)

    assert refused.value.key == "SSE_REDIS_URL"
    assert refused.value.value == shown
    assert f"SSE_REDIS_URL = {shown!r} cannot be used: " in str(refused.value)
    assert hint in str(refused.value).partition("cannot be used")[2]
    assert SECRET not in str(refused.value) or url.startswith(f"{SECRET}://")


def test_options_are_not_shown_for_a_password_may_be_among_them() -> None:
    assert shown_url(f"redis://host/0?password={SECRET}") == "redis://host/0"
    assert shown_url(f"redis://host?password=x@{SECRET}") == "redis://..."
