"""Threats that no other file here has; the numbers are those of ``docs/explanation/safe.rst``."""

from __future__ import annotations

import http.client
import json
import logging
import pickle
import re
from functools import partial

import pytest
from tests.support.access import Serve, opened
from tests.support.brokers import Broker
from tests.support.client import StreamReader, connect
from tests.support.local import LocalServer, serve
from tests.support.patience import PATIENT_SECONDS
from tests.support.processes import wait_until
from tests.tools import ROOT

from flask_sse import InvalidMessageError, ServerSentEventsBlueprint

Blueprint = ServerSentEventsBlueprint

TRAVERSAL = ["*", "a*", "[ab]", "a}:s{b", "{a}", "a:s", "^a", "\\a"]


@pytest.fixture
def redis(valkey: Broker, blueprint: Blueprint) -> LocalServer:
    """An application whose events go through Valkey."""
    return serve(blueprint, REDIS_URL=valkey.url, SSE_HUB="thread", SECRET_KEY="not a secret")


def test_every_threat_has_a_test_or_a_line_that_says_why_it_cannot_arise() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "stories" / "access").glob("test_*.py"))
    page = (ROOT / "docs" / "explanation" / "safe.rst").read_text()
    for number in range(1, 21):
        assert f"    * - T{number}\n" in page
        assert re.search(rf"def test_(t\d+_)*t{number}_", tests) or number == 19, number


def test_t3_t18_there_is_an_address_to_read_and_no_other(blueprint: Blueprint, start: Serve) -> None:
    rules = [rule for rule in start().app.url_map.iter_rules() if rule.endpoint.startswith("events.")]
    assert [(rule.rule, rule.methods) for rule in rules] == [("/stream", {"GET", "HEAD", "OPTIONS"})]


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\r\n\r\nb", "a\0b"])
def test_t8_no_field_can_write_another(blueprint: Blueprint, start: Serve, text: str) -> None:
    server = start()
    with opened(server, "/stream") as stream, server.app.app_context():
        for field in ("type", "id"):
            with pytest.raises(InvalidMessageError):
                blueprint.publish("x", **{field: text})  # type: ignore[arg-type]
        blueprint.publish(f"{text}\n\nid: forged\nevent: forged\n\n")
        event = stream.next_event()
        assert (event.type, event.last_event_id != "forged") == ("message", True)
        assert event.data.split() == [*text.split(), "id:", "forged", "event:", "forged"]


def test_t8_what_a_client_sends_is_in_no_header(blueprint: Blueprint, start: Serve) -> None:
    server = start(SSE_CORS_ORIGINS="https://a.example")
    forged = {"Origin": "https://a.example\u2028X", "Last-Event-ID": "forged"}
    with connect(server.port) as sock:
        head = b"".join(b"%s: %s\r\n" % (k.encode(), v.encode()) for k, v in forged.items())
        sock.sendall(b"GET /stream?channel=forged HTTP/1.1\r\nHost: x\r\n%s\r\n" % head)
        with StreamReader(sock) as stream:
            assert stream.status == 200
            assert "forged" not in str(stream.headers)
            assert "X" not in str(stream.headers["Access-Control-Allow-Origin"])


@pytest.mark.parametrize("name", ["a\nFORGED", "a\u2028FORGED", "\x1b[2J", "\u202eFORGED"])
def test_t9_a_name_is_one_line_of_a_log(valkey: Broker, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with serve(REDIS_URL=valkey.url, SSE_HUB="thread") as server, server.app.test_client() as client:
        caplog.set_level(logging.DEBUG, "flask_sse")
        response = client.get("/stream", query_string={"channel": name}, buffered=False)
        if response.status_code == 200:
            next(response.iter_encoded())
            wait_until(lambda: valkey.client().publish(name, "no event"), what="the hub")
            wait_until(lambda: "FORGED" in caplog.text, what="the line")
        response.close()
    for record in caplog.records:
        assert record.getMessage().isascii()
        assert "\n" not in record.getMessage()


@pytest.mark.parametrize("name", TRAVERSAL)
def test_t10_a_name_is_no_pattern_and_reaches_no_other_key(
    redis: LocalServer, blueprint: Blueprint, channel: str, name: str
) -> None:
    mine, others = f"{channel}{name}", [f"{channel}{other}" for other in ("a", "b", "ab", "secret")]
    with redis, redis.app.test_client() as client, redis.app.app_context():
        response = client.get("/stream", query_string={"channel": mine}, buffered=False)
        pieces = response.iter_encoded()
        assert b"stream-open" in next(pieces)
        for other in others:
            assert blueprint.publish("not for it", channel=other) == 0
        assert blueprint.publish("for it", channel=mine) == 1
        assert b"data:for it" in next(pieces)
        response.close()
        for other in (mine, *others):
            with client.get(
                "/stream", query_string={"channel": other, "last_event_id": "earliest"}, buffered=False
            ) as back:
                pieces = back.iter_encoded()
                assert (b"data:for it" in next(pieces)) == (other == mine)


def test_t11_names_do_not_fill_the_hub(blueprint: Blueprint, start: Serve) -> None:
    server = start(SSE_MAX_CHANNELS=3, SSE_MAX_CHANNELS_PER_STREAM=2)
    with opened(server, "/stream?channel=a&channel=b"):
        refused = server.get("/stream?channel=c&channel=d")
        assert refused.body.startswith(b":too many channels\n\n")
        # What is there already can be listened to, and one of three is the hub's own.
        with opened(server, "/stream?channel=b&channel=a"):
            assert server.status()["rejected_channels"] == server.status()["rejected"] == 1


HOSTILE = [
    pickle.dumps({"data": "x"}),
    b"\x80\x04\x95" + b"\xff" * 100,
    b"[" * 100_000,
    b'{"data": ' + b"9" * 5000 + b"}",
    b'{"data": "x", "type": "stream-end"}',
    b'{"data": "x", "id": "a\\nevent: forged"}',
    b'{"data": "x", "subject": "y"}',
    b"",
]


@pytest.mark.parametrize("envelope", HOSTILE, ids=range(len(HOSTILE)))
def test_t12_t13_hostile_bytes_in_the_broker_reach_no_page(
    redis: LocalServer, blueprint: Blueprint, valkey: Broker, channel: str, envelope: bytes
) -> None:
    with redis, opened(redis, f"/stream?channel={channel}") as stream, redis.app.app_context():
        for place in (channel, "flask-sse:control"):
            wait_until(partial(valkey.client().publish, place, envelope), what="the hub")
        blueprint.publish("goes on", channel=channel)
        event = stream.next_event()
        assert event.data == "goes on" or (envelope[:9] == b'{"data": ' and event.data.isdigit())
        assert redis.status()["foreign_dropped"] >= 1


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"subject": None, "channel": None, "reason": "x", "at": 9e9},
        {"subject": ["7"], "channel": None, "reason": "x", "at": 9e9},
        {"subject": "7", "channel": None, "reason": "x", "at": "now"},
        {"subject": "7", "channel": None, "reason": 5, "at": 9e9},
        {"subject": "7", "channel": None, "reason": "x", "at": 9e9, "and": "more"},
        "7",
    ],
)
def test_t13_an_order_that_is_none_ends_nothing(
    redis: LocalServer, blueprint: Blueprint, valkey: Broker, channel: str, order: object
) -> None:
    blueprint.identify(lambda: "7")
    with redis, opened(redis, f"/stream?channel={channel}") as stream, redis.app.app_context():
        text = json.dumps({"data": order})
        wait_until(lambda: valkey.client().publish("flask-sse:control", text), what="the hub")
        blueprint.publish("goes on", channel=channel)
        assert stream.next_event().data == "goes on"
        blueprint.disconnect(subject="7")
        assert stream.next_event().type == "stream-end"


@pytest.mark.parametrize(
    "path", ["/stream", "/stream?channel=%00", "/stream?channel=secret", "/stream?ticket=x"]
)
def test_t14_nothing_is_for_a_cache(blueprint: Blueprint, start: Serve, path: str) -> None:
    blueprint.authorize(lambda channel: channel != "secret")
    server = start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENT_SECONDS)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.headers["Cache-Control"] == "no-store, no-cache, private, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    connection.close()
    connection.request("POST", "/stream")
    assert connection.getresponse().status == 405
    connection.close()


LAST_EVENT_IDS = {
    "NUL": b"\0",
    "70 KB": b"x" * 40_000,
    "large": b"abcdefgh.18446744073709551615-18446744073709551615",
    "largest": b"abcdefgh.8640000000000000-9223372036854775807",
    "other epoch": b"zzzzzzzz.1-1",
    "other channel": b"abcdefgh.1-1,abcdefgh.1-1",
    "negative": b"abcdefgh.-1--1",
    "unicode digits": "abcdefgh.\u0661-\u0661".encode(),
    "no UTF-8": b"\xff\xfe",
    "two": b"a\r\nLast-Event-ID: b",
    "empty": b"",
    "commas": b"," * 1000,
}


@pytest.mark.parametrize("name", LAST_EVENT_IDS)
def test_t17_38_a_hostile_last_event_id_is_answered_and_disturbs_nobody(
    blueprint: Blueprint, start: Serve, name: str
) -> None:
    server = start()
    with opened(server, "/stream") as other, server.app.app_context():
        blueprint.publish("kept")
        assert other.next_event().data == "kept"
        with connect(server.port) as sock:
            sock.sendall(
                b"GET /stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: %s\r\n\r\n" % LAST_EVENT_IDS[name]
            )
            with StreamReader(sock) as stream:
                assert stream.status in {200, 400, 431}
                if stream.status == 200:
                    assert stream.next_event().type in {"stream-open", "stream-reset"}
        blueprint.publish("goes on")
        assert other.next_event().data == "goes on"


def test_t20_an_order_reaches_hubs_of_other_machines_and_those_that_were_away(
    valkey: Broker, blueprint: Blueprint, channel: str
) -> None:
    blueprint.identify(lambda: channel)
    settings = {"REDIS_URL": valkey.url, "SSE_HUB": "thread", "SECRET_KEY": "not a secret"}
    with serve(blueprint, **settings) as one, serve(blueprint, **settings) as other:
        path = f"/stream?channel={channel}"
        with opened(one, path) as first, opened(other, path) as second:
            valkey.client().client_kill_filter(_type="pubsub")
            with one.app.app_context():
                blueprint.disconnect(subject=channel)
            for stream in (first, second):
                assert stream.next_event().type == "stream-end"


def test_t20_who_was_let_in_before_the_order_is_ended_by_a_hub_that_began_after_it(
    valkey: Broker, blueprint: Blueprint, channel: str
) -> None:
    settings = {"REDIS_URL": valkey.url, "SSE_HUB": "thread", "SECRET_KEY": "not a secret"}
    with serve(blueprint, **settings) as server:
        with server.app.test_request_context("/"):
            address = blueprint.url(channel, subject=channel)
            blueprint.disconnect(subject=channel)
        with server.stream(address) as stream:
            assert stream.next_event().type in {"stream-open", "stream-end"}
            stream.wait_closed()
            assert b"event:stream-end" in stream.raw
