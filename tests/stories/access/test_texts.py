"""Texts are checked where they come in, for all that needs them later (13.11)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.support.access import Serve, ended, opened
from tests.support.brokers import Broker
from tests.support.client import StreamReader
from tests.support.local import LocalServer, serve
from tests.support.processes import wait_until

from flask_sse import (
    InvalidChannelError,
    InvalidSettingError,
    Publisher,
    ServerSentEventsBlueprint,
    UsageError,
    new_run,
)
from flask_sse.channels import STATUS_CHANNEL
from flask_sse.errors import InvalidMessageError
from flask_sse.hub.core.runs import frame_of
from flask_sse.hub.protocol.grant import Grant
from flask_sse.hub.protocol.stream_request import FRAMES, StreamRequest
from flask_sse.producing.run_name import check_run
from flask_sse.serving.relay import open_stream
from flask_sse.settings import Settings, StreamRules
from flask_sse.wire.decode import Decoder
from flask_sse.wire.envelope import unpack

Blueprint = ServerSentEventsBlueprint

LONE = "\ud800"


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": LONE},
        {"subject": "x" * 257},
        {"subject": "7", "reason": LONE},
        {"subject": "7", "reason": 5},
        {"subject": "7", "reason": "x" * 1001},
    ],
    ids=ascii,
)
def test_what_no_page_could_be_told_is_refused_by_disconnect(
    blueprint: Blueprint, start: Serve, fields: dict[str, Any]
) -> None:
    with start().app.app_context(), pytest.raises(UsageError):
        blueprint.disconnect(**fields)


def test_disconnect_takes_a_subject_as_identify_gives_it(blueprint: Blueprint, start: Serve) -> None:
    blueprint.identify(lambda: 7)
    server = start()
    with opened(server, "/stream") as stream, server.app.app_context():
        blueprint.disconnect(subject=7)  # type: ignore[arg-type] # as an application writes it
        assert ended(stream).data == '{"reason": "disconnected"}'


def test_a_subject_that_is_no_text_opens_no_stream(blueprint: Blueprint, start: Serve) -> None:
    blueprint.identify(lambda: LONE)
    server = start()
    assert server.get("/stream").status == 500
    with server.app.test_request_context("/"), pytest.raises(UsageError):
        blueprint.url("sse")
    with server.app.app_context(), pytest.raises(UsageError):
        blueprint.url("sse", subject=LONE)


@pytest.fixture
def redis(valkey: Broker, blueprint: Blueprint) -> Iterator[LocalServer]:
    """An application whose events go through Valkey."""
    with serve(blueprint, REDIS_URL=valkey.url, SSE_HUB="thread", SECRET_KEY="not a secret") as server:
        yield server


def test_a_revocation_with_a_lone_surrogate_still_revokes(
    redis: LocalServer, blueprint: Blueprint, valkey: Broker, channel: str
) -> None:
    """As an older release of the application, or whoever can write to Redis, publishes it."""
    blueprint.identify(lambda: "ann")
    order = {"subject": "ann", "channel": channel, "reason": LONE, "at": 9e9}
    with opened(redis, f"/stream?channel={channel}") as stream:
        valkey.client().publish("flask-sse:control", json.dumps({"data": order}))
        assert json.loads(ended(stream).data) == {"reason": LONE}
    with redis.app.test_request_context("/"):
        address = blueprint.url(channel)
    with redis.stream(address) as later:
        assert ended(later).type == "stream-end"
    with opened(redis, "/stream?channel=other") as other:
        redis_status = redis.status()
        assert redis_status["foreign_dropped"] == 0
        assert other.status == 200


def test_the_end_of_a_run_with_a_lone_surrogate_is_told() -> None:
    frame = frame_of("run:a", b'{"data": {"reason": "\\ud800"}, "type": "run-end"}')
    (event,) = Decoder().feed(frame.plain)
    assert json.loads(event.data) == {"channel": "run:a", "reason": LONE}


def test_reports_of_the_hub_go_on_whatever_a_subject_is(blueprint: Blueprint, start: Serve) -> None:
    """A hub may hold streams that an older release of the application handed over."""
    server = start(SSE_HUB="thread", SSE_BROKER_URL="memory://reports")
    with server.app.app_context():
        blueprint.publish("x")
    hub_client = server.app.extensions["sse"].hub_client
    slow = StreamRequest(("slow",), FRAMES, StreamRules(max_backlog_bytes=10**8), grant=Grant(LONE))
    watcher = open_stream(hub_client, StreamRequest((STATUS_CHANNEL,), FRAMES, StreamRules()))
    with closing(open_stream(hub_client, slow)), closing(watcher), StreamReader(watcher) as reports:
        reports.reading.head = b"none"  # a stream without a head of HTTP
        with server.app.app_context():
            for _ in range(20):
                blueprint.publish("x" * 200_000, channel="slow")
        seen = wait_until(lambda: json.loads(reports.next_event().data)["slowest"], what="the slow stream")
        assert seen[0]["subject"] == LONE


@pytest.mark.parametrize("named", ["job%01seven", "%7F", "job%C2%85seven"])
def test_what_a_client_names_is_not_said_again_if_it_could_not_come_back(
    blueprint: Blueprint, start: Serve, named: str
) -> None:
    server = start()
    with server.stream(f"/stream?last_event_id={named}") as stream:
        assert stream.next_event().type == "stream-reset"
        last_event_id = stream.reading.decoder.last_event_id
        assert f"id:{last_event_id}\n".encode() in stream.raw
        assert stream.raw.count(b"\nid:") == 1
    with opened_again(server, last_event_id) as stream:
        assert stream.status == 200


def opened_again(server: LocalServer, last_event_id: str) -> Any:
    return server.stream("/stream", {"Last-Event-ID": last_event_id})


FOREIGN = [
    {"data": "x", "id": "job\x01seven"},
    {"data": "x", "id": "stream-end"},
    {"data": "x", "type": "\x1b[2J"},
    {"data": "x", "retry": 2**31},
]


@pytest.mark.parametrize("fields", FOREIGN, ids=ascii)
def test_what_others_publish_cannot_deafen_a_page(
    redis: LocalServer, valkey: Broker, channel: str, fields: dict[str, Any]
) -> None:
    with opened(redis, f"/stream?channel={channel}") as stream:
        wait_until(lambda: valkey.client().publish(channel, json.dumps(fields)), what="the hub")
        redis.publish("goes on", channel=channel)
        assert stream.next_event().data == "goes on"
        assert redis.status()["foreign_dropped"] == 1


def test_a_forged_stamp_moves_no_channel_beyond_what_pages_can_show(
    redis: LocalServer, valkey: Broker, channel: str
) -> None:
    with opened(redis, f"/stream?channel={channel}") as stream:
        epoch, _, position = str(redis.publish("first", channel=channel).id).partition(".")
        forged = f'{{"data": "{epoch}.9007199254740991-0 {position}", "data": "forged"}}'
        valkey.client().publish(channel, forged)
        redis.publish("second", channel=channel)
        assert [event.data for event in stream.events(2)] == ["first", "second"]
        assert redis.status()["foreign_dropped"] == 1


def test_a_path_is_one_line_of_the_log(blueprint: Blueprint, caplog: pytest.LogCaptureFixture) -> None:
    blueprint.add_url_rule("/<room>", "room", blueprint.stream)
    blueprint.url_value_preprocessor(lambda endpoint, values: values.clear() if values else None)
    server = serve(blueprint, SSE_BROKER_URL="memory://paths", SSE_HUB="thread")
    with server, server.stream("/stream/a%0AFORGED") as stream:
        assert stream.status == 200
    (line,) = [text for text in caplog.messages if "streams are public" in text]
    assert "\n" not in line


def test_the_log_has_one_short_line_of_what_is_no_message() -> None:
    with pytest.raises(InvalidMessageError) as refused:
        unpack(b'{"data": ' + b"\xff" * 100_000)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["x" * 197, "", LONE, "a\x01"])
def test_a_run_has_a_name_that_channels_can_have(name: str) -> None:
    with pytest.raises(InvalidChannelError):
        new_run(name)
    with pytest.raises(InvalidChannelError):
        check_run(f"run:{name}")


def test_a_run_with_the_longest_name_works_and_can_be_cancelled() -> None:
    channel = new_run("x" * 196)
    with closing(Publisher("memory://longest", SSE_HUB="thread")) as publisher:
        assert publisher.produce(iter("ab"), channel) == "finished"
        publisher.cancel(channel)


@pytest.mark.parametrize("value", [2**31, "2000-2147483648"])
def test_no_page_is_told_a_time_that_its_timers_do_not_hold(value: object) -> None:
    with pytest.raises(InvalidSettingError):
        Settings.from_mapping({"REDIS_URL": "redis://x", "SSE_RETRY_MS": value})
